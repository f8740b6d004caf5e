"""Stage: which findings a study has, where, and how large; from reports, and from lesion masks where there are any.

What is trained: the Z-former and the findings head; the slice encoder too where the settings say so, then from pixels
and on some slices of each study.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

import torch
from jaxtyping import Float
from torch import Tensor, nn
from torch.nn import functional as F

from msvlm.batch import FindingTargets, StudyBatch, TrainingBatch
from msvlm.data.collate import to_finding_targets, to_study_batch
from msvlm.errors import ConfigError
from msvlm.model.findings_head import FindingsOutput
from msvlm.model.ms_vlm import MsVlm
from msvlm.training.engine import LossPart, Optimisation, ParameterGroup, Share, StageLoss
from msvlm.training.sampling import TrainingData, draw_samples, hide_slices, mean_over_studies


@dataclass(frozen=True)
class FindingsSettings:
    """Attributes:
    train_slice_encoder: from pixels; the slice vectors on disk are not used.
    slices_per_study: drawn afresh each time a study is seen; 0: all.
    hidden_share: of the slices that the model must do without, so that hiding them means something later.
    presence_weight, region_weight, attribute_weight, size_weight: of the terms of the loss.
    region_positive_weight: how much more a cell with a lesion counts than one without.
    """

    train_slice_encoder: bool = False
    slices_per_study: int = 0
    hidden_share: float = 0.1
    presence_weight: float = 1.0
    region_weight: float = 1.0
    attribute_weight: float = 0.5
    size_weight: float = 0.1
    region_positive_weight: float = 10.0

    def __post_init__(self) -> None:
        if not 0.0 <= self.hidden_share < 1.0:
            raise ConfigError(f"hidden_share {self.hidden_share}; 0 to below 1 is wanted")
        if self.slices_per_study < 0:
            raise ConfigError(f"slices_per_study {self.slices_per_study}; 0 (all) or more")


class FindingsStage(nn.Module):
    """Trains Z-former and findings head, and the slice encoder where asked."""

    def __init__(
        self, model: MsVlm, data: TrainingData, settings: FindingsSettings, optimisation: Optimisation
    ) -> None:
        super().__init__()
        self.model = model
        self._data, self._settings, self._optimisation = data, settings, optimisation

    def parameter_groups(self) -> tuple[ParameterGroup, ...]:
        trained = [*self.model.z_former.parameters(), *self.model.findings_head.parameters()]
        if self._settings.train_slice_encoder:
            trained += self.model.slice_encoder.parameters()
        return (ParameterGroup(tuple(trained)),)

    def batches(self, start: int, share: Share) -> Iterator[TrainingBatch]:
        step = start
        slices = self._settings.slices_per_study or None
        while True:
            draws = draw_samples(self._data.training, self._optimisation, step, share, slices)
            samples = [draw.sample for draw in draws]
            studies = to_study_batch(samples, self.model.config.input)
            targets = to_finding_targets(samples, self.model.config.findings_head.findings)
            if slices is not None:
                targets = without_undrawn(targets, studies)
            yield TrainingBatch(studies, targets, hidden=hide_slices(studies, draws, self._settings.hidden_share))
            step += 1

    def forward(self, batch: TrainingBatch) -> StageLoss:
        assert batch.findings is not None
        reading = self.model.read(batch.studies, batch.hidden)
        return findings_loss(reading.findings, batch.findings, batch.studies, self._settings)

    def after_step(self, step: int) -> None:
        """Nothing moves but what the optimiser moves."""


def without_undrawn(targets: FindingTargets, studies: StudyBatch) -> FindingTargets:
    """The targets where a finding whose masks touch none of the drawn slices is neither present nor absent."""
    if targets.regions is None:
        return targets
    touched = targets.regions.flatten(2).any(dim=2)
    drawn = torch.zeros_like(targets.presence).index_add(0, studies.study_index, touched.to(targets.presence.dtype))
    undrawn = (drawn == 0) & (targets.presence == 1) & targets.has_regions[:, None]
    return replace(
        targets,
        presence=targets.presence.masked_fill(undrawn, torch.nan),
        attributes=targets.attributes.masked_fill(undrawn[:, :, None], torch.nan),
        sizes_mm=targets.sizes_mm.masked_fill(undrawn, torch.nan),
    )


def findings_loss(
    output: FindingsOutput, targets: FindingTargets, studies: StudyBatch, settings: FindingsSettings
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
    regions = _region_loss(output, targets, studies, settings.region_positive_weight)
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
    output: FindingsOutput, targets: FindingTargets, studies: StudyBatch, positive_weight: float
) -> Float[Tensor, ""]:
    logits = output.region_logits.float()
    if targets.regions is None:
        return logits.sum() * 0.0
    touched = targets.regions.to(logits.dtype)
    weight = 1.0 + (positive_weight - 1.0) * touched
    losses = F.binary_cross_entropy_with_logits(logits, touched, weight, reduction="none").mean(dim=(1, 2, 3))
    known = targets.has_regions[studies.study_index]
    return mean_over_studies(losses, studies.study_index, known, studies.studies)
