"""What alignment and finetuning share: visual tokens and cues in, the loss of the report's tokens out.

All below the bridge is frozen, so readings of studies are kept and not computed again.
"""

from collections.abc import Iterator, Sequence
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
from msvlm.findings import Statements
from msvlm.model.language_model import LanguageModelConfig
from msvlm.model.ms_vlm import MsVlm
from msvlm.training.engine import LossPart, Optimisation, Share, StageLoss, TrainingData, draw_studies

KEPT_READINGS = 4096
"""Readings that stay in memory: about 1 GB where studies have 300 slices and the Z-former a width of 192."""


@dataclass(frozen=True)
class ReportSettings:
    """What the stages that write learn from.

    Attributes:
        language_model: attached where the model to start from has none.
        vocabulary: size of the tokenizer that is trained on the reports where the language model brings none.
        cue_drop: share of the studies whose cues are left out altogether, so that the image is looked at.
        misplaced: share of the cues that name another place; how often findings are missed and invented is measured.
        blind_share: share of the studies of which no slice is shown and no cue told, so that the model learns what can
            be said of anyone.
    """

    language_model: LanguageModelConfig = field(default_factory=LanguageModelConfig)
    vocabulary: int = 2048
    cue_drop: float = 0.3
    misplaced: float = 0.1
    blind_share: float = 0.05

    def __post_init__(self) -> None:
        for name in ("cue_drop", "misplaced", "blind_share"):
            if not 0.0 <= getattr(self, name) <= 1.0:
                raise ConfigError(f"{name} {getattr(self, name)}; a share from 0 to 1 is wanted")


@dataclass(frozen=True)
class ReportTraining:
    """What a stage that writes is made of.

    Attributes:
        text: how reports become tokens.
        cue_errors: how wrong the cues are, so that the model learns how far to trust them.
    """

    text: ReportText
    data: TrainingData
    settings: ReportSettings
    optimisation: Optimisation
    cue_errors: CueErrors


@dataclass(frozen=True)
class StudyReading:
    """What the frozen parts make of one study: a vector a slice, and one a finding."""

    z_vectors: Float[Tensor, "slices z_width"]
    finding_vectors: Float[Tensor, "1 findings z_width"]
    visible: Bool[Tensor, " slices"]


@dataclass(frozen=True)
class ReportBatch:
    """Some studies as they were read, packed slice behind slice, and their texts."""

    z_vectors: Float[Tensor, "slices z_width"]
    finding_vectors: Float[Tensor, "studies findings z_width"]
    study_index: Int[Tensor, " slices"]
    visible: Bool[Tensor, " slices"]
    text: TextBatch

    def to(self, device: torch.device) -> "ReportBatch":
        """The same batch on another device."""
        return ReportBatch(
            self.z_vectors.to(device),
            self.finding_vectors.to(device),
            self.study_index.to(device),
            self.visible.to(device),
            self.text.to(device),
        )


class ReportStage(nn.Module):
    """Trains what turns a study into its report; what exactly is the stage's own choice."""

    def __init__(self, model: MsVlm, training: ReportTraining, trained: list[nn.Parameter]) -> None:
        super().__init__()
        if model.language_model is None:
            raise ModelError("the model has no language model; name one in [reports.language_model]")
        self.model = model
        self._training, self._trained = training, trained
        self._read = lru_cache(maxsize=KEPT_READINGS)(self._read_study)

    def trained_parameters(self) -> list[nn.Parameter]:
        """What the stage chose."""
        return self._trained

    def batches(self, start: int, share: Share) -> Iterator[ReportBatch]:
        """Studies with their reports, cues as wrong as the findings head's before them."""
        step = start
        training = self._training
        dataset = training.data.training
        while True:
            draws = draw_studies(len(dataset), training.optimisation, step, share)
            blind = [draw.generator.random() < training.settings.blind_share for draw in draws]
            cues = [
                "" if is_blind else self._cues(statements_of(dataset.studies[draw.index]), draw.generator)
                for draw, is_blind in zip(draws, blind, strict=True)
            ]
            reports = [
                join_report(study.findings, study.impression)
                for study in (dataset.studies[draw.index] for draw in draws)
            ]
            readings = [self._read(draw.index, is_blind) for draw, is_blind in zip(draws, blind, strict=True)]
            yield _report_batch(readings, training.text.training_batch(cues, reports))
            step += 1

    def _cues(self, statements: Statements, generator: np.random.Generator) -> str:
        told = corrupt_cues(statements, generator, self._training.cue_errors)
        dropped = generator.random() < self._training.settings.cue_drop or not self.model.config.cues
        return "" if dropped else write_cues(told)

    @torch.no_grad()
    def _read_study(self, index: int, is_blind: bool) -> StudyReading:
        """One study by itself and without dropout, so that its numbers depend on nothing else."""
        sample = self._training.data.training.sample(index, None, np.random.default_rng(0))
        batch = to_study_batch([sample], self.model.config.input)
        was_training = self.model.training
        self.model.eval()
        hidden = torch.full(batch.study_index.shape, is_blind)
        device = self.model.z_former.mask_token.device
        reading = self.model.read(batch.to(device), hidden.to(device))
        self.model.train(was_training)
        return StudyReading(reading.z_vectors.cpu(), reading.findings.vectors.cpu(), ~hidden)

    def forward(self, batch: ReportBatch) -> StageLoss:
        visual_tokens = self.model.bridge(batch.z_vectors, batch.finding_vectors, batch.study_index, batch.visible)
        loss = report_loss(self.model.logits(visual_tokens, batch.text), batch.text)
        return StageLoss(loss, (LossPart("report", loss),))

    def after_step(self, step: int) -> None:
        """Nothing moves but what the optimiser moves."""


def report_loss(logits: Float[Tensor, "studies positions vocabulary"], text: TextBatch) -> Float[Tensor, ""]:
    """The mean over studies of each report's mean loss a token, in nats."""
    assert text.labels is not None
    labels = text.labels[:, 1:]
    losses = F.cross_entropy(
        logits[:, :-1].float().flatten(0, 1), labels.flatten(), ignore_index=-100, reduction="none"
    ).view(labels.shape)
    counted = labels != -100
    return (losses.sum(dim=1) / counted.sum(dim=1).clamp(min=1)).mean()


def bridge_parameters(model: MsVlm) -> list[nn.Parameter]:
    """Resampler and visual projection: what the paper calls the bridge."""
    projection = model.visual_projection
    return [*model.resampler.parameters(), *(projection.parameters() if projection is not None else ())]


def language_model_parameters(model: MsVlm) -> list[nn.Parameter]:
    """What of the language model may be trained: its adapters where it has some, else all of it."""
    if model.language_model is None:
        return []
    named = list(model.language_model.named_parameters())
    adapters = [parameter for name, parameter in named if "lora_" in name]
    return adapters or [parameter for _, parameter in named]


def _report_batch(readings: Sequence[StudyReading], text: TextBatch) -> ReportBatch:
    lengths = torch.tensor([len(reading.z_vectors) for reading in readings])
    return ReportBatch(
        torch.cat([reading.z_vectors for reading in readings]),
        torch.cat([reading.finding_vectors for reading in readings]),
        torch.repeat_interleave(torch.arange(len(readings)), lengths),
        torch.cat([reading.visible for reading in readings]),
        text,
    )
