"""Each system is scored against the same references."""

import numpy as np
import pytest
from tiny_truth import complete

from msvlm.evaluation.bootstrap import PatientBootstrap
from msvlm.evaluation.systems import References, SystemOutput, output_of_texts, score_reports, score_system
from msvlm.labeling.label import label_report
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement, Statements

TEXTS = ("A 9 mm nodule in the left lung.", "No nodule.", "Emphysema.", "A nodule in the right lung.")
PATIENTS = ("a", "b", "c", "d")
NODULE = CHEST.names.index("lung_nodule")


def _nodule(side: str, size_mm: float) -> Statements:
    return complete(FindingStatement("lung_nodule", Certainty.PRESENT, frozenset({side}), size_mm))


REFERENCES = References(
    vocabulary=CHEST,
    truth=(_nodule("left", 8.0), complete(), _nodule("left", 15.0), _nodule("left", 5.0)),
    reports=("A nodule.", "Normal lungs.", "A nodule.", "A nodule."),
    bootstrap=PatientBootstrap.of(PATIENTS),
)


def test_a_report_is_scored_by_what_the_labeler_reads_in_it() -> None:
    scores = score_system(output_of_texts("generated report", TEXTS, CHEST), REFERENCES)
    nodule = scores.presence.findings[NODULE]
    assert (nodule.precision, nodule.recall, nodule.studies_with) == (1.0, pytest.approx(2 / 3), 3)
    assert scores.locations is not None and scores.locations.side is not None and scores.locations.size is not None
    assert (scores.locations.side.value, scores.locations.side.count) == (0.5, 2)
    assert scores.locations.size.value == 0.5, "one of the two is stated without a size"
    assert [one.recall.value if one.recall else None for one in scores.nodules] == [1.0, 1.0, 0.0, None, None]
    assert scores.diversity is not None and (scores.diversity.distinct, scores.diversity.vocabulary) == (1.0, 2 / 4)
    assert scores.auc is None
    assert scores.presence.macro_f1.low <= scores.presence.macro_f1.value <= scores.presence.macro_f1.high


def test_a_head_has_an_area_where_studies_differ_and_no_places() -> None:
    head_scores = np.zeros((4, len(CHEST.names)))
    head_scores[:, NODULE] = [0.9, 0.5, 0.4, 0.8]
    scores = score_system(SystemOutput("findings head", head_scores > 0.45, scores=head_scores), REFERENCES)
    assert scores.auc is not None and scores.auc.macro is not None
    assert scores.auc.findings[NODULE] == pytest.approx(2 / 3) == scores.auc.macro.value
    assert scores.auc.findings[0] is None and scores.locations is None and scores.diversity is None


def test_truth_scores_itself_perfectly() -> None:
    texts = ("A 12 mm nodule in the right upper lobe.", "Left pleural effusion.", "Normal.")
    scores = score_reports(texts, [label_report(text, CHEST) for text in texts], ("a", "b", "c"), CHEST)
    stated = {finding.f1 for finding in scores.presence.findings if finding.studies_with}
    assert stated == {1.0} and scores.presence.micro_f1.value == 1.0
    assert scores.presence.crg is not None and scores.presence.crg.value == 1.0
    assert scores.locations is not None and scores.locations.side is not None and scores.locations.side.value == 1.0
