"""Runs end as they would have without a kill or a second process; the stages join; what is wrong is refused by name."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tiny_runs import INPUT, MODEL, TinyData, faster, make_tiny_data

from msvlm.data.cues import CueErrors
from msvlm.data.dataset import StudyDataset
from msvlm.data.manifest import read_manifest, write_manifest
from msvlm.data.slice_store import SliceStore
from msvlm.data.text import ReportText
from msvlm.data.vector_store import VectorStore
from msvlm.errors import ConfigError, DataError, InputMismatchError, TrainingError
from msvlm.imaging.read import read_study
from msvlm.model.model_folder import LANGUAGE_MODEL_FOLDER, weights_hash
from msvlm.model.ms_vlm import MsVlm
from msvlm.reporting.drafting import vectors_hash
from msvlm.reporting.out_of_domain import FILE_NAME
from msvlm.reporting.reporter import Reporter
from msvlm.training.calibrate import fit_standardiser
from msvlm.training.checkpoint import load_checkpoint, save_checkpoint
from msvlm.training.loop import Optimisation, Shard, Training, TrainingData, steps
from msvlm.training.report_stages import ReportSettings, ReportStage, ReportTraining, finetuning_stage
from msvlm.training.run import CHECKPOINTS, train
from msvlm.training.run_log import METRICS_FILE
from msvlm.training.train_config import StageName, read_train_config
from msvlm.training.validation import findings_scores
from msvlm.vocabulary.chest import CHEST

TOML = """
stage = "{stage}"
output = "{output}"
manifest = "{manifest}"
prepared = "{prepared}"
vectors = "{vectors}"
evaluate_every = 1000
save_every = 2
[optimisation]
steps = {steps}
batch_studies = 4
warmup_steps = 2
[model.input]
rows = 48
columns = 64
pixel_spacing_mm = 6.0
[model.slice_encoder]
width = 16
layers = 1
heads = 2
region_grid = [3, 4]
[model.z_former]
width = 32
layers = 1
heads = 2
dropout = {dropout}
[model.resampler]
queries = 2
layers = 1
heads = 2
[model.findings_head]
heads = 2
[findings]
train_slice_encoder = {from_pixels}
slices_per_study = 6
[slices]
slices_per_study = 2
prototypes = 32
[slices.crops]
global_pixels = [48, 48]
local_pixels = [24, 24]
local_crops = 2
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> TinyData:
    return make_tiny_data(tmp_path_factory.mktemp("tiny"))


@pytest.fixture(scope="module")
def findings_model(data: TinyData) -> Path:
    return train(data.run(StageName.FINDINGS, "findings", 4))


@pytest.fixture(scope="module")
def aligned_model(data: TinyData, findings_model: Path) -> Path:
    return train(data.run(StageName.ALIGN, "align", 2, findings_model))


def losses(output: Path) -> list[float]:
    """The loss of each step, which stand in the log once each and in order."""
    rows = [json.loads(line) for line in (output / METRICS_FILE).read_text(encoding="utf-8").splitlines()]
    rows = [row for row in rows if row["split"] == "train"]
    assert [row["step"] for row in rows] == list(range(1, len(rows) + 1))
    return [row["loss"] for row in rows]


def toml(
    data: TinyData, folder: Path, steps: int, stage: str = "findings", from_pixels: bool = False, dropout: float = 0.0
) -> Path:
    folder.mkdir(exist_ok=True)
    file = folder / f"{stage}.toml"
    file.write_text(
        TOML.format(
            stage=stage,
            output=folder / "run",
            manifest=data.manifest,
            prepared=data.prepared,
            vectors=folder / "vectors",
            steps=steps,
            from_pixels=str(from_pixels).lower(),
            dropout=dropout,
        ),
        encoding="utf-8",
    )
    return file


def command(*arguments: str) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "ACCELERATE_USE_CPU": "true", "CUDA_VISIBLE_DEVICES": ""}
    return subprocess.Popen(
        [sys.executable, "-m", *arguments], env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "from_pixels"),
    [("findings", False), ("findings", True), ("slices", False), ("masked_embeddings", False)],
)
def test_a_run_killed_midway_ends_with_the_losses_of_an_unbroken_one(
    data: TinyData, tmp_path: Path, stage: str, from_pixels: bool
) -> None:
    unbroken = toml(data, tmp_path / "unbroken", 16, stage, from_pixels, dropout=0.1)
    killed = toml(data, tmp_path / "killed", 16, stage, from_pixels, dropout=0.1)
    assert command("msvlm", "train", str(unbroken)).wait(300) == 0
    first = command("msvlm", "train", str(killed))
    checkpoints = tmp_path / "killed" / "run" / CHECKPOINTS
    deadline = time.monotonic() + 300
    while not (checkpoints.is_dir() and any(place.name > "step_00000003" for place in checkpoints.glob("step_*"))):
        assert time.monotonic() < deadline and first.poll() is None
        time.sleep(0.01)
    first.send_signal(signal.SIGKILL)
    first.wait()
    run = tmp_path / "killed" / "run"
    assert not (run / "model").exists()
    reached = max(int(place.name.removeprefix("step_")) for place in checkpoints.glob("step_*"))
    before = (run / METRICS_FILE).read_text(encoding="utf-8").splitlines()[:reached]
    assert command("msvlm", "train", str(killed)).wait(300) == 0
    after = (run / METRICS_FILE).read_text(encoding="utf-8").splitlines()
    assert after[:reached] == before, "with the seconds of each step: these steps were not taken again"
    assert losses(run) == losses(tmp_path / "unbroken" / "run")
    board = EventAccumulator(str(run / "tensorboard")).Reload()
    shown = board.Scalars("train/loss")
    assert [event.step for event in shown] == list(range(1, 17))
    assert [event.value for event in shown] == pytest.approx(losses(run), rel=1e-5)


@pytest.mark.slow
@pytest.mark.parametrize("stage", ["findings", "slices"])
def test_two_processes_give_the_losses_of_one(data: TinyData, tmp_path: Path, stage: str) -> None:
    assert command("msvlm", "train", str(toml(data, tmp_path / "one", 5, stage))).wait(300) == 0
    launch = ("torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m", "msvlm")
    assert command(*launch, "train", str(toml(data, tmp_path / "two", 5, stage))).wait(300) == 0
    assert losses(tmp_path / "two" / "run") == pytest.approx(losses(tmp_path / "one" / "run"), rel=1e-3)


@pytest.mark.parametrize("stage", [StageName.SLICES, StageName.MASKED_EMBEDDINGS])
def test_each_stage_without_labels_trains_and_leaves_a_model(data: TinyData, stage: StageName) -> None:
    config = faster(data.run(stage, stage.value, 20), 3e-3, 4)
    folder = train(config)
    told = losses(Path(config.output))
    model = MsVlm.from_pretrained(folder)
    torch.manual_seed(config.optimisation.seed)
    moves = "slice_encoder" if stage is StageName.SLICES else "z_former"
    untrained = MsVlm(MODEL)
    for part in ("slice_encoder", "z_former", "findings_head", "resampler"):
        is_as_before = weights_hash(getattr(model, part)) == weights_hash(getattr(untrained, part))
        assert is_as_before == (part != moves), part
    if stage is StageName.MASKED_EMBEDDINGS:
        assert sum(told[-5:]) < sum(told[:5])


def test_the_slice_encoder_moves_where_it_is_trained_and_nowhere_else(data: TinyData, findings_model: Path) -> None:
    before = MsVlm.from_pretrained(findings_model).slice_encoder.weights_hash()
    frozen = train(data.run(StageName.MASKED_EMBEDDINGS, "frozen", 2, findings_model))
    config = data.run(StageName.FINDINGS, "pixels", 2, findings_model)
    config = replace(config, findings=replace(config.findings, train_slice_encoder=True, slices_per_study=6))
    trained = train(config)
    assert MsVlm.from_pretrained(frozen).slice_encoder.weights_hash() == before
    assert MsVlm.from_pretrained(trained).slice_encoder.weights_hash() != before


def test_alignment_leaves_all_but_the_bridge_and_the_language_model_as_it_was(
    findings_model: Path, aligned_model: Path
) -> None:
    before = MsVlm.from_pretrained(findings_model).state_dict()
    after = MsVlm.from_pretrained(aligned_model).state_dict()
    moved = {name.split(".")[0] for name in before if not before[name].equal(after[name])}
    assert moved == {"resampler"}
    assert {name.split(".")[0] for name in after if name not in before} == {"visual_projection", "language_model"}


def test_reports_learned_with_a_break_give_the_losses_of_an_unbroken_run(
    data: TinyData, aligned_model: Path, tmp_path: Path
) -> None:
    def training() -> Training:
        optimisation = Optimisation(steps=6, batch_studies=4, warmup_steps=2, muon=True)
        return Training(report_stage(data, aligned_model, 0.1), optimisation, Accelerator(cpu=True))

    unbroken = [step.loss for step in steps(training())]
    first = training()
    before = [next(running).loss for running in [steps(first)] for _ in range(3)]
    save_checkpoint(first, tmp_path)
    second = training()
    assert load_checkpoint(second, tmp_path)
    assert before + [step.loss for step in steps(second)] == unbroken
    assert unbroken[-1] < unbroken[0]


def report_stage(data: TinyData, aligned_model: Path, no_image_share: float) -> ReportStage:
    model = MsVlm.from_pretrained(aligned_model)
    text = ReportText.from_pretrained(aligned_model / LANGUAGE_MODEL_FOLDER, model.visual_tokens, CHEST)
    vectors = VectorStore.open(data.folder / "vectors_align", vectors_hash(model))
    split = StudyDataset(read_manifest(data.manifest).split("train"), SliceStore.open(data.prepared), vectors)
    settings = ReportSettings(cue_drop=0.0, no_image_share=no_image_share)
    optimisation = Optimisation(steps=2, batch_studies=4)
    return finetuning_stage(
        model, ReportTraining(text, TrainingData(split, split), settings, optimisation, CueErrors((), (), (), 0.0))
    )


def test_a_blind_study_is_told_by_no_slice_and_no_cue(data: TinyData, aligned_model: Path) -> None:
    blind, seeing = (report_stage(data, aligned_model, share).batch(0, Shard()) for share in (1.0, 0.0))
    assert not blind.visible.any() and seeing.visible.all()
    assert torch.equal(blind.study_index, seeing.study_index)
    told_blind, told_seeing = (
        (batch.text.attention_mask.sum(1) - (batch.text.labels != -100).sum(1)).tolist() for batch in (blind, seeing)
    )
    assert len(set(told_blind)) == 1, "prompts of visual tokens alone"
    assert min(told_seeing) > told_blind[0]
    torch.testing.assert_close(blind.finding_vectors, blind.finding_vectors[:1].expand_as(blind.finding_vectors))
    assert not torch.allclose(seeing.finding_vectors[0], seeing.finding_vectors[1])


def test_shares_beyond_one_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"no_image_share 1\.5"):
        ReportSettings(no_image_share=1.5)


def test_a_finetuned_model_reads_a_study(data: TinyData, aligned_model: Path) -> None:
    folder = train(data.run(StageName.FINETUNE, "finetune", 2, aligned_model))
    assert not (folder / FILE_NAME).exists()
    study = read_manifest(data.manifest).studies[0]
    report = Reporter.from_pretrained(folder).write(read_study(data.manifest.parent / study.series[0]))
    assert any("the model's training domain is not known" in warning for warning in report.warnings)
    assert set(report.probabilities) == set(CHEST.names)


def test_a_finished_run_is_not_run_again(data: TinyData, findings_model: Path) -> None:
    before = (findings_model / "config.json").stat().st_mtime_ns
    assert train(data.run(StageName.FINDINGS, "findings", 4)) == findings_model
    assert (findings_model / "config.json").stat().st_mtime_ns == before


def test_a_run_is_the_same_with_its_manifest_in_another_place(data: TinyData, findings_model: Path) -> None:
    moved = data.manifest.with_name("moved.jsonl")
    shutil.copy(data.manifest, moved)
    assert train(replace(data.run(StageName.FINDINGS, "findings", 4), manifest=str(moved))) == findings_model


@pytest.mark.usefixtures("findings_model")
def test_a_folder_that_holds_another_run_is_refused(data: TinyData) -> None:
    with pytest.raises(ConfigError, match=r"other settings or inputs \(optimisation\)"):
        train(data.run(StageName.FINDINGS, "findings", 5))


def test_input_prepared_for_another_model_is_refused(data: TinyData) -> None:
    config = data.run(StageName.FINDINGS, "mismatch", 2)
    other = replace(MODEL, input=replace(INPUT, pixel_spacing_mm=5.0))
    with pytest.raises(InputMismatchError, match="pixel_spacing_mm"):
        train(replace(config, model=other))


def test_a_data_set_without_training_studies_is_refused(data: TinyData, tmp_path: Path) -> None:
    manifest = read_manifest(data.manifest)
    file = tmp_path / "manifest.jsonl"
    write_manifest(file, [study for study in manifest.studies if study.split != "train"])
    with pytest.raises(DataError, match="no study in split 'train'"):
        train(replace(data.run(StageName.FINDINGS, "empty", 2), manifest=str(file)))


def test_studies_that_are_not_prepared_are_named(data: TinyData, tmp_path: Path) -> None:
    SliceStore.create(tmp_path / "none", CHEST, INPUT, (3, 4))
    with pytest.raises(DataError, match="not prepared"):
        train(replace(data.run(StageName.FINDINGS, "unprepared", 2), prepared=str(tmp_path / "none")))


def test_lesions_prepared_on_another_grid_are_refused(data: TinyData) -> None:
    other = replace(MODEL, slice_encoder=replace(MODEL.slice_encoder, region_grid=(6, 8)))
    with pytest.raises(InputMismatchError, match=r"grid of \(3, 4\), but the model's region grid is \(6, 8\)"):
        train(replace(data.run(StageName.FINDINGS, "grid", 2), model=other))


def test_a_refused_run_claims_no_folder(data: TinyData) -> None:
    config = data.run(StageName.FINDINGS, "claimed", 2)
    with pytest.raises(DataError):
        train(replace(config, prepared=str(data.folder / "nowhere")))
    assert train(config).is_dir()


@pytest.mark.parametrize("from_pixels", [False, True])
def test_the_saved_model_scores_what_the_log_says(data: TinyData, findings_model: Path, from_pixels: bool) -> None:
    config = data.run(StageName.FINDINGS, f"scored_{from_pixels}", 12, findings_model)
    config = faster(config, 1e-2, 4)
    settings = replace(config.findings, train_slice_encoder=from_pixels, slices_per_study=6 if from_pixels else 0)
    model = MsVlm.from_pretrained(train(replace(config, findings=settings)))
    logged = [json.loads(line) for line in (Path(config.output) / METRICS_FILE).read_text().splitlines()][-1]
    split = StudyDataset(read_manifest(data.manifest).split("validation"), SliceStore.open(data.prepared))
    for score in findings_scores(model, split, 100, Accelerator(cpu=True)):
        assert logged[score.name] == pytest.approx(score.value, abs=1e-6)


def test_vectors_are_standardised_anew_where_slices_alone_were_learned_from(data: TinyData) -> None:
    folder = train(data.run(StageName.SLICES, "restandardised", 2))
    model = MsVlm.from_pretrained(folder)
    assert bool(model.standardiser.fitted)
    fitted = model.standardiser.mean.clone()
    split = StudyDataset(read_manifest(data.manifest).split("train"), SliceStore.open(data.prepared))
    fit_standardiser(model, split, torch.device("cpu"), 0)
    torch.testing.assert_close(model.standardiser.mean, fitted)


def test_a_new_model_and_one_to_start_from_exclude_each_other(data: TinyData, findings_model: Path) -> None:
    config = data.run(StageName.FINDINGS, "both", 2, findings_model)
    with pytest.raises(ConfigError, match="either start_from"):
        train(replace(config, model=MODEL))


def test_a_loss_that_is_not_a_number_ends_the_run(data: TinyData) -> None:
    config = data.run(StageName.FINDINGS, "diverged", 50)
    with pytest.raises(TrainingError, match=r"step \d+: the (loss|norm of the gradients) is (nan|inf)"):
        train(replace(config, optimisation=replace(config.optimisation, learning_rate=1e30, gradient_clip=0.0)))


@pytest.mark.parametrize(
    ("line", "complaint"),
    [
        ("colour = 3", "colour"),
        ("save_every = 0", "save_every = 0"),
        ('stage = "dream"', "dream"),
        ("[masked_embeddings]\nmask_ratio = 1.5", "mask_ratio 1.5"),
        ("[masked_embeddings]\nmasked = 0.5", "masked"),
        ("[reports]\nmisplaced = -0.1", "misplaced -0.1"),
        ("stage =", "is not TOML"),
    ],
)
def test_a_bad_key_or_value_is_refused_by_name(data: TinyData, tmp_path: Path, line: str, complaint: str) -> None:
    file = toml(data, tmp_path, 2)
    text = file.read_text(encoding="utf-8")
    key = line.split(" =", maxsplit=1)[0]
    kept = [old for old in text.splitlines() if not old.startswith(f"{key} =")]
    place = 1 if not line.startswith("[") else len(kept)
    file.write_text("\n".join([*kept[:place], line, *kept[place:]]), encoding="utf-8")
    with pytest.raises(ConfigError, match=complaint):
        read_train_config(file)


def test_a_missing_settings_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="nothing.toml cannot be read"):
        read_train_config(tmp_path / "nothing.toml")
