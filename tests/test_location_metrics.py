"""Locations and sizes are scored over true positives only."""

from pathlib import Path

import pytest

from msvlm.evaluation.bootstrap import PatientBootstrap
from msvlm.evaluation.finding_metrics import presence_matrix
from msvlm.evaluation.location_metrics import RELATIVE_TOLERANCE, TOLERANCE_MM, nodule_recall, score_locations
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement, Statements


def _stated(
    name: str, *attributes: str, size_mm: float | None = None, certainty: Certainty = Certainty.PRESENT
) -> FindingStatement:
    return FindingStatement(name, certainty, frozenset(attributes), size_mm)


def _bootstrap(studies: int) -> PatientBootstrap:
    return PatientBootstrap.of([str(row) for row in range(studies)])


def _nodules(*sizes_mm: float | None) -> list[Statements]:
    return [(_stated("lung_nodule", size_mm=size_mm),) for size_mm in sizes_mm]


def test_locations_are_scored_over_true_positives_only() -> None:
    truth = [
        (_stated("lung_nodule", "right", "right upper lobe"), _stated("emphysema")),
        (_stated("pleural_effusion", "left"), _stated("atelectasis", "left", "left lower lobe")),
    ]
    predicted = [
        (_stated("lung_nodule", "right", "right lower lobe"), _stated("emphysema", "left")),
        (_stated("pleural_effusion", "left", "right"), _stated("atelectasis", certainty=Certainty.ABSENT)),
    ]
    scores = score_locations(truth, predicted, _bootstrap(2), CHEST)
    assert scores.side is not None and (scores.side.value, scores.side.count) == (0.5, 2)
    assert scores.lobe is not None and (scores.lobe.value, scores.lobe.count) == (0.0, 1)


def test_truth_agrees_with_itself() -> None:
    truth = [(_stated("lung_nodule", "left", "left upper lobe", size_mm=9.0),)] * 3
    scores = score_locations(truth, truth, _bootstrap(3), CHEST)
    for one in (scores.side, scores.lobe, scores.size):
        assert one is not None and (one.value, one.low, one.high, one.count) == (1.0, 1.0, 1.0, 3)
    assert scores.size_error_mm is not None and scores.size_error_mm.value == 0.0


@pytest.mark.parametrize(
    ("true_mm", "stated_mm", "agrees"),
    [(5.0, 7.0, True), (5.0, 7.1, False), (20.0, 24.0, True), (20.0, 15.9, False), (20.0, None, False)],
)
def test_a_size_is_correct_within_two_millimetres_or_a_fifth(
    true_mm: float, stated_mm: float | None, agrees: bool
) -> None:
    scores = score_locations(_nodules(true_mm), _nodules(stated_mm), _bootstrap(1), CHEST)
    assert scores.size is not None and scores.size.value == agrees


def test_the_docs_have_the_size_tolerance() -> None:
    page = (Path(__file__).parent.parent / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert f"{TOLERANCE_MM:.0f} mm or a fifth" in page and RELATIVE_TOLERANCE == 1 / 5


def test_the_size_error_is_over_stated_sizes() -> None:
    scores = score_locations(_nodules(10.0, 20.0, 30.0, None), _nodules(12.0, None, 26.0, 5.0), _bootstrap(4), CHEST)
    assert scores.size_error_mm is not None and scores.size is not None
    assert (scores.size_error_mm.value, scores.size_error_mm.count) == (3.0, 2)
    assert (scores.size.value, scores.size.count) == (pytest.approx(2 / 3), 3)


def test_without_true_positives_there_are_no_location_scores() -> None:
    scores = score_locations([()], [()], _bootstrap(1), CHEST)
    assert (scores.side, scores.lobe, scores.size, scores.size_error_mm) == (None,) * 4


def test_nodule_recall_is_by_diameter() -> None:
    truth = [*_nodules(3.0, 5.9, 6.0, 29.0, 30.0, None), (_stated("lung_nodule", certainty=Certainty.ABSENT),)]
    predicted = presence_matrix([*_nodules(None), (), *_nodules(None, None), (), *_nodules(None, None)], CHEST)
    classes = nodule_recall(truth, predicted, _bootstrap(7), CHEST)
    assert [(one.from_mm, one.below_mm) for one in classes] == [(0, 6), (6, 10), (10, 20), (20, 30), (30, None)]
    found = [(one.recall.value, one.recall.count) if one.recall is not None else None for one in classes]
    assert found == [(0.5, 2), (1.0, 1), None, (1.0, 1), (0.0, 1)]


def test_without_true_diameters_there_are_no_nodule_classes() -> None:
    assert nodule_recall(_nodules(None), presence_matrix(_nodules(None), CHEST), _bootstrap(1), CHEST) == ()
