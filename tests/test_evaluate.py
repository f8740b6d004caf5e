"""A model is scored on held-out studies beside baselines, and its reports are saved."""

import json
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from tiny_reader import CLEAR_REPORT, INPUT, NODULE_REPORT, save_tiny_reader, tiny_batch, tiny_study

from msvlm.data.manifest import ManifestStudy, read_manifest, write_manifest
from msvlm.data.slice_store import SliceStore
from msvlm.data.vector_store import VectorStore
from msvlm.errors import ConfigError, DataError, InputMismatchError
from msvlm.evaluation.evaluate import evaluate, keep_one_reconstruction
from msvlm.evaluation.tables import Evaluation
from msvlm.imaging.preprocess import prepare_study
from msvlm.reporting.drafting import vectors_hash
from msvlm.reporting.reporter import Reporter
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement

SPLITS = ("train",) * 12 + ("validation",) * 6 + ("test",) * 6


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_reader(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Returns manifest.jsonl and `prepared`; every second patient is bright and has a nodule on slices 2 and 3."""
    folder = tmp_path_factory.mktemp("data")
    store = SliceStore.create(folder / "prepared", CHEST, INPUT, (2, 2))
    studies = []
    for number, split in enumerate(SPLITS):
        study = tiny_study(300 + number, is_bright=number % 2 == 0)
        store.write(prepare_study(study, INPUT), _lesions(number % 2 == 0))
        report = NODULE_REPORT if number % 2 == 0 else CLEAR_REPORT
        findings, impression = report.removeprefix("Findings: ").split("\nImpression: ")
        studies.append(ManifestStudy(study.key, f"p{number}", split, ("none",), findings, impression))
    write_manifest(folder / "manifest.jsonl", studies)
    return folder


def _lesions(has_nodule: bool) -> np.ndarray:
    regions = np.zeros((10, len(CHEST.names), 2, 2), dtype=bool)
    regions[2:4, CHEST.names.index("lung_nodule")] = has_nodule
    return regions


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("scores")


@pytest.fixture(scope="module")
def evaluation(model: Path, data: Path, output: Path) -> Evaluation:
    return evaluate(model, data / "manifest.jsonl", data / "prepared", output)


def f1(evaluation: Evaluation, system: str, finding: str) -> float:
    return evaluation.system(system).presence.findings[CHEST.names.index(finding)].f1


def test_all_systems_are_scored(evaluation: Evaluation) -> None:
    assert [system.name for system in evaluation.systems] == [
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


def test_trivial_systems_score_what_they_must(evaluation: Evaluation) -> None:
    assert evaluation.system("all negative").presence.macro_f1.value == 0.0
    assert f1(evaluation, "all positive", "lung_nodule") == pytest.approx(2 * 0.5 / 1.5)
    assert f1(evaluation, "commonest report", "lung_nodule") == pytest.approx(2 * 0.5 / 1.5)
    assert f1(evaluation, "HU ridge", "lung_nodule") == 1.0


def test_a_model_that_learned_the_studies_beats_itself_without_their_image(evaluation: Evaluation) -> None:
    assert f1(evaluation, "generated report", "lung_nodule") == 1.0
    assert f1(evaluation, "findings head", "lung_nodule") == 1.0
    assert f1(evaluation, "no image", "lung_nodule") < 1.0
    assert f1(evaluation, "another patient's image", "lung_nodule") < 1.0
    areas = evaluation.system("findings head").auc
    assert areas is not None and areas.findings[CHEST.names.index("lung_nodule")] == 1.0


def test_reports_are_saved_beside_their_references(evaluation: Evaluation, output: Path) -> None:
    lines = [json.loads(line) for line in (output / "reports.jsonl").read_text().splitlines()]
    assert [line["true"] for line in lines] == [NODULE_REPORT, CLEAR_REPORT] * 3
    assert [line["generated"] for line in lines] == [NODULE_REPORT, CLEAR_REPORT] * 3
    assert len({line["without_image"] for line in lines}) == 1
    assert [line["true_findings"] for line in lines] == [["lung_nodule"], []] * 3
    assert json.loads((output / "scores.json").read_text())["studies"] == evaluation.studies
    assert (output / "scores.txt").read_text() == evaluation.to_text()
    assert (output / "scores.csv").read_text() == evaluation.to_csv()
    assert Image.open(output / "scores.png").width == 1200


def test_without_matplotlib_everything_but_the_picture_is_written(
    model: Path, data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    (tmp_path / "scores.png").write_bytes(b"of an earlier evaluation")
    evaluate(model, data / "manifest.jsonl", data / "prepared", tmp_path, limit=1, evidence_studies=0)
    written = {path.name for path in tmp_path.iterdir()}
    assert written == {"scores.txt", "scores.json", "scores.csv", "reports.jsonl"}
    assert caplog.messages == ['scores.png is not drawn: matplotlib is not installed; run: pip install "msvlm[eval]"']


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
    assert from_disk.system("generated report") == evaluation.system("generated report")


def test_studies_that_are_not_prepared_are_named(model: Path, data: Path, tmp_path: Path) -> None:
    lines = (data / "manifest.jsonl").read_text()
    missing = '{"key": "lost", "patient": "p99", "split": "test", "series": ["none"]}\n'
    (tmp_path / "manifest.jsonl").write_text(missing + lines)
    evaluation = evaluate(model, tmp_path / "manifest.jsonl", data / "prepared", tmp_path, limit=3)
    assert evaluation.not_prepared == ("lost",)
    assert evaluation.studies == 2
    assert "not scored, not prepared: lost" in evaluation.to_text()
    with pytest.raises(DataError, match="none of 1 test studies is prepared"):
        evaluate(model, tmp_path / "manifest.jsonl", data / "prepared", tmp_path, limit=1)


def test_another_patients_image_is_left_out_with_its_reason_where_patients_are_too_few(
    model: Path, data: Path, tmp_path: Path
) -> None:
    studies = [
        replace(study, patient="one", impression=f"Number {number}.") if study.split == "test" else study
        for number, study in enumerate(read_manifest(data / "manifest.jsonl").studies)
    ]
    write_manifest(tmp_path / "m.jsonl", [*studies[:-1], replace(studies[-1], patient="two")])
    evaluation = evaluate(model, tmp_path / "m.jsonl", data / "prepared", tmp_path / "scores")
    assert "another patient's image" not in [system.name for system in evaluation.systems]
    assert [item.name for item in evaluation.systems_left_out] == ["another patient's image"]
    assert "left out: 5 of 6 studies belong to one patient" in (tmp_path / "scores" / "scores.txt").read_text()
    assert len((tmp_path / "scores" / "reports.jsonl").read_text().splitlines()) == 6


def test_baselines_that_need_training_studies_are_left_out_with_their_reasons_where_there_are_none(
    model: Path, data: Path, tmp_path: Path
) -> None:
    studies = read_manifest(data / "manifest.jsonl").split("test")
    write_manifest(tmp_path / "m.jsonl", studies)
    evaluation = evaluate(model, tmp_path / "m.jsonl", data / "prepared", tmp_path / "scores")
    reasons = {item.name: item.reason for item in evaluation.systems_left_out}
    assert reasons == {
        "commonest report": "the manifest has no training study",
        "HU ridge": "0 training and 0 validation studies are prepared; it needs both",
    }
    assert not set(reasons) & {system.name for system in evaluation.systems}


def test_an_output_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="the output folder cannot be written"):
        evaluate("no-model", tmp_path / "no-manifest", tmp_path / "no-store", tmp_path / "file")


def test_slices_prepared_for_another_model_are_refused(model: Path, data: Path, tmp_path: Path) -> None:
    SliceStore.create(tmp_path / "other", CHEST, replace(INPUT, pixel_spacing_mm=3.0), (2, 2))
    with pytest.raises(InputMismatchError, match="pixel_spacing_mm"):
        evaluate(model, data / "manifest.jsonl", tmp_path / "other", tmp_path)


def test_evidence_is_compared_with_lesion_masks(evaluation: Evaluation) -> None:
    evidence = evaluation.evidence
    assert evidence is not None and evidence.overall is not None
    assert evidence.studies == 6
    assert evidence.overall.inside.count == 2 * 3, "two sentences of each of three reports state the nodule"
    assert evidence.overall.chance == pytest.approx(2 / 10)
    assert [one.finding for one in evidence.findings] == ["lung_nodule"]


def test_the_head_is_calibrated_finding_by_finding(evaluation: Evaluation) -> None:
    calibration = evaluation.calibration
    assert calibration is not None and calibration.names == CHEST.names
    assert sum(one.count for one in calibration.bins) == 6 * len(CHEST.names)
    assert 0.0 <= calibration.error < 0.2


def test_evidence_is_scored_on_the_requested_number_of_studies(model: Path, data: Path, tmp_path: Path) -> None:
    arguments = (model, data / "manifest.jsonl", data / "prepared", tmp_path)
    one = evaluate(*arguments, evidence_studies=1).evidence
    assert one is not None and one.studies == 1
    assert evaluate(*arguments, evidence_studies=0).evidence is None
    with pytest.raises(ConfigError, match="evidence_studies is -1"):
        evaluate(*arguments, evidence_studies=-1)
    with pytest.raises(ConfigError, match="limit is 0"):
        evaluate(*arguments, limit=0)


def test_other_reconstructions_of_a_study_are_named_and_not_scored(
    evaluation: Evaluation, model: Path, data: Path, tmp_path: Path
) -> None:
    studies = read_manifest(data / "manifest.jsonl").studies
    first, second = studies[-2:]
    write_manifest(tmp_path / "m.jsonl", [*studies, replace(first, key="study999"), replace(second, key="study998")])
    store = SliceStore.open(data / "prepared")
    for study, key in ((first, "study999"), (second, "study998")):
        if key not in store:
            store.write(replace(store.read(study.key), key=key), None)
    found = evaluate(model, tmp_path / "m.jsonl", data / "prepared", tmp_path / "scores")
    assert [item.name for item in found.reconstructions] == ["study999", "study998"]
    assert (found.studies, found.system("generated report")) == (6, evaluation.system("generated report"))
    assert "other reconstructions of scored studies: study999, study998" in found.to_text()


def test_a_model_is_compared_with_another_on_the_same_studies(
    evaluation: Evaluation, model: Path, data: Path, output: Path, tmp_path: Path
) -> None:
    arguments = (model, data / "manifest.jsonl", data / "prepared", tmp_path)
    found = evaluate(*arguments, evidence_studies=0, against=output).against
    assert found is not None and found.other == evaluation.model
    assert (found.macro_f1.value, found.p_value) == (0.0, 1.0)
    with pytest.raises(DataError, match="only it has 3 of them"):
        evaluate(*arguments, limit=3, against=output)
    with pytest.raises(DataError, match=r"nowhere has no reports.jsonl"):
        evaluate(*arguments, against=tmp_path / "nowhere")


def _listed(
    key: str, patient: str = "p1", findings: str = "A nodule.", nodule: Certainty | None = None
) -> ManifestStudy:
    truth = (FindingStatement("lung_nodule", nodule),) if nodule is not None else None
    return ManifestStudy(key, patient, "test", ("none",), findings, truth=truth)


def test_one_reconstruction_is_scored_and_the_others_are_named() -> None:
    kept, left_out = keep_one_reconstruction(
        [_listed("a_2"), _listed("b_1", "p2"), _listed("a_1", findings="A  nodule.\n")]
    )
    assert [study.key for study in kept] == ["b_1", "a_1"]
    assert [item.name for item in left_out] == ["a_2"]
    assert "the same report as a_1" in left_out[0].reason


def test_another_report_or_another_truth_or_no_report_is_another_study() -> None:
    studies = [
        _listed("a"),
        _listed("b", findings="No nodule."),
        _listed("c", nodule=Certainty.PRESENT),
        _listed("d", nodule=Certainty.ABSENT),
        _listed("e", findings=""),
        _listed("f", findings=""),
    ]
    assert keep_one_reconstruction(studies) == (tuple(studies), ())


def test_the_kept_reconstruction_does_not_depend_on_the_order() -> None:
    studies = [_listed("a_1"), _listed("a_2"), _listed("b_1", "p2"), _listed("b_2", "p2")]
    kept = {study.key for study in keep_one_reconstruction(studies)[0]}
    assert kept == {study.key for study in keep_one_reconstruction(studies[::-1])[0]} == {"a_1", "b_1"}
