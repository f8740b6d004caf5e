"""Places and sizes are judged where a finding is rightly stated, and nowhere else."""

from pathlib import Path

import pytest

from msvlm.evaluation.agreement import TOLERATED_MM, TOLERATED_SHARE, nodule_recall, score_agreement
from msvlm.evaluation.bootstrap import PatientDraws
from msvlm.evaluation.clinical_metrics import presence_matrix
from msvlm.findings import Certainty, FindingStatement, Statements


def _stated(
    name: str, *attributes: str, size_mm: float | None = None, certainty: Certainty = Certainty.PRESENT
) -> FindingStatement:
    return FindingStatement(name, certainty, frozenset(attributes), size_mm)


def _draws(studies: int) -> PatientDraws:
    return PatientDraws.of([str(row) for row in range(studies)])


def _nodules(*sizes_mm: float | None) -> list[Statements]:
    return [(_stated("lung_nodule", size_mm=size_mm),) for size_mm in sizes_mm]


def test_places_are_judged_only_where_the_finding_is_rightly_stated() -> None:
    truth = [
        (_stated("lung_nodule", "right", "right upper lobe"), _stated("emphysema")),
        (_stated("pleural_effusion", "left"), _stated("atelectasis", "left", "left lower lobe")),
    ]
    said = [
        (_stated("lung_nodule", "right", "right lower lobe"), _stated("emphysema", "left")),
        (_stated("pleural_effusion", "left", "right"), _stated("atelectasis", certainty=Certainty.ABSENT)),
    ]
    agreement = score_agreement(truth, said, _draws(2))
    assert agreement.side is not None and (agreement.side.value, agreement.side.count) == (0.5, 2)
    assert agreement.lobe is not None and (agreement.lobe.value, agreement.lobe.count) == (0.0, 1)


def test_truth_agrees_with_itself() -> None:
    truth = [(_stated("lung_nodule", "left", "left upper lobe", size_mm=9.0),)] * 3
    agreement = score_agreement(truth, truth, _draws(3))
    for one in (agreement.side, agreement.lobe, agreement.size):
        assert one is not None and (one.value, one.low, one.high, one.count) == (1.0, 1.0, 1.0, 3)
    assert agreement.size_error_mm is not None and agreement.size_error_mm.value == 0.0


@pytest.mark.parametrize(
    ("true_mm", "said_mm", "agrees"),
    [(5.0, 7.0, True), (5.0, 7.1, False), (20.0, 24.0, True), (20.0, 15.9, False), (20.0, None, False)],
)
def test_a_size_agrees_within_two_millimetres_or_a_fifth(true_mm: float, said_mm: float | None, agrees: bool) -> None:
    agreement = score_agreement(_nodules(true_mm), _nodules(said_mm), _draws(1))
    assert agreement.size is not None and agreement.size.value == agrees


def test_the_docs_tell_when_a_size_agrees() -> None:
    page = (Path(__file__).parent.parent / "docs" / "evaluation.md").read_text(encoding="utf-8")
    assert f"{TOLERATED_MM:.0f} mm or a fifth" in page and TOLERATED_SHARE == 1 / 5


def test_the_error_of_sizes_is_of_those_that_are_stated() -> None:
    agreement = score_agreement(_nodules(10.0, 20.0, 30.0, None), _nodules(12.0, None, 26.0, 5.0), _draws(4))
    assert agreement.size_error_mm is not None and agreement.size is not None
    assert (agreement.size_error_mm.value, agreement.size_error_mm.count) == (3.0, 2)
    assert (agreement.size.value, agreement.size.count) == (pytest.approx(2 / 3), 3)


def test_where_nothing_is_rightly_stated_there_is_no_agreement() -> None:
    agreement = score_agreement([()], [()], _draws(1))
    assert (agreement.side, agreement.lobe, agreement.size, agreement.size_error_mm) == (None,) * 4


def test_nodules_are_recalled_diameter_by_diameter() -> None:
    truth = [*_nodules(3.0, 5.9, 6.0, 29.0, 30.0, None), (_stated("lung_nodule", certainty=Certainty.ABSENT),)]
    said = presence_matrix([*_nodules(None), (), *_nodules(None, None), (), *_nodules(None, None)])
    classes = nodule_recall(truth, said, _draws(7))
    assert [(one.from_mm, one.below_mm) for one in classes] == [(0, 6), (6, 10), (10, 20), (20, 30), (30, None)]
    found = [(one.recall.value, one.recall.count) if one.recall is not None else None for one in classes]
    assert found == [(0.5, 2), (1.0, 1), None, (1.0, 1), (0.0, 1)]


def test_without_a_true_diameter_nodules_are_not_told_apart() -> None:
    assert nodule_recall(_nodules(None), presence_matrix(_nodules(None)), _draws(1)) == ()
