"""Several reconstructions of one scan count as one study."""

from msvlm.data.manifest import ManifestStudy
from msvlm.evaluation.reconstructions import one_of_each
from msvlm.findings import Certainty, FindingStatement


def _study(
    key: str, patient: str = "p1", findings: str = "A nodule.", nodule: Certainty | None = None
) -> ManifestStudy:
    truth = (FindingStatement("lung_nodule", nodule),) if nodule is not None else None
    return ManifestStudy(key, patient, "test", ("none",), findings, truth=truth)


def test_of_the_same_patient_and_report_the_first_by_key_is_scored_and_the_others_are_named() -> None:
    found = one_of_each([_study("a_2"), _study("b_1", "p2"), _study("a_1", findings="A  nodule.\n")])
    assert [study.key for study in found.studies] == ["b_1", "a_1"]
    assert [item.name for item in found.left_out] == ["a_2"]
    assert "the same report as a_1" in found.left_out[0].reason


def test_another_report_or_another_truth_or_no_report_is_another_study() -> None:
    studies = [
        _study("a"),
        _study("b", findings="No nodule."),
        _study("c", nodule=Certainty.PRESENT),
        _study("d", nodule=Certainty.ABSENT),
        _study("e", findings=""),
        _study("f", findings=""),
    ]
    assert one_of_each(studies).studies == tuple(studies)


def test_the_order_of_the_list_does_not_matter() -> None:
    studies = [_study("a_1"), _study("a_2"), _study("b_1", "p2"), _study("b_2", "p2")]
    kept = {study.key for study in one_of_each(studies).studies}
    assert kept == {study.key for study in one_of_each(studies[::-1]).studies} == {"a_1", "b_1"}
