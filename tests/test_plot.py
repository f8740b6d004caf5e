"""scores.png shows the scores of each system, and the same evaluation gives the same picture."""

import io

import numpy as np
import pytest
from PIL import Image
from tiny_truth import complete

from msvlm.evaluation.bootstrap import PatientBootstrap
from msvlm.evaluation.plot import WIDTH, draw_scores
from msvlm.evaluation.systems import (
    ALL_NEGATIVE,
    ALL_POSITIVE,
    GENERATED,
    HU_RIDGE,
    References,
    SystemOutput,
    score_system,
)
from msvlm.evaluation.tables import Evaluation
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement

BLUE, ORANGE = (22, 96, 178), (222, 122, 28)
BARS_END = 270
"""Pixel row between the first panel, of four systems, and the second."""


def _evaluation(share: float, names: tuple[str, ...] = (GENERATED, ALL_NEGATIVE, ALL_POSITIVE, HU_RIDGE)) -> Evaluation:
    positives = np.random.default_rng(0).random((30, len(CHEST.names))) < 0.4
    truth = tuple(
        complete(*(FindingStatement(CHEST.names[column], Certainty.PRESENT) for column in np.flatnonzero(row)))
        for row in positives
    )
    studies = References(CHEST, truth, ("",) * 30, PatientBootstrap.of([str(row) for row in range(30)]))
    predicted = np.where(np.random.default_rng(1).random(positives.shape) < share, positives, ~positives)
    presence = {
        GENERATED: predicted,
        ALL_NEGATIVE: positives & False,
        ALL_POSITIVE: positives | True,
        HU_RIDGE: ~predicted,
    }
    systems = tuple(score_system(SystemOutput(name, presence[name]), studies) for name in names)
    return Evaluation("tiny", "chest", "test", 30, 30, systems)


def _pixels(evaluation: Evaluation) -> np.ndarray:
    return np.asarray(Image.open(io.BytesIO(draw_scores(evaluation))).convert("RGB")).astype(int)


def _count_near(pixels: np.ndarray, colour: tuple[int, int, int]) -> int:
    return int((np.abs(pixels - colour).max(axis=2) < 12).sum())


def test_the_same_evaluation_gives_the_same_pixels() -> None:
    one, other = _pixels(_evaluation(0.8)), _pixels(_evaluation(0.8))
    assert one.shape[1] == WIDTH and (one == other).all()


def test_a_better_model_has_a_longer_bar() -> None:
    better, worse = (_count_near(_pixels(_evaluation(share))[:BARS_END], BLUE) for share in (1.0, 0.5))
    assert better > worse + 500


@pytest.mark.parametrize("names", [(GENERATED,), (GENERATED, HU_RIDGE), (ALL_NEGATIVE,)])
def test_systems_may_be_missing(names: tuple[str, ...]) -> None:
    pixels = _pixels(_evaluation(0.8, names))
    assert (_count_near(pixels, ORANGE) > 0) == (HU_RIDGE in names)
    assert (_count_near(pixels, BLUE) > 0) == (GENERATED in names)
