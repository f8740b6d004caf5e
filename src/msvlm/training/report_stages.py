"""Stages: alignment and finetuning. Visual tokens and cues in, the loss of the report's tokens out.

Method: MS-VLM (arXiv 2412.13558), stages 2 and 3. Alignment trains the bridge alone; finetuning trains the bridge and
the language model's LoRA adapters. Departures: alignment also trains a language model that was built from scratch, and
finetuning trains all of a language model without adapters. Slice encoder, Z-former and findings head are frozen in
both, so their outputs are cached.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor, nn
from torch.nn import functional as F

from msvlm.batch import TextBatch
from msvlm.data.cues import CueErrors, corrupt_cues, write_cues
from msvlm.data.dataset import statements_of, to_study_batch
from msvlm.data.text import ReportText, join_report
from msvlm.errors import ConfigError, ModelError
from msvlm.model.language_model import LanguageModelConfig
from msvlm.model.ms_vlm import MsVlm
from msvlm.training.loop import LossPart, Optimisation, Shard, StageLoss, TrainingData, choose_studies
from msvlm.training.validation import evaluation_mode
from msvlm.vocabulary.vocabulary import Statements

CACHED_STUDIES = 4096
"""Studies whose vision outputs are kept in memory: about 1 GB with 300 slices each and a Z-former of width 192."""


@dataclass(frozen=True)
class ReportSettings:
    """Settings of the stages that train on reports.

    Attributes:
        language_model: attached where the model to start from has none.
        vocabulary_size: tokens of the tokenizer that is trained on the reports where the language model has none.
        cue_drop: share of the studies whose cues are left out altogether, so that the model uses the image.
        misplaced: share of the cues with a wrong location; how often findings are missed and invented is measured.
        no_image_share: share of the studies with all slices masked and no cues, so that the model learns what to write
            without any evidence.
    """

    language_model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    vocabulary_size: int = 2048
    cue_drop: float = 0.3
    misplaced: float = 0.1
    no_image_share: float = 0.05

    def __post_init__(self) -> None:
        for name in ("cue_drop", "misplaced", "no_image_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} {getattr(self, name)}; must lie between 0 and 1")


@dataclass(frozen=True)
class ReportTraining:
    """The inputs of a stage that trains on reports.

    Attributes:
        text: converts reports to tokens.
        cue_errors: error rates of the cues in training, so that the model learns how far to trust them.
    """

    text: ReportText
    data: TrainingData
    settings: ReportSettings
    optimisation: Optimisation
    cue_errors: CueErrors


@dataclass(frozen=True)
class StudyVectors:
    """Outputs of the frozen parts for one study: one vector per slice, and one per finding."""

    z_vectors: Float[Tensor, "slices z_width"]
    finding_vectors: Float[Tensor, "1 findings z_width"]
    visible: Bool[Tensor, " slices"]


@dataclass(frozen=True)
class ReportBatch:
    """Vectors of some studies, their slices concatenated, and their texts."""

    z_vectors: Float[Tensor, "slices z_width"]
    finding_vectors: Float[Tensor, "studies findings z_width"]
    study_index: Int[Tensor, " slices"]
    visible: Bool[Tensor, " slices"]
    text: TextBatch

    def to(self, device: torch.device) -> "ReportBatch":
        """Returns the same batch on another device."""
        return ReportBatch(
            self.z_vectors.to(device),
            self.finding_vectors.to(device),
            self.study_index.to(device),
            self.visible.to(device),
            self.text.to(device),
        )


def alignment_stage(model: MsVlm, training: ReportTraining) -> "ReportStage":
    """Builds the alignment stage: it trains the bridge, and a language model that was built from scratch."""
    trained = bridge_parameters(model)
    language_model = model.config.language_model
    if language_model is not None and not language_model.checkpoint:
        trained += language_model_parameters(model)
    return ReportStage(model, training, trained)


def finetuning_stage(model: MsVlm, training: ReportTraining) -> "ReportStage":
    """Builds the finetuning stage: it trains the bridge, and the language model or its adapters."""
    return ReportStage(model, training, bridge_parameters(model) + language_model_parameters(model))


class ReportStage(nn.Module):
    """The stage that trains given parameters on the cross entropy of the report's tokens."""

    def __init__(self, model: MsVlm, training: ReportTraining, trained: list[nn.Parameter]) -> None:
        super().__init__()
        if model.language_model is None:
            raise ModelError("the model has no language model; name one in [reports.language_model]")
        self.model = model
        self._training, self._trained = training, trained
        self._vectors = lru_cache(maxsize=CACHED_STUDIES)(self._compute_vectors)

    def trained_parameters(self) -> list[nn.Parameter]:
        """Returns the parameters given to the stage."""
        return self._trained

    def batch(self, step: int, shard: Shard) -> ReportBatch:
        """Returns studies with their reports, preceded by cues with the error rates of the findings head."""
        training = self._training
        dataset = training.data.training
        chosen = choose_studies(len(dataset), training.optimisation, step, shard)
        without_image = [study.generator.random() < training.settings.no_image_share for study in chosen]
        cues = [
            "" if is_without else self._cues(statements_of(dataset.studies[study.index]), study.generator)
            for study, is_without in zip(chosen, without_image, strict=True)
        ]
        listed = [dataset.studies[study.index] for study in chosen]
        reports = [join_report(study.findings, study.impression) for study in listed]
        vectors = [
            self._vectors(study.index, is_without) for study, is_without in zip(chosen, without_image, strict=True)
        ]
        return _report_batch(vectors, training.text.training_batch(cues, reports))

    def _cues(self, statements: Statements, generator: np.random.Generator) -> str:
        corrupted = corrupt_cues(statements, generator, self._training.cue_errors, self.model.vocabulary)
        dropped = generator.random() < self._training.settings.cue_drop or not self.model.config.cues
        return "" if dropped else write_cues(corrupted, self.model.vocabulary)

    @torch.no_grad()
    def _compute_vectors(self, index: int, is_without_image: bool) -> StudyVectors:
        """Encodes one study by itself and without dropout, so that the result depends on nothing else."""
        sample = self._training.data.training.sample(index, None, np.random.default_rng(0))
        batch = to_study_batch([sample], self.model.config.input)
        masked = torch.full(batch.study_index.shape, is_without_image)
        device = self.model.z_former.mask_token.device
        with evaluation_mode(self.model):
            reading = self.model.read(batch.to(device), masked.to(device))
        return StudyVectors(reading.z_vectors.cpu(), reading.findings.vectors.cpu(), ~masked)

    def forward(self, batch: ReportBatch) -> StageLoss:
        """Returns the loss of the report's tokens."""
        visual_tokens = self.model.bridge(batch.z_vectors, batch.finding_vectors, batch.study_index, batch.visible)
        loss = report_loss(self.model.logits(visual_tokens, batch.text), batch.text)
        return StageLoss(loss, (LossPart("report", loss),))

    def after_step(self, step: int) -> None:
        """Does nothing."""


def report_loss(logits: Float[Tensor, "studies positions vocabulary"], text: TextBatch) -> Float[Tensor, ""]:
    """Returns the mean over studies of each report's mean loss per token, in nats."""
    assert text.labels is not None
    labels = text.labels[:, 1:]
    losses = F.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none"
    ).view(labels.shape)
    counted = labels != -100
    return (losses.sum(dim=1) / counted.sum(dim=1).clamp(min=1)).mean()


def bridge_parameters(model: MsVlm) -> list[nn.Parameter]:
    """Returns the parameters of the bridge: resampler and visual projection."""
    projection = model.visual_projection
    return [*model.resampler.parameters(), *(projection.parameters() if projection is not None else ())]


def language_model_parameters(model: MsVlm) -> list[nn.Parameter]:
    """Returns the trainable parameters of the language model: its adapters where it has some, else all."""
    if model.language_model is None:
        return []
    named = list(model.language_model.named_parameters())
    adapters = [parameter for name, parameter in named if "lora_" in name]
    return adapters or [parameter for _, parameter in named]


def _report_batch(vectors: Sequence[StudyVectors], text: TextBatch) -> ReportBatch:
    lengths = torch.tensor([len(study.z_vectors) for study in vectors])
    return ReportBatch(
        torch.cat([study.z_vectors for study in vectors]),
        torch.cat([study.finding_vectors for study in vectors]),
        torch.repeat_interleave(torch.arange(len(vectors)), lengths),
        torch.cat([study.visible for study in vectors]),
        text,
    )
