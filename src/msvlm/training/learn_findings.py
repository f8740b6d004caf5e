"""Stage: which findings a study has, where, and how large; from reports, and from lesion masks where there are any.

What is trained: the Z-former and the findings head; the slice encoder too where the settings say so, then from pixels
and on some slices of each study.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.nn import functional as F

from msvlm.batch import FindingTargets, StudyBatch, TrainingBatch
from msvlm.data.dataset import StudyDataset, to_finding_targets, to_study_batch
from msvlm.errors import ConfigError
from msvlm.model.findings_head import FindingsOutput
from msvlm.model.ms_vlm import MsVlm
from msvlm.training.engine import (
    LossPart,
    Optimisation,
    Share,
    StageLoss,
    TrainingData,
    draw_samples,
    hide_slices,
    mean_over_studies,
)

MEASURED_STUDIES = 200
"""Training studies on which it is measured how common findings are."""
MOST_POSITIVE_WEIGHT = 40.0


@dataclass(frozen=True)
class FindingsSettings:
    """What the findings stage learns from, and how much each term of its loss counts.

    Attributes:
        train_slice_encoder: from pixels; the slice vectors on disk are not used.
        slices_per_study: drawn afresh each time a study is seen; 0: all.
        hidden_share: of the slices that the model must do without, so that hiding them means something later.
        presence_weight, region_weight, attribute_weight, size_weight: of the terms of the loss.
    """

    train_slice_encoder: bool = False
    slices_per_study: int = 0
    hidden_share: float = 0.1
    presence_weight: float = 1.0
    region_weight: float = 1.0
    attribute_weight: float = 0.5
    size_weight: float = 0.1

    def __post_init__(self) -> None:
        if not 0.0 <= self.hidden_share < 1.0:
            raise ConfigError(f"hidden_share {self.hidden_share}; 0 to below 1 is wanted")
        if self.slices_per_study < 0:
            raise ConfigError(f"slices_per_study {self.slices_per_study}; 0 (all) or more")
        for name in ("presence_weight", "region_weight", "attribute_weight", "size_weight"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} {getattr(self, name)}; 0 or more")


class FindingsStage(nn.Module):
    """Trains Z-former and findings head, and the slice encoder where asked."""

    cell_rates: Tensor

    def __init__(
        self, model: MsVlm, data: TrainingData, settings: FindingsSettings, optimisation: Optimisation
    ) -> None:
        super().__init__()
        self.model = model
        self._data, self._settings, self._optimisation = data, settings, optimisation
        rates = measure_rates(data.training, model.config.findings_head.findings, optimisation.seed)
        self.register_buffer("cell_rates", rates.cells)
        if not bool(model.findings_head.regions.bias.any()):
            model.findings_head.set_priors(rates.presence, _weighted(rates.cells))

    def trained_parameters(self) -> list[nn.Parameter]:
        """Z-former and findings head, and the slice encoder where the settings say so."""
        trained = [*self.model.z_former.parameters(), *self.model.findings_head.parameters()]
        return trained + (list(self.model.slice_encoder.parameters()) if self._settings.train_slice_encoder else [])

    def batches(self, start: int, share: Share) -> Iterator[TrainingBatch]:
        """Studies, their findings, and the slices that the model must do without."""
        step = start
        slices = self._settings.slices_per_study or None
        while True:
            draws = draw_samples(self._data.training, self._optimisation, step, share, slices)
            samples = [draw.sample for draw in draws]
            studies = to_study_batch(samples, self.model.config.input)
            targets = to_finding_targets(samples, self.model.config.findings_head.findings)
            yield TrainingBatch(studies, hide_slices(studies, draws, self._settings.hidden_share), targets)
            step += 1

    def forward(self, batch: TrainingBatch) -> StageLoss:
        """The loss of what can be seen: of a finding on hidden or undrawn slices alone nothing is asked."""
        assert batch.findings is not None
        reading = self.model.read(batch.studies, batch.hidden)
        targets = without_unseen(batch.findings, batch.studies, batch.hidden)
        return findings_loss(reading.findings, targets, batch, self.cell_rates, self._settings)

    def after_step(self, step: int) -> None:
        """Nothing moves but what the optimiser moves."""


@dataclass(frozen=True)
class FindingRates:
    """How common each finding is in a split.

    Attributes:
        presence: share of the studies that have it.
        cells: share of all cells of all slices that it touches, where that is known; 0 where it never is.
    """

    presence: Float[Tensor, " findings"]
    cells: Float[Tensor, " findings"]


def measure_rates(dataset: StudyDataset, names: Sequence[str], seed: int) -> FindingRates:
    """Rates on some studies of a split, drawn with the seed."""
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(len(dataset))[:MEASURED_STUDIES]
    targets = to_finding_targets([dataset.sample(int(index), None, generator) for index in chosen], names)
    cells = torch.zeros(len(names))
    if targets.regions is not None:
        cells = targets.regions.float().mean(dim=(0, 2, 3))
    return FindingRates(targets.presence.nanmean(dim=0).nan_to_num(0.5), cells)


def without_unseen(targets: FindingTargets, studies: StudyBatch, hidden: Bool[Tensor, " slices"]) -> FindingTargets:
    """The targets where a finding whose masks touch no slice that is seen is neither present nor absent."""
    if targets.regions is None:
        return targets
    touched = targets.regions.flatten(2).any(dim=2) & ~hidden[:, None]
    seen = torch.zeros_like(targets.presence).index_add(0, studies.study_index, touched.to(targets.presence.dtype))
    unseen = (seen == 0) & (targets.presence == 1) & targets.has_regions
    return replace(
        targets,
        presence=targets.presence.masked_fill(unseen, torch.nan),
        attributes=targets.attributes.masked_fill(unseen[:, :, None], torch.nan),
        sizes_mm=targets.sizes_mm.masked_fill(unseen, torch.nan),
    )


def findings_loss(
    output: FindingsOutput,
    targets: FindingTargets,
    batch: TrainingBatch,
    cell_rates: Float[Tensor, " findings"],
    settings: FindingsSettings,
) -> StageLoss:
    """Binary cross entropy on presence, attributes and cells, and L1 on the logarithm of the size."""
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
    """The mean over studies (the first axis) of each study's mean over what is known of it."""
    values, known = values.flatten(1), known.flatten(1)
    return ((values * known).sum(1) / known.sum(1).clamp(min=1)).mean()


def _region_loss(
    output: FindingsOutput, targets: FindingTargets, batch: TrainingBatch, cell_rates: Float[Tensor, " findings"]
) -> Float[Tensor, ""]:
    """The mean over findings of each one's loss, as a share of what the best constant guess costs.

    Diffuse findings touch a hundred times as many cells as small ones; without these weights they are all that is
    learned.
    """
    logits = output.region_logits.float()
    if targets.regions is None:
        return logits.sum() * 0.0
    studies = batch.studies
    touched = targets.regions.to(logits.dtype)
    weight = _positive_weight(cell_rates)[:, None, None]
    losses = F.binary_cross_entropy_with_logits(logits, touched, reduction="none") * (1 + (weight - 1) * touched)
    losses = losses.mean(dim=(2, 3)) / _constant_cost(cell_rates)
    known = targets.has_regions[studies.study_index] & ~batch.hidden[:, None]
    per_slice = (losses * known).sum(dim=1) / known.sum(dim=1).clamp(min=1)
    return mean_over_studies(per_slice, studies.study_index, known.any(dim=1), studies.studies)


def _positive_weight(rates: Float[Tensor, " findings"]) -> Float[Tensor, " findings"]:
    """How much more a touched cell counts than another: more, the rarer it is, but not so much as to make them even."""
    return ((1 - rates) / rates.clamp(min=1e-6)).sqrt().clamp(1.0, MOST_POSITIVE_WEIGHT)


def _weighted(rates: Float[Tensor, " findings"]) -> Float[Tensor, " findings"]:
    """The probability that costs least when nothing is known of a cell."""
    positive = rates * _positive_weight(rates)
    return positive / (positive + 1 - rates)


def _constant_cost(rates: Float[Tensor, " findings"]) -> Float[Tensor, " findings"]:
    """What that probability costs a cell, in nats."""
    guess = _weighted(rates).clamp(1e-4, 1 - 1e-4)
    positive = rates * _positive_weight(rates)
    return -(positive * guess.log() + (1 - rates) * (1 - guess).log()).clamp(max=-1e-4)
