"""Stage: supervised learning of findings: presence, location and size, from reports, and from lesion masks where known.

Trains the Z-former and the findings head; with `train_slice_encoder` the slice encoder too, then from pixels and on
some slices of each study.
"""

from dataclasses import dataclass, replace

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from msvlm.batch import FindingTargets, StudyBatch, TrainingBatch
from msvlm.data.dataset import to_finding_targets, to_study_batch
from msvlm.errors import ConfigError
from msvlm.model.findings_head import FindingsOutput
from msvlm.model.ms_vlm import MsVlm
from msvlm.training.loop import (
    LossPart,
    Optimisation,
    Shard,
    StageLoss,
    TrainingData,
    load_studies,
    mask_slices,
    mean_over_studies,
)

MOST_POSITIVE_WEIGHT = 40.0


@dataclass(frozen=True)
class FindingsSettings:
    """Settings of the findings stage.

    Attributes:
        train_slice_encoder: whether the slice encoder is trained too, from pixels instead of stored slice vectors.
        slices_per_study: slices resampled each time a study is used; 0: all.
        mask_ratio: probability that a slice is masked; evidence masks slices later, so training includes it.
        presence_weight, region_weight, attribute_weight, size_weight: weights of the terms of the loss.
    """

    train_slice_encoder: bool = False
    slices_per_study: int = 0
    mask_ratio: float = 0.1
    presence_weight: float = 1.0
    region_weight: float = 1.0
    attribute_weight: float = 0.5
    size_weight: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 <= self.mask_ratio < 1.0:
            raise ConfigError(f"mask_ratio {self.mask_ratio}; must be 0 or more and below 1")
        if self.slices_per_study < 0:
            raise ConfigError(f"slices_per_study {self.slices_per_study}; must be 0 (all) or more")
        for name in ("presence_weight", "region_weight", "attribute_weight", "size_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} {getattr(self, name)}; must be 0 or more")


class FindingsStage(nn.Module):
    """The stage that trains Z-former and findings head, and with `train_slice_encoder` the slice encoder."""

    cell_rates: Tensor

    def __init__(
        self,
        model: MsVlm,
        data: TrainingData,
        settings: FindingsSettings,
        optimisation: Optimisation,
        cell_rates: Float[Tensor, " findings"],
    ) -> None:
        """`cell_rates` is the fraction of all cells that each finding touches."""
        super().__init__()
        self.model = model
        self._data, self._settings, self._optimisation = data, settings, optimisation
        self.register_buffer("cell_rates", cell_rates)

    def trained_parameters(self) -> list[nn.Parameter]:
        """Returns the parameters of Z-former and findings head, and with `train_slice_encoder` of the slice encoder."""
        trained = [*self.model.z_former.parameters(), *self.model.findings_head.parameters()]
        return trained + (list(self.model.slice_encoder.parameters()) if self._settings.train_slice_encoder else [])

    def batch(self, step: int, shard: Shard) -> TrainingBatch:
        """Returns studies, their findings, and which of their slices are masked."""
        slices = self._settings.slices_per_study or None
        loaded = load_studies(self._data.training, self._optimisation, step, shard, slices)
        samples = [study.sample for study in loaded]
        studies = to_study_batch(samples, self.model.config.input)
        targets = to_finding_targets(samples, self.model.vocabulary)
        return TrainingBatch(studies, mask_slices(studies, loaded, self._settings.mask_ratio), targets)

    def forward(self, batch: TrainingBatch) -> StageLoss:
        """Returns the loss; a finding whose slices are all masked or not sampled is left out of it."""
        assert batch.findings is not None
        reading = self.model.read(batch.studies, batch.masked)
        targets = without_invisible(batch.findings, batch.studies, batch.masked)
        return findings_loss(reading.findings, targets, batch, self.cell_rates, self._settings)

    def after_step(self, step: int) -> None:
        """Does nothing."""


def without_invisible(targets: FindingTargets, studies: StudyBatch, masked: Bool[Tensor, " slices"]) -> FindingTargets:
    """Returns the targets with findings set to unknown whose lesions lie on no visible slice of the batch."""
    if targets.regions is None:
        return targets
    touched = targets.regions.flatten(2).any(dim=2) & ~masked[:, None]
    visible = torch.zeros_like(targets.presence).index_add(0, studies.study_index, touched.to(targets.presence.dtype))
    invisible = (visible == 0) & (targets.presence == 1) & targets.has_regions
    return replace(
        targets,
        presence=targets.presence.masked_fill(invisible, torch.nan),
        attributes=targets.attributes.masked_fill(invisible[:, :, None], torch.nan),
        sizes_mm=targets.sizes_mm.masked_fill(invisible, torch.nan),
    )


def findings_loss(
    output: FindingsOutput,
    targets: FindingTargets,
    batch: TrainingBatch,
    cell_rates: Float[Tensor, " findings"],
    settings: FindingsSettings,
) -> StageLoss:
    """Returns binary cross entropy on presence, attributes and cells, and L1 on the logarithm of the size, weighted."""
    presence = _known_mean(
        F.binary_cross_entropy_with_logits(
            output.presence_logits.float(), targets.presence.nan_to_num(), reduction="none"
        ),
        ~targets.presence.isnan(),
    )
    attributes = _known_mean(
        F.binary_cross_entropy_with_logits(
            output.attribute_logits.float(), targets.attributes.nan_to_num(), reduction="none"
        ),
        ~targets.attributes.isnan(),
    )
    sizes = _known_mean(
        (output.log_sizes_mm.float() - targets.sizes_mm.nan_to_num(1.0).clamp(min=0.5).log()).abs(),
        ~targets.sizes_mm.isnan(),
    )
    regions = _region_loss(output, targets, batch, cell_rates)
    total = (
        settings.presence_weight * presence
        + settings.attribute_weight * attributes
        + settings.size_weight * sizes
        + settings.region_weight * regions
    )
    return StageLoss(
        total,
        (
            LossPart("presence", presence),
            LossPart("regions", regions),
            LossPart("attributes", attributes),
            LossPart("sizes", sizes),
        ),
    )


def _known_mean(values: Tensor, known: Tensor) -> Float[Tensor, ""]:
    """Returns the mean over studies (the first axis) of each study's mean over its known values."""
    values, known = values.flatten(1), known.flatten(1)
    return ((values * known).sum(1) / known.sum(1).clamp(min=1)).mean()


def _region_loss(
    output: FindingsOutput, targets: FindingTargets, batch: TrainingBatch, cell_rates: Float[Tensor, " findings"]
) -> Float[Tensor, ""]:
    """Returns the mean over findings of each one's loss, divided by the loss of the best constant prediction.

    Diffuse findings touch a hundred times as many cells as small ones; without this division only they are learned.
    """
    logits = output.region_logits.float()
    if targets.regions is None:
        return logits.sum() * 0.0
    studies = batch.studies
    touched = targets.regions.to(logits.dtype)
    weight = _positive_weight(cell_rates)[:, None, None]
    losses = F.binary_cross_entropy_with_logits(logits, touched, reduction="none") * (1 + (weight - 1) * touched)
    losses = losses.mean(dim=(2, 3)) / _constant_cost(cell_rates)
    known = targets.has_regions[studies.study_index] & ~batch.masked[:, None]
    per_slice = (losses * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)
    return mean_over_studies(per_slice, studies.study_index, known.any(dim=1), studies.studies)


def _positive_weight(rates: Float[Tensor, " findings"]) -> Float[Tensor, " findings"]:
    """Returns the weight of touched cells: the square root of the odds against one, so rare findings weigh more."""
    return ((1 - rates) / rates.clamp(min=1e-6)).sqrt().clamp(1.0, MOST_POSITIVE_WEIGHT)


def best_constant(cell_rates: Float[Tensor, " findings"]) -> Float[Tensor, " findings"]:
    """Returns the constant probability of touched cells with the least weighted loss."""
    positive = cell_rates * _positive_weight(cell_rates)
    return positive / (positive + 1 - cell_rates)


def _constant_cost(rates: Float[Tensor, " findings"]) -> Float[Tensor, " findings"]:
    """Returns the weighted loss per cell of that probability, in nats."""
    guess = best_constant(rates).clamp(1e-4, 1 - 1e-4)
    positive = rates * _positive_weight(rates)
    return -(positive * guess.log() + (1 - rates) * (1 - guess).log()).clamp(max=-1e-4)
