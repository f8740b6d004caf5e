"""Every way of answering is scored against the same truth."""

import numpy as np
import pytest

from msvlm.evaluation.bootstrap import PatientDraws
from msvlm.evaluation.score_row import Answer, ScoredStudies, answer_of_texts, score_answer, score_reports
from msvlm.findings import CHEST_FINDING_NAMES, Certainty, FindingStatement, Statements
from msvlm.labeling import label_report

TEXTS = ("A 9 mm nodule in the left lung.", "No nodule.", "Emphysema.", "A nodule in the right lung.")
PATIENTS = ("a", "b", "c", "d")
NODULE = CHEST_FINDING_NAMES.index("lung_nodule")


def _nodule(side: str, size_mm: float) -> Statements:
    return (FindingStatement("lung_nodule", Certainty.PRESENT, frozenset({side}), size_mm),)


STUDIES = ScoredStudies(
    truth=(_nodule("left", 8.0), (), _nodule("left", 15.0), _nodule("left", 5.0)),
    reports=("A nodule.", "Normal lungs.", "A nodule.", "A nodule."),
    draws=PatientDraws.of(PATIENTS),
)


def test_a_report_is_scored_by_what_the_labeler_reads_in_it() -> None:
    row = score_answer(answer_of_texts("generated report", TEXTS), STUDIES)
    nodule = row.scores.findings[NODULE]
    assert (nodule.precision, nodule.recall, nodule.studies_with) == (1.0, pytest.approx(2 / 3), 3)
    assert row.agreement is not None and row.agreement.side is not None and row.agreement.size is not None
    assert (row.agreement.side.value, row.agreement.side.count) == (0.5, 2)
    assert row.agreement.size.value == 0.5, "one of the two is stated without a size"
    assert [one.recall.value if one.recall else None for one in row.nodules] == [1.0, 1.0, 0.0, None, None]
    assert row.diversity is not None and (row.diversity.distinct, row.diversity.vocabulary) == (1.0, 2 / 4)
    assert row.areas is None
    assert row.scores.macro_f1.low <= row.scores.macro_f1.value <= row.scores.macro_f1.high


def test_a_head_has_an_area_where_studies_differ_and_no_places() -> None:
    scores = np.zeros((4, len(CHEST_FINDING_NAMES)))
    scores[:, NODULE] = [0.9, 0.5, 0.4, 0.8]
    row = score_answer(Answer("findings head", scores > 0.45, scores=scores), STUDIES)
    assert row.areas is not None and row.areas.macro is not None
    assert row.areas.findings[NODULE] == pytest.approx(2 / 3) == row.areas.macro.value
    assert row.areas.findings[0] is None and row.agreement is None and row.diversity is None


def test_truth_scores_itself_perfectly() -> None:
    texts = ("A 12 mm nodule in the right upper lobe.", "Left pleural effusion.", "Normal.")
    row = score_reports(texts, [label_report(text) for text in texts], ("a", "b", "c"))
    stated = {finding.f1 for finding in row.scores.findings if finding.studies_with}
    assert stated == {1.0} and row.scores.micro_f1.value == 1.0
    assert row.scores.crg is not None and row.scores.crg.value == 1.0
    assert row.agreement is not None and row.agreement.side is not None and row.agreement.side.value == 1.0
