"""The tables, the JSON and the CSV tell the same numbers, and a reader finds them on a page."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest

from msvlm.evaluation.bootstrap import Estimate, PatientDraws
from msvlm.evaluation.calibration import score_calibration
from msvlm.evaluation.evidence_agreement import TopSlice, score_evidence
from msvlm.evaluation.paired_test import PairedDifference
from msvlm.evaluation.score_row import ALL_POSITIVE, FINDINGS_HEAD, GENERATED, Answer, ScoredStudies, score_answer
from msvlm.evaluation.score_row import answer_of_texts as of_texts
from msvlm.evaluation.scoreboard import Evaluation
from msvlm.findings import CHEST_FINDING_NAMES, Certainty, FindingStatement
from msvlm.study import LeftOut

TEXTS = ("A 9 mm nodule in the left lung.", "No nodule.", "Emphysema.", "A nodule in the right lung.")
PATIENTS = ("a", "b", "c", "d")
NODULE = CHEST_FINDING_NAMES.index("lung_nodule")
WIDEST = 120


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    nodule = FindingStatement("lung_nodule", Certainty.PRESENT, frozenset({"left"}), 8.0)
    truth = ((nodule,), (), (nodule,), (nodule,))
    scores = np.zeros((4, len(CHEST_FINDING_NAMES)))
    scores[:, NODULE] = [0.9, 0.5, 0.4, 0.8]
    head = Answer(FINDINGS_HEAD, scores > 0.45, scores=scores)
    answers = (of_texts(GENERATED, TEXTS), head, Answer(ALL_POSITIVE, np.ones_like(scores, dtype=bool)))
    studies = ScoredStudies(truth, TEXTS, PatientDraws.of(PATIENTS))
    hit, miss = TopSlice("lung_nodule", True, 0.1), TopSlice("lung_nodule", False, 0.3)
    return Evaluation(
        model="tiny",
        split="test",
        studies=4,
        patients=4,
        rows=tuple(score_answer(answer, studies) for answer in answers),
        evidence=score_evidence([(hit,), (miss,)], ["a", "b"]),
        calibration=score_calibration(scores > 0.45, scores, CHEST_FINDING_NAMES),
    )


def test_the_tables_the_json_and_the_csv_tell_the_same_numbers(evaluation: Evaluation) -> None:
    scores = evaluation.rows[0].scores
    macro, nodule = scores.macro_f1, scores.findings[NODULE]
    assert f"{macro.value:.3f} ({macro.low:.3f}-{macro.high:.3f})" in evaluation.to_text()
    in_json = json.loads(evaluation.to_json())["rows"][0]["scores"]
    assert (in_json["macro_f1"]["value"], in_json["findings"][NODULE]["f1_low"]) == (macro.value, nodule.f1_low)
    lines = list(csv.DictReader(io.StringIO(evaluation.to_csv())))
    assert len(lines) == 3 * (len(CHEST_FINDING_NAMES) + 2)
    of = {line["finding"]: line for line in lines if line["answer"] == GENERATED}
    assert float(of["macro"]["f1"]) == pytest.approx(macro.value, abs=1e-4)
    assert float(of["micro"]["f1_low"]) == pytest.approx(scores.micro_f1.low, abs=1e-4)
    assert float(of["lung_nodule"]["f1_high"]) == pytest.approx(nodule.f1_high, abs=1e-4)
    assert of["emphysema"]["crg"] == "", "no study has it"


def test_no_line_is_wider_than_a_page_and_columns_stand_under_their_heads(evaluation: Evaluation) -> None:
    lines = evaluation.to_text().splitlines()
    assert max(map(len, lines)) <= WIDEST
    for table in evaluation.to_text().split("\n\n")[1:3]:
        heading, *rows = table.splitlines()
        assert {len(row) for row in rows} == {len(heading)}
        assert rows[2].startswith(ALL_POSITIVE)


def test_crg_of_all_positive_is_printed_as_a_third(evaluation: Evaluation) -> None:
    heading, *rows = evaluation.to_text().split("\n\n")[1].splitlines()
    assert rows[2][: heading.index("CRG") + 3].split()[-1] == "0.333"


def test_evidence_stands_beside_chance_and_nodules_beside_their_diameter(evaluation: Evaluation) -> None:
    text = evaluation.to_text()
    assert "top slice inside the lesion, 2 studies with masks" in text
    assert next(line for line in text.splitlines() if line.startswith("all focal")).split()[3:6] == ["1", "of", "2"]
    assert next(line for line in text.splitlines() if line.startswith("all focal")).endswith("0.200")
    assert next(line for line in text.splitlines() if line.startswith("6 to 10 mm")).split()[4] == "3"
    assert "calibration error of the findings head" in text


def test_what_is_not_scored_is_named(evaluation: Evaluation) -> None:
    keys = tuple(f"s{number}" for number in range(12))
    told = replace(
        evaluation,
        not_prepared=keys,
        reconstructions=(LeftOut("r2", "the same as r1"),),
        rows_left_out=(LeftOut("another patient's image", "one patient only"),),
    )
    text = told.to_text()
    assert "not prepared: s0, s1, " in text and "s9 and 2 more" in text
    assert "other reconstructions of studies that are: r2\n" in text
    assert "another patient's image left out: one patient only" in text
    assert json.loads(told.to_json())["not_prepared"] == list(keys), "the JSON names all"


def test_the_difference_from_another_model_stands_above_the_tables(evaluation: Evaluation) -> None:
    difference = PairedDifference("other 1a2b", Estimate(-0.0312, -0.06, 0.002, 4), 0.0721)
    told = replace(evaluation, against=difference).to_text().split("\n\n")[0]
    assert "macro F1 -0.031 against other 1a2b (-0.060 to +0.002, 95 % over patients; p = 0.0721)" in told
