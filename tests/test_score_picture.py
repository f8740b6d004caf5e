"""One picture shows what is scored; it is the same whenever it is drawn."""

import numpy as np
import pytest

from msvlm.evaluation.bootstrap import PatientDraws
from msvlm.evaluation.score_picture import WIDTH, draw_scores
from msvlm.evaluation.score_row import (
    ALL_NEGATIVE,
    ALL_POSITIVE,
    GENERATED,
    HU_RIDGE,
    Answer,
    ScoredStudies,
    score_answer,
)
from msvlm.evaluation.scoreboard import Evaluation
from msvlm.findings import CHEST_FINDING_NAMES, Certainty, FindingStatement

BLUE, ORANGE = (22, 96, 178), (222, 122, 28)
BARS_END = 270
"""The first panel, of four rows, lies above it."""


def _evaluation(share: float, names: tuple[str, ...] = (GENERATED, ALL_NEGATIVE, ALL_POSITIVE, HU_RIDGE)) -> Evaluation:
    there = np.random.default_rng(0).random((30, len(CHEST_FINDING_NAMES))) < 0.4
    truth = tuple(
        tuple(FindingStatement(CHEST_FINDING_NAMES[column], Certainty.PRESENT) for column in np.flatnonzero(row))
        for row in there
    )
    studies = ScoredStudies(truth, ("",) * 30, PatientDraws.of([str(row) for row in range(30)]))
    said = np.where(np.random.default_rng(1).random(there.shape) < share, there, ~there)
    presence = {GENERATED: said, ALL_NEGATIVE: there & False, ALL_POSITIVE: there | True, HU_RIDGE: ~said}
    rows = tuple(score_answer(Answer(name, presence[name]), studies) for name in names)
    return Evaluation("tiny", "test", 30, 30, rows)


def _pixels(evaluation: Evaluation) -> np.ndarray:
    return np.asarray(draw_scores(evaluation).convert("RGB")).astype(int)


def _near(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(pixels - colour).max(axis=2) < 12).sum())


def test_the_same_evaluation_gives_the_same_pixels() -> None:
    one, other = _pixels(_evaluation(0.8)), _pixels(_evaluation(0.8))
    assert one.shape[1] == WIDTH and (one == other).all()


def test_a_better_model_has_a_longer_bar() -> None:
    better, worse = (_near(_pixels(_evaluation(share))[:BARS_END], BLUE) for share in (1.0, 0.5))
    assert better > worse + 500


@pytest.mark.parametrize("names", [(GENERATED,), (GENERATED, HU_RIDGE), (ALL_NEGATIVE,)])
def test_rows_that_are_missing_leave_the_others_as_they_are(names: tuple[str, ...]) -> None:
    pixels = _pixels(_evaluation(0.8, names))
    assert (_near(pixels, ORANGE) > 0) == (HU_RIDGE in names)
    assert (_near(pixels, BLUE) > 0) == (GENERATED in names)
