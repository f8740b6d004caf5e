import csv
import io
import json

import numpy as np
import pytest

from msvlm.evaluation.scoreboard import Answer, Evaluation, answer_of_texts, score_answer
from msvlm.findings import CHEST_FINDING_NAMES, Certainty, FindingStatement

TEXTS = ("A nodule in the left lung.", "No nodule.", "Emphysema.", "A nodule in the right lung.")
PATIENTS = ("a", "b", "c", "d")
NODULE = CHEST_FINDING_NAMES.index("lung_nodule")


def _truth(*places: str | None):
    return tuple(
        (FindingStatement("lung_nodule", Certainty.PRESENT, frozenset({place})),) if place else () for place in places
    )


def _evaluation() -> Evaluation:
    truth = _truth("left", None, "left", "left")
    scores = np.zeros((4, len(CHEST_FINDING_NAMES)))
    scores[:, NODULE] = [0.9, 0.5, 0.4, 0.8]
    head = Answer("findings head", scores > 0.45, scores=scores)
    answers = (answer_of_texts("generated report", TEXTS), head)
    return Evaluation("tiny", "test", 4, 4, tuple(score_answer(answer, truth, PATIENTS) for answer in answers))


def test_a_report_is_scored_by_what_the_labeler_reads_in_it() -> None:
    row = _evaluation().row("generated report")
    nodule = row.scores.findings[NODULE]
    assert (nodule.precision, nodule.recall, nodule.studies_with) == (1.0, pytest.approx(2 / 3), 3)
    assert row.places is not None and (row.places.side, row.places.side_findings) == (0.5, 2)
    assert row.distinct == 1.0 and row.auc is None
    assert row.macro_f1_interval.low <= row.scores.macro_f1 <= row.macro_f1_interval.high


def test_a_head_has_an_auc_where_studies_differ_and_no_places() -> None:
    row = _evaluation().row("findings head")
    assert row.auc is not None and row.auc[NODULE] == pytest.approx(2 / 3) == row.macro_auc
    assert row.auc[0] is None and row.places is None and row.distinct is None


def test_the_table_the_json_and_the_csv_tell_the_same_numbers() -> None:
    evaluation = _evaluation()
    macro = evaluation.rows[0].scores.macro_f1
    assert f"{macro:.3f}" in evaluation.to_text() and "Lung nodule" in evaluation.to_text()
    assert json.loads(evaluation.to_json())["rows"][0]["scores"]["macro_f1"] == macro
    lines = list(csv.DictReader(io.StringIO(evaluation.to_csv())))
    assert len(lines) == 2 * (len(CHEST_FINDING_NAMES) + 2)
    wanted = [line for line in lines if line["answer"] == "generated report" and line["finding"] == "macro"]
    assert float(wanted[0]["f1"]) == pytest.approx(macro, abs=1e-4)
