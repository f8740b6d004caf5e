"""train(): one stage of training from start to end, in this order: load, fit, attach, calibrate, train, save."""

import hashlib
import json
from dataclasses import asdict, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from msvlm.data.cues import CueErrors
from msvlm.data.dataset import StudyDataset, check_vocabularies
from msvlm.data.manifest import Manifest, read_manifest
from msvlm.data.slice_store import SliceStore
from msvlm.data.text import ReportText, join_report, train_tokenizer
from msvlm.data.vector_store import VectorStore
from msvlm.errors import ConfigError, InputMismatchError
from msvlm.files import write_file
from msvlm.model.model_folder import LANGUAGE_MODEL_FOLDER, find_folder
from msvlm.model.ms_vlm import MsVlm, check_input
from msvlm.reporting.drafting import vectors_hash
from msvlm.reporting.reporter import Reporter
from msvlm.training.calibrate import (
    Prevalence,
    fit_standardiser,
    measure_cue_errors,
    measure_domain,
    measure_prevalence,
    set_thresholds,
)
from msvlm.training.checkpoint import load_checkpoint, save_checkpoint
from msvlm.training.encode_slices import store_vectors
from msvlm.training.learn_findings import FindingsStage, best_constant
from msvlm.training.loop import Shard, Training, TrainingData, steps
from msvlm.training.pretrain_slices import SelfDistillationStage
from msvlm.training.pretrain_z_former import MaskedEmbeddingStage
from msvlm.training.report_stages import ReportTraining, alignment_stage, finetuning_stage
from msvlm.training.run_log import RunLog, Score
from msvlm.training.train_config import StageName, TrainConfig
from msvlm.training.validation import findings_scores, report_scores

MODEL_FOLDER = "model"
CONFIG_FILE = "train_config.json"
CHECKPOINTS = "checkpoints"


def train(config: TrainConfig) -> Path:
    """Runs one stage to its end, from its last checkpoint where it has one, and returns the trained model's folder.

    Raises:
        ConfigError: the settings contradict one another, or `output` holds a run with other settings.
        DataError: a split is empty, or studies are not prepared.
        InputMismatchError: the studies were prepared with other settings than the model's.
        TrainingError: the loss is not finite.
    """
    seed, stage_name = config.optimisation.seed, config.stage
    output, finished = Path(config.output), Path(config.output) / MODEL_FOLDER

    # Load.
    accelerator = _accelerator(config)
    torch.manual_seed(seed)
    model = _load_model(config)
    manifest = read_manifest(Path(config.manifest))
    prepared = SliceStore.open(Path(config.prepared))
    _check_data(model, manifest, prepared)
    _claim_output(output, config, model, accelerator)
    if finished.is_dir():
        return finished
    model.to(accelerator.device)
    data = _load_data(manifest, prepared, None)

    # Fit the standardiser, through which all parts after the slice encoder read.
    if stage_name is not StageName.SLICES and not bool(model.standardiser.fitted):
        fit_standardiser(model, data.training, accelerator.device, seed)

    # A frozen slice encoder encodes each slice once.
    if not _trains_slice_encoder(config):
        store = VectorStore.create(Path(config.vectors), vectors_hash(model))
        store_vectors(model, (data.training, data.validation), store, accelerator)
        data = _load_data(manifest, prepared, store)

    # Attach a language model where the stage writes reports and the model has none.
    torch.manual_seed(seed)
    text = None
    if stage_name in (StageName.ALIGN, StageName.FINETUNE):
        text = _report_text(config, manifest, model)
        if model.language_model is None:
            _attach_language_model(config, model, text)

    # Calibrate what the losses need: how common findings are, and how wrong cues are.
    prevalence, cue_errors = None, None
    if stage_name is StageName.FINDINGS:
        prevalence = measure_prevalence(data.training, model.vocabulary, seed)
        if not model.findings_head.has_priors:
            model.findings_head.set_priors(prevalence.presence, best_constant(prevalence.cells))
    if text is not None:
        cue_errors = measure_cue_errors(model, data.validation, config.reports.misplaced, accelerator)

    # Train.
    stage = _build_stage(config, model, data, prevalence, text, cue_errors)
    training = Training(stage, config.optimisation, accelerator)
    load_checkpoint(training, output / CHECKPOINTS)
    with RunLog(output, training.step, config.optimisation.steps, stage_name.value, accelerator.is_main_process) as log:
        for step in steps(training):
            log.write_step(step)
            is_last = step.number == config.optimisation.steps
            if accelerator.is_main_process and (is_last or step.number % config.evaluate_every == 0):
                log.write_scores(step.number, _validate(config, model, data, text, accelerator))
            if accelerator.is_main_process and (is_last or step.number % config.save_every == 0):
                save_checkpoint(training, output / CHECKPOINTS)

    # Calibrate the trained model, and save it.
    if accelerator.is_main_process:
        if stage_name is StageName.FINDINGS:
            set_thresholds(model, data.validation, accelerator)
        if stage_name is StageName.SLICES:
            # The encoder's vectors have changed, and nothing was trained on them yet. After the findings stage the
            # standardiser stays: Z-former and head were trained with it.
            fit_standardiser(model, data.training, accelerator.device, seed)
        if text is None:
            model.save_pretrained(finished)
        else:
            Reporter(model, text, finished.name, measure_domain(data, config.domain)).save_pretrained(finished)
    accelerator.wait_for_everyone()
    return finished


def _accelerator(config: TrainConfig) -> Accelerator:
    """Returns the accelerator; a batch that cannot be divided over the processes is refused before anything else."""
    # Some parameters have no part in some steps: a ViT's mask token is used only where patches are masked.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    precision = "bf16" if config.optimisation.bf16 else "no"
    accelerator = Accelerator(mixed_precision=precision, kwargs_handlers=[unused])
    Shard(accelerator.process_index, accelerator.num_processes).positions(config.optimisation.batch_studies)
    return accelerator


def _load_model(config: TrainConfig) -> MsVlm:
    if bool(config.start_from) == (config.model is not None):
        raise ConfigError("name either start_from, to continue from a model, or [model], to build a new one")
    if not _trains_slice_encoder(config) and not config.vectors:
        raise ConfigError(f"stage {config.stage.value} reads slice vectors; name a folder for them in vectors")
    return MsVlm.from_pretrained(config.start_from) if config.model is None else MsVlm(config.model)


def _check_data(model: MsVlm, manifest: Manifest, prepared: SliceStore) -> None:
    """Checks that the studies were prepared with the model's settings and have its vocabulary."""
    check_input(model.config, prepared.input_config)
    check_vocabularies(manifest, prepared, model.vocabulary)
    if prepared.region_grid != model.slice_encoder.region_grid:
        raise InputMismatchError(
            f"lesions were prepared on a grid of {prepared.region_grid}, but the model's region grid is "
            f"{model.slice_encoder.region_grid}; prepare the studies for this model"
        )


def _claim_output(output: Path, config: TrainConfig, model: MsVlm, accelerator: Accelerator) -> None:
    """Records settings, start weights and manifest in the run's folder; refuses a folder that holds another run."""
    manifest_hash = hashlib.sha256(Path(config.manifest).read_bytes()).hexdigest()[:16]
    inputs = {"start_weights": model.weights_hash(), "manifest": manifest_hash}
    current = json.loads(json.dumps({**asdict(config), **inputs}))
    file = output / CONFIG_FILE
    if file.exists():
        recorded = json.loads(file.read_text(encoding="utf-8"))
        differing = sorted(key for key in current if recorded.get(key) != current[key])
        if differing:
            raise ConfigError(
                f"{output.name} holds a run with other settings or inputs ({', '.join(differing)}); "
                "name another output, or delete it"
            )
    elif accelerator.is_main_process:
        output.mkdir(parents=True, exist_ok=True)
        write_file(file, json.dumps(current, indent=2))
    accelerator.wait_for_everyone()


def _load_data(manifest: Manifest, prepared: SliceStore, vectors: VectorStore | None) -> TrainingData:
    training, validation = (StudyDataset(manifest.split(name), prepared, vectors) for name in ("train", "validation"))
    return TrainingData(training, validation)


def _trains_slice_encoder(config: TrainConfig) -> bool:
    return config.stage is StageName.SLICES or (
        config.stage is StageName.FINDINGS and config.findings.train_slice_encoder
    )


def _report_text(config: TrainConfig, manifest: Manifest, model: MsVlm) -> ReportText:
    """Returns the tokenizer: the model's own, its future language model's, or one trained on the reports."""
    if model.language_model is not None:
        folder = find_folder(config.start_from) / LANGUAGE_MODEL_FOLDER
        return ReportText.from_pretrained(folder, model.visual_tokens, model.vocabulary)
    if config.reports.language_model.checkpoint:
        return ReportText.from_pretrained(
            config.reports.language_model.checkpoint, model.visual_tokens, model.vocabulary
        )
    reports = [join_report(study.findings, study.impression) for study in manifest.split("train")]
    tokenizer = train_tokenizer(reports, model.vocabulary, config.reports.vocabulary_size)
    return ReportText(tokenizer, model.visual_tokens, model.vocabulary)


def _attach_language_model(config: TrainConfig, model: MsVlm, text: ReportText) -> None:
    language_model = config.reports.language_model
    if not language_model.checkpoint:
        language_model = replace(language_model, vocabulary_size=len(text.tokenizer))
    model.attach_language_model(language_model, text.visual_token_id)


def _build_stage(
    config: TrainConfig,
    model: MsVlm,
    data: TrainingData,
    prevalence: Prevalence | None,
    text: ReportText | None,
    cue_errors: CueErrors | None,
) -> torch.nn.Module:
    if config.stage is StageName.SLICES:
        return SelfDistillationStage(model, data, config.slices, config.optimisation)
    if config.stage is StageName.MASKED_EMBEDDINGS:
        return MaskedEmbeddingStage(model, data, config.masked_embeddings, config.optimisation)
    if config.stage is StageName.FINDINGS:
        assert prevalence is not None
        return FindingsStage(model, data, config.findings, config.optimisation, prevalence.cells)
    assert text is not None and cue_errors is not None
    reports = ReportTraining(text, data, config.reports, config.optimisation, cue_errors)
    return alignment_stage(model, reports) if config.stage is StageName.ALIGN else finetuning_stage(model, reports)


def _validate(
    config: TrainConfig, model: MsVlm, data: TrainingData, text: ReportText | None, accelerator: Accelerator
) -> tuple[Score, ...]:
    """Scores the validation split; the stages that learn without labels have no score."""
    if text is not None:
        return report_scores(model, text, data.validation, config.evaluated_studies, accelerator)
    if config.stage is StageName.FINDINGS:
        return findings_scores(model, data.validation, config.evaluated_studies, accelerator)
    return ()
