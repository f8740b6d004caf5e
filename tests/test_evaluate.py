"""A model is scored on held-out studies beside trivial answers, and what it wrote is kept."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_reader import CLEAR_REPORT, INPUT, NODULE_REPORT, save_tiny_reader, tiny_batch, tiny_study

from msvlm.data.embeddings import VectorStore
from msvlm.data.manifest import ManifestStudy, read_manifest, write_manifest
from msvlm.data.prepared import PreparedStore
from msvlm.data.text import split_report
from msvlm.errors import ConfigError, DataError, InputMismatchError
from msvlm.evaluation.evaluate import evaluate
from msvlm.evaluation.scoreboard import Evaluation
from msvlm.findings import CHEST_FINDING_NAMES
from msvlm.imaging.preprocess import prepare_study
from msvlm.reporting.drafting import vectors_hash
from msvlm.reporting.reporter import Reporter

SPLITS = ("train",) * 12 + ("validation",) * 6 + ("test",) * 6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_reader(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """manifest.jsonl and the folder `prepared`: every second patient has a nodule on slices 2 and 3, and is bright."""
    folder = tmp_path_factory.mktemp("data")
    store = PreparedStore.create(folder / "prepared", INPUT, (2, 2))
    studies = []
    for number, split in enumerate(SPLITS):
        study = tiny_study(300 + number, is_bright=number % 2 == 0)
        store.write(prepare_study(study, INPUT), _lesions(number % 2 == 0))
        findings, impression = split_report(NODULE_REPORT if number % 2 == 0 else CLEAR_REPORT)
        studies.append(ManifestStudy(study.key, f"p{number}", split, ("none",), findings, impression))
    write_manifest(folder / "manifest.jsonl", studies)
    return folder


def _lesions(is_there: bool) -> np.ndarray:
    regions = np.zeros((10, len(CHEST_FINDING_NAMES), 2, 2), dtype=bool)
    regions[2:4, CHEST_FINDING_NAMES.index("lung_nodule")] = is_there
    return regions


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scores")


@pytest.fixture(scope="module")
def evaluation(model: Path, data: Path, output: Path) -> Evaluation:
    return evaluate(model, data / "manifest.jsonl", data / "prepared", output)


def f1(evaluation: Evaluation, row: str, finding: str) -> float:
    return evaluation.row(row).scores.findings[CHEST_FINDING_NAMES.index(finding)].f1


def test_the_rows_that_a_score_must_be_read_beside_are_there(evaluation: Evaluation) -> None:
    assert [row.name for row in evaluation.rows] == [
        "generated report",
        "findings head",
        "no image",
        "another patient's image",
        "all negative",
        "all positive",
        "commonest report",
        "HU ridge",
    ]
    assert (evaluation.studies, evaluation.patients) == (6, 6)


def test_trivial_rows_score_what_they_must(evaluation: Evaluation) -> None:
    assert evaluation.row("all negative").scores.macro_f1.value == 0.0
    assert f1(evaluation, "all positive", "lung_nodule") == pytest.approx(2 * 0.5 / 1.5)
    assert f1(evaluation, "commonest report", "lung_nodule") == pytest.approx(2 * 0.5 / 1.5)
    assert f1(evaluation, "HU ridge", "lung_nodule") == 1.0


def test_a_model_that_learned_the_studies_beats_itself_without_their_image(evaluation: Evaluation) -> None:
    assert f1(evaluation, "generated report", "lung_nodule") == 1.0
    assert f1(evaluation, "findings head", "lung_nodule") == 1.0
    assert f1(evaluation, "no image", "lung_nodule") < 1.0
    assert f1(evaluation, "another patient's image", "lung_nodule") < 1.0
    areas = evaluation.row("findings head").areas
    assert areas is not None and areas.findings[CHEST_FINDING_NAMES.index("lung_nodule")] == 1.0


def test_what_was_written_is_kept_beside_what_is_true(evaluation: Evaluation, output: Path) -> None:
    lines = [json.loads(line) for line in (output / "reports.jsonl").read_text().splitlines()]
    assert [line["true"] for line in lines] == [NODULE_REPORT, CLEAR_REPORT] * 3
    assert [line["generated"] for line in lines] == [NODULE_REPORT, CLEAR_REPORT] * 3
    assert len({line["without_image"] for line in lines}) == 1
    assert [line["true_findings"] for line in lines] == [["lung_nodule"], []] * 3
    assert json.loads((output / "scores.json").read_text())["studies"] == evaluation.studies
    assert (output / "scores.txt").read_text() == evaluation.to_text()
    assert (output / "scores.csv").read_text() == evaluation.to_csv()
    assert Image.open(output / "scores.png").width == 1200


def test_slice_vectors_from_disk_give_the_same_drafts(
    evaluation: Evaluation, model: Path, data: Path, tmp_path: Path
) -> None:
    reporter = Reporter.from_pretrained(model)
    store = VectorStore.create(tmp_path / "vectors", vectors_hash(reporter.model))
    for number in range(len(SPLITS)):
        study = tiny_study(300 + number, is_bright=number % 2 == 0)
        vectors = reporter.model.encode(tiny_batch(study)).slice_vectors
        assert vectors is not None
        store.write(study.key, vectors.numpy())
    from_disk = evaluate(
        model, data / "manifest.jsonl", data / "prepared", tmp_path / "scores", vectors=tmp_path / "vectors"
    )
    assert from_disk.row("generated report") == evaluation.row("generated report")


def test_studies_that_are_not_prepared_are_named(model: Path, data: Path, tmp_path: Path) -> None:
    lines = (data / "manifest.jsonl").read_text()
    missing = '{"key": "lost", "patient": "p99", "split": "test", "series": ["none"]}\n'
    (tmp_path / "manifest.jsonl").write_text(missing + lines)
    evaluation = evaluate(model, tmp_path / "manifest.jsonl", data / "prepared", tmp_path, limit=3)
    assert evaluation.not_prepared == ("lost",)
    assert evaluation.studies == 2
    assert "not scored, as they are not prepared: lost" in evaluation.to_text()
    with pytest.raises(DataError, match="none of 1 test studies is prepared"):
        evaluate(model, tmp_path / "manifest.jsonl", data / "prepared", tmp_path, limit=1)


def test_a_row_that_too_few_patients_allow_no_one_to_make_is_left_out_with_its_reason(
    model: Path, data: Path, tmp_path: Path
) -> None:
    studies = [
        replace(study, patient="one", impression=f"Number {number}.") if study.split == "test" else study
        for number, study in enumerate(read_manifest(data / "manifest.jsonl").studies)
    ]
    write_manifest(tmp_path / "m.jsonl", [*studies[:-1], replace(studies[-1], patient="two")])
    evaluation = evaluate(model, tmp_path / "m.jsonl", data / "prepared", tmp_path / "scores")
    assert "another patient's image" not in [row.name for row in evaluation.rows]
    assert [item.name for item in evaluation.rows_left_out] == ["another patient's image"]
    assert "left out: 5 of 6 studies are one patient's" in (tmp_path / "scores" / "scores.txt").read_text()
    assert len((tmp_path / "scores" / "reports.jsonl").read_text().splitlines()) == 6


def test_rows_that_learn_from_training_studies_are_left_out_with_their_reasons_where_there_are_none(
    model: Path, data: Path, tmp_path: Path
) -> None:
    studies = read_manifest(data / "manifest.jsonl").split("test")
    write_manifest(tmp_path / "m.jsonl", studies)
    evaluation = evaluate(model, tmp_path / "m.jsonl", data / "prepared", tmp_path / "scores")
    reasons = {item.name: item.reason for item in evaluation.rows_left_out}
    assert reasons == {
        "commonest report": "the manifest has no training study",
        "HU ridge": "0 training and 0 validation studies are prepared; it learns from both",
    }
    assert not set(reasons) & {row.name for row in evaluation.rows}


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="the output folder cannot be written"):
        evaluate("no-model", tmp_path / "no-manifest", tmp_path / "no-store", tmp_path / "file")


def test_slices_prepared_for_another_model_are_refused(model: Path, data: Path, tmp_path: Path) -> None:
    PreparedStore.create(tmp_path / "other", replace(INPUT, pixel_spacing_mm=3.0), (2, 2))
    with pytest.raises(InputMismatchError, match="pixel_spacing_mm"):
        evaluate(model, data / "manifest.jsonl", tmp_path / "other", tmp_path)


def test_the_evidence_of_studies_with_masks_is_held_against_them(evaluation: Evaluation) -> None:
    evidence = evaluation.evidence
    assert evidence is not None and evidence.overall is not None
    assert evidence.studies == 6
    assert evidence.overall.inside.count == 2 * 3, "two sentences of each of three reports state the nodule"
    assert evidence.overall.chance == pytest.approx(2 / 10)
    assert [one.finding for one in evidence.findings] == ["lung_nodule"]


def test_the_calibration_of_the_head_is_told_for_each_of_its_findings(evaluation: Evaluation) -> None:
    calibration = evaluation.calibration
    assert calibration is not None and calibration.names == CHEST_FINDING_NAMES
    assert sum(one.count for one in calibration.bins) == 6 * len(CHEST_FINDING_NAMES)
    assert 0.0 <= calibration.error < 0.2


def test_evidence_is_sought_of_as_many_studies_as_asked_for(model: Path, data: Path, tmp_path: Path) -> None:
    arguments = (model, data / "manifest.jsonl", data / "prepared", tmp_path)
    one = evaluate(*arguments, evidence_studies=1).evidence
    assert one is not None and one.studies == 1
    assert evaluate(*arguments, evidence_studies=0).evidence is None
    with pytest.raises(ConfigError, match="evidence of -1 studies"):
        evaluate(*arguments, evidence_studies=-1)
    with pytest.raises(ConfigError, match="limit 0"):
        evaluate(*arguments, limit=0)


def test_other_reconstructions_of_a_study_are_not_scored_again_and_named(
    evaluation: Evaluation, model: Path, data: Path, tmp_path: Path
) -> None:
    studies = read_manifest(data / "manifest.jsonl").studies
    first, second = studies[-2:]
    write_manifest(tmp_path / "m.jsonl", [*studies, replace(first, key="study999"), replace(second, key="study998")])
    store = PreparedStore.open(data / "prepared")
    for study, key in ((first, "study999"), (second, "study998")):
        if key not in store:
            store.write(replace(store.read(study.key), key=key), None)
    found = evaluate(model, tmp_path / "m.jsonl", data / "prepared", tmp_path / "scores")
    assert [item.name for item in found.reconstructions] == ["study999", "study998"]
    assert (found.studies, found.row("generated report")) == (6, evaluation.row("generated report"))
    assert "other reconstructions of studies that are: study999, study998" in found.to_text()


def test_a_model_is_compared_with_another_on_the_same_studies(
    evaluation: Evaluation, model: Path, data: Path, output: Path, tmp_path: Path
) -> None:
    arguments = (model, data / "manifest.jsonl", data / "prepared", tmp_path)
    found = evaluate(*arguments, evidence_studies=0, against=output).against
    assert found is not None and found.other == evaluation.model
    assert (found.macro_f1.value, found.p_value) == (0.0, 1.0)
    with pytest.raises(DataError, match="it alone has 3 of them"):
        evaluate(*arguments, limit=3, against=output)
    with pytest.raises(DataError, match=r"nowhere holds no reports.jsonl"):
        evaluate(*arguments, against=tmp_path / "nowhere")
