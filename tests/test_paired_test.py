"""Two models are compared patient by patient, on the same studies and the same truth only."""

from dataclasses import replace

import pytest

from msvlm.errors import DataError
from msvlm.evaluation.bootstrap import PatientDraws
from msvlm.evaluation.paired_test import check_same_studies, paired_difference
from msvlm.evaluation.scored_reports import ScoredReport

STUDIES = 40
RIGHT = ("A lung nodule. Pleural effusion.", "No nodule. No effusion.")


def _reports(wrong_every: int = 0, studies: int = STUDIES) -> list[ScoredReport]:
    """Every second study has both findings; every so many reports say the opposite of what is true."""
    reports = []
    for number in range(studies):
        is_wrong = wrong_every > 0 and number % wrong_every == 0
        there = ("lung_nodule", "pleural_effusion") if number % 2 == 0 else ()
        text = RIGHT[(number + is_wrong) % 2]
        reports.append(ScoredReport(f"s{number}", f"p{number}", there, RIGHT[number % 2], text, ""))
    return reports


def _draws(reports: list[ScoredReport]) -> PatientDraws:
    return PatientDraws.of([report.patient for report in reports])


def test_a_model_does_not_differ_from_itself() -> None:
    own = _reports(3)
    found = paired_difference("itself", own, own, _draws(own))
    assert (found.macro_f1.value, found.macro_f1.low, found.macro_f1.high, found.p_value) == (0.0, 0.0, 0.0, 1.0)


def test_the_difference_turns_round_with_the_models() -> None:
    good, bad = _reports(), _reports(3)
    one, other = (paired_difference("x", *pair, _draws(good)) for pair in ((good, bad), (bad, good)))
    assert one.macro_f1.value == pytest.approx(-other.macro_f1.value) and one.macro_f1.value > 0
    assert (one.macro_f1.low, one.macro_f1.high) == pytest.approx((-other.macro_f1.high, -other.macro_f1.low))
    assert one.p_value == pytest.approx(other.p_value)


def test_a_clear_difference_is_told_from_luck_and_a_small_one_is_not() -> None:
    good = _reports()
    clear, small = (paired_difference("x", good, _reports(every), _draws(good)) for every in (3, STUDIES))
    assert clear.p_value < 0.01 and clear.macro_f1.low > 0
    assert small.p_value > 0.5 and small.macro_f1.low <= 0 < small.macro_f1.value


def test_patients_are_swapped_whole() -> None:
    good, bad = ([replace(report, patient="one") for report in _reports(every)] for every in (0, 3))
    assert paired_difference("x", good, bad, _draws(good)).p_value == 1.0, "one patient swapped is the same difference"


def test_the_order_of_the_other_models_reports_does_not_matter() -> None:
    own, other = _reports(), _reports(3)
    assert list(check_same_studies(own, other[::-1])) == other


def test_other_studies_and_another_truth_are_refused_by_name() -> None:
    own = _reports()
    with pytest.raises(DataError, match=r"the other evaluation lacks 2 of them \(s0, s1\)"):
        check_same_studies(own, own[2:])
    with pytest.raises(DataError, match=r"it alone has 1 of them \(s39\)"):
        check_same_studies(own[:-1], own)
    with pytest.raises(DataError, match=r"1 studies against another truth \(s0\)"):
        check_same_studies(own, [replace(own[0], true_findings=()), *own[1:]])
