"""train(): picks the stage, then logs, evaluates, saves and resumes around its steps."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import torch
from accelerate import Accelerator
from accelerate.utils import DistributedDataParallelKwargs

from msvlm.data.dataset import StudyDataset
from msvlm.data.embeddings import VectorStore
from msvlm.data.manifest import Manifest, read_manifest
from msvlm.data.prepared import PreparedStore
from msvlm.data.text import ReportText, join_report, train_tokenizer
from msvlm.errors import ConfigError, InputMismatchError
from msvlm.files import write_file
from msvlm.model.model_folder import LANGUAGE_MODEL_FOLDER, find_folder
from msvlm.model.ms_vlm import MsVlm, check_input
from msvlm.reporting.drafting import vectors_hash
from msvlm.reporting.reporter import Reporter
from msvlm.training.align import alignment_stage
from msvlm.training.checkpoint import load_checkpoint, save_checkpoint
from msvlm.training.engine import Share, Training, TrainingData, steps
from msvlm.training.finetune import finetuning_stage
from msvlm.training.learn_findings import FindingsStage
from msvlm.training.pretrain_slices import SelfDistillationStage
from msvlm.training.pretrain_z_former import MaskedEmbeddingStage
from msvlm.training.run_log import RunLog, Score
from msvlm.training.scoring import findings_scores, measure_cue_errors, measure_domain, report_scores, set_thresholds
from msvlm.training.slice_vectors import fit_standardiser, store_vectors
from msvlm.training.train_config import StageName, TrainConfig
from msvlm.training.write_reports import ReportTraining

MODEL_FOLDER = "model"
CONFIG_FILE = "train_config.json"
CHECKPOINTS = "checkpoints"


def train(config: TrainConfig) -> Path:
    """Runs one stage to its end, from its last checkpoint where it has one; the folder of the trained model.

    Raises:
        ConfigError: the settings do not fit each other, or the run that stands in `output`.
        DataError: a split is empty, or studies are not prepared.
        InputMismatchError: the studies were prepared otherwise than the model reads.
        TrainingError: the loss is not a number.
    """
    output = Path(config.output)
    finished = output / MODEL_FOLDER
    # Some parameters have no part in some steps: a ViT's mask token is used only where patches are hidden.
    unused = DistributedDataParallelKwargs(find_unused_parameters=True)
    precision = "bf16" if config.optimisation.bf16 else "no"
    accelerator = Accelerator(mixed_precision=precision, kwargs_handlers=[unused])
    # A batch that cannot be parted among the processes is refused before anything is computed.
    Share(accelerator.process_index, accelerator.num_processes).of(config.optimisation.batch_studies)
    torch.manual_seed(config.optimisation.seed)
    model = _start_model(config)
    manifest = read_manifest(Path(config.manifest))
    prepared = PreparedStore.open(Path(config.prepared))
    check_input(model.config, prepared.input_config)
    _check_grid(model, prepared)
    _claim(output, config, RunInputs(model.weights_hash(), _file_hash(Path(config.manifest))), accelerator)
    if finished.is_dir():
        return finished
    model.to(accelerator.device)
    data = _data(config, manifest, prepared, model, accelerator)
    torch.manual_seed(config.optimisation.seed)
    text = _report_text(config, manifest, model)
    training = Training(_stage(config, model, data, text, accelerator), config.optimisation, accelerator)
    load_checkpoint(training, output / CHECKPOINTS)
    with RunLog(
        output, training.step, config.optimisation.steps, config.stage.value, accelerator.is_main_process
    ) as log:
        for step in steps(training):
            log.write_step(step)
            is_last = step.number == config.optimisation.steps
            if accelerator.is_main_process and (is_last or step.number % config.evaluate_every == 0):
                log.write_scores(step.number, _scores(config, model, data, text, accelerator))
            if accelerator.is_main_process and (is_last or step.number % config.save_every == 0):
                save_checkpoint(training, output / CHECKPOINTS)
    if accelerator.is_main_process:
        _save_model(config, model, data, text, finished, accelerator)
    accelerator.wait_for_everyone()
    return finished


@dataclass(frozen=True)
class RunInputs:
    """What a run depends on beside its settings: hashes of the weights that it starts from and of its manifest."""

    start_weights: str
    manifest: str


def _file_hash(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16]


def _check_grid(model: MsVlm, prepared: PreparedStore) -> None:
    if prepared.region_grid != model.slice_encoder.region_grid:
        raise InputMismatchError(
            f"lesions prepared on a grid of {prepared.region_grid}, and the model tells "
            f"{model.slice_encoder.region_grid}; prepare the studies for this model"
        )


def _claim(output: Path, config: TrainConfig, inputs: RunInputs, accelerator: Accelerator) -> None:
    """Notes what the run is of in its folder; refuses a folder that holds a run of anything else."""
    now = json.loads(json.dumps({**asdict(config), **asdict(inputs)}))
    file = output / CONFIG_FILE
    if file.exists():
        before = json.loads(file.read_text(encoding="utf-8"))
        differing = sorted(key for key in now if before.get(key) != now[key])
        if differing:
            raise ConfigError(
                f"{output.name} holds a run of other settings or inputs ({', '.join(differing)}); "
                "name another output, or delete it"
            )
    elif accelerator.is_main_process:
        output.mkdir(parents=True, exist_ok=True)
        write_file(file, json.dumps(now, indent=2))
    accelerator.wait_for_everyone()


def _start_model(config: TrainConfig) -> MsVlm:
    if bool(config.start_from) == (config.model is not None):
        raise ConfigError("name either start_from, to go on from a model, or [model], to build a new one")
    if config.model is not None:
        return MsVlm(config.model)
    return MsVlm.from_pretrained(config.start_from)


def _data(
    config: TrainConfig, manifest: Manifest, prepared: PreparedStore, model: MsVlm, accelerator: Accelerator
) -> TrainingData:
    """The two splits, with slice vectors where the stage's slice encoder is frozen."""
    splits = (manifest.split("train"), manifest.split("validation"))
    pixels = TrainingData(*(StudyDataset(split, prepared, None) for split in splits))
    if config.stage is StageName.SLICES:
        return pixels
    if not bool(model.standardiser.fitted):
        fit_standardiser(model, pixels.training, accelerator.device, config.optimisation.seed)
    if _trains_encoder(config):
        return pixels
    if not config.vectors:
        raise ConfigError(f"stage {config.stage.value} reads slice vectors; name a folder for them in vectors")
    store = VectorStore.create(Path(config.vectors), vectors_hash(model))
    store_vectors(model, (pixels.training, pixels.validation), store, accelerator)
    return TrainingData(*(StudyDataset(split, prepared, store) for split in splits))


def _report_text(config: TrainConfig, manifest: Manifest, model: MsVlm) -> ReportText | None:
    """The tokenizer of the stages that write: the model's own, its language model's, or one trained on the reports."""
    if config.stage not in (StageName.ALIGN, StageName.FINETUNE):
        return None
    settings = config.reports
    if model.language_model is not None:
        return ReportText.from_pretrained(find_folder(config.start_from) / LANGUAGE_MODEL_FOLDER, model.visual_tokens)
    if settings.language_model.checkpoint:
        text = ReportText.from_pretrained(settings.language_model.checkpoint, model.visual_tokens)
    else:
        reports = [join_report(study.findings, study.impression) for study in manifest.split("train")]
        text = ReportText(train_tokenizer(reports, settings.vocabulary), model.visual_tokens)
    language_model = settings.language_model
    if not language_model.checkpoint:
        language_model = replace(language_model, vocabulary=len(text.tokenizer))
    model.attach_language_model(language_model, text.visual_token_id)
    return text


def _stage(
    config: TrainConfig, model: MsVlm, data: TrainingData, text: ReportText | None, accelerator: Accelerator
) -> torch.nn.Module:
    optimisation = config.optimisation
    if config.stage is StageName.SLICES:
        return SelfDistillationStage(model, data, config.slices, optimisation)
    if config.stage is StageName.MASKED_EMBEDDINGS:
        return MaskedEmbeddingStage(model, data, config.masked_embeddings, optimisation)
    if config.stage is StageName.FINDINGS:
        return FindingsStage(model, data, config.findings, optimisation)
    assert text is not None
    errors = measure_cue_errors(model, data.validation, config.reports.misplaced, accelerator)
    training = ReportTraining(text, data, config.reports, optimisation, errors)
    return alignment_stage(model, training) if config.stage is StageName.ALIGN else finetuning_stage(model, training)


def _scores(
    config: TrainConfig, model: MsVlm, data: TrainingData, text: ReportText | None, accelerator: Accelerator
) -> tuple[Score, ...]:
    """How the validation split fares now; the stages that learn from slices alone have nothing to score there."""
    if text is not None:
        return report_scores(model, text, data.validation, config.evaluated_studies, accelerator)
    if config.stage is StageName.FINDINGS:
        return findings_scores(model, data.validation, config.evaluated_studies, accelerator)
    return ()


def _save_model(
    config: TrainConfig,
    model: MsVlm,
    data: TrainingData,
    text: ReportText | None,
    finished: Path,
    accelerator: Accelerator,
) -> None:
    """Writes the trained model with all that a reader of studies needs, whole."""
    model.eval()
    if config.stage is StageName.FINDINGS:
        set_thresholds(model, data.validation, accelerator)
    if config.stage is StageName.SLICES:
        # The encoder's vectors are others now, and nothing has learned from them yet. After the findings stage they
        # stay as they are: Z-former and head have learned to read them so.
        fit_standardiser(model, data.training, accelerator.device, config.optimisation.seed)
    if text is None:
        model.save_pretrained(finished)
    else:
        Reporter(model, text, finished.name, measure_domain(data, config.domain)).save_pretrained(finished)


def _trains_encoder(config: TrainConfig) -> bool:
    return config.stage is StageName.SLICES or (
        config.stage is StageName.FINDINGS and config.findings.train_slice_encoder
    )
