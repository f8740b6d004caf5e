"""Tables, JSON and CSV have the same numbers; the tables fit a page."""

import csv
import io
import json
from dataclasses import replace

import numpy as np
import pytest
from tiny_truth import complete

from msvlm.evaluation.bootstrap import Estimate, PairedDifference, PatientBootstrap
from msvlm.evaluation.evidence_metrics import TopSlice, score_evidence
from msvlm.evaluation.finding_metrics import score_calibration
from msvlm.evaluation.systems import ALL_POSITIVE, FINDINGS_HEAD, GENERATED, References, SystemOutput, score_system
from msvlm.evaluation.systems import output_of_texts as of_texts
from msvlm.evaluation.tables import Evaluation
from msvlm.study import LeftOut
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement

TEXTS = ("A 9 mm nodule in the left lung.", "No nodule.", "Emphysema.", "A nodule in the right lung.")
PATIENTS = ("a", "b", "c", "d")
NODULE = CHEST.names.index("lung_nodule")
WIDEST = 120


@pytest.fixture(scope="module")
def evaluation() -> Evaluation:
    nodule = FindingStatement("lung_nodule", Certainty.PRESENT, frozenset({"left"}), 8.0)
    truth = (complete(nodule), complete(), complete(nodule), complete(nodule))
    scores = np.zeros((4, len(CHEST.names)))
    scores[:, NODULE] = [0.9, 0.5, 0.4, 0.8]
    head = SystemOutput(FINDINGS_HEAD, scores > 0.45, scores=scores)
    outputs = (of_texts(GENERATED, TEXTS, CHEST), head, SystemOutput(ALL_POSITIVE, np.ones_like(scores, dtype=bool)))
    references = References(CHEST, truth, TEXTS, PatientBootstrap.of(PATIENTS))
    hit, miss = TopSlice("lung_nodule", True, 0.1), TopSlice("lung_nodule", False, 0.3)
    return Evaluation(
        model="tiny",
        vocabulary="chest",
        split="test",
        studies=4,
        patients=4,
        systems=tuple(score_system(output, references) for output in outputs),
        evidence=score_evidence([(hit,), (miss,)], ["a", "b"], CHEST),
        calibration=score_calibration(scores > 0.45, scores, CHEST.names),
    )


def test_tables_json_and_csv_have_the_same_numbers(evaluation: Evaluation) -> None:
    scores = evaluation.systems[0].presence
    macro, nodule = scores.macro_f1, scores.findings[NODULE]
    assert f"{macro.value:.3f} ({macro.low:.3f}-{macro.high:.3f})" in evaluation.to_text()
    in_json = json.loads(evaluation.to_json())["systems"][0]["presence"]
    assert (in_json["macro_f1"]["value"], in_json["findings"][NODULE]["f1_low"]) == (macro.value, nodule.f1_low)
    lines = list(csv.DictReader(io.StringIO(evaluation.to_csv())))
    assert len(lines) == 3 * (len(CHEST.names) + 2)
    of = {line["finding"]: line for line in lines if line["system"] == GENERATED}
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


def test_evidence_is_printed_with_chance_and_nodules_with_their_diameter(evaluation: Evaluation) -> None:
    text = evaluation.to_text()
    assert "top slice inside the lesion, 2 studies with masks" in text
    assert next(line for line in text.splitlines() if line.startswith("all focal")).split()[3:6] == ["1", "of", "2"]
    assert next(line for line in text.splitlines() if line.startswith("all focal")).endswith("0.200")
    assert next(line for line in text.splitlines() if line.startswith("6 to 10 mm")).split()[4] == "3"
    assert "calibration error of the findings head" in text


def test_studies_and_systems_that_are_not_scored_are_named(evaluation: Evaluation) -> None:
    keys = tuple(f"s{number}" for number in range(12))
    changed = replace(
        evaluation,
        not_prepared=keys,
        reconstructions=(LeftOut("r2", "the same as r1"),),
        systems_left_out=(LeftOut("another patient's image", "one patient only"),),
    )
    text = changed.to_text()
    assert "not prepared: s0, s1, " in text and "s9 and 2 more" in text
    assert "other reconstructions of scored studies: r2\n" in text
    assert "another patient's image left out: one patient only" in text
    assert json.loads(changed.to_json())["not_prepared"] == list(keys), "the JSON names all"


def test_the_difference_from_another_model_stands_above_the_tables(evaluation: Evaluation) -> None:
    difference = PairedDifference("other 1a2b", Estimate(-0.0312, -0.06, 0.002, 4), 0.0721)
    heading = replace(evaluation, against=difference).to_text().split("\n\n")[0]
    assert "macro F1 -0.031 against other 1a2b (-0.060 to +0.002, 95 % over patients; p = 0.0721)" in heading
