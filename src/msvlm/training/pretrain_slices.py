"""Stage: the slice encoder learns from slices alone, without labels; a student follows a teacher that is its own mean.

Method: MS-VLM (arXiv 2412.13558), stage 0: DINO (arXiv 2104.14294) on the data set's own slices. Beside it, as DINOv2
(arXiv 2304.07193) does, iBOT on hidden patches and KoLeo; their weights are settings, and 0 gives the paper's stage.
"""

import copy
import math
from collections.abc import Iterator
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from msvlm.data.crops import CropConfig, SliceCrops, cut_crops
from msvlm.data.dataset import to_study_batch
from msvlm.errors import ConfigError
from msvlm.model.ms_vlm import MsVlm
from msvlm.training.engine import LossPart, Optimisation, SampleDraw, Share, StageLoss, TrainingData, draw_samples
from msvlm.training.self_distillation import (
    Centre,
    ProjectionHead,
    distillation_loss,
    follow,
    koleo_loss,
    masked_mean,
    reduced_mean,
)


@dataclass(frozen=True)
class SlicesSettings:
    """How the slices stage draws its views and weighs its losses.

    Attributes:
        slices_per_study: drawn afresh each time a study is seen.
        prototypes: of each projection head.
        momentum: the share of itself that the teacher keeps in the first step; it rises to 1 along half a cosine.
        patch_weight, spread_weight: of the iBOT and the KoLeo term beside the DINO term.
    """

    slices_per_study: int = 8
    prototypes: int = 1024
    momentum: float = 0.99
    student_temperature: float = 0.1
    teacher_temperature: float = 0.05
    patch_weight: float = 1.0
    spread_weight: float = 0.1
    crops: CropConfig = field(default_factory=CropConfig)

    def __post_init__(self) -> None:
        if self.slices_per_study < 1 or self.prototypes < 2:
            raise ConfigError(
                f"slices_per_study {self.slices_per_study} and prototypes {self.prototypes}; 1 and 2 at least"
            )
        if not 0.0 <= self.momentum <= 1.0 or min(self.student_temperature, self.teacher_temperature) <= 0:
            raise ConfigError(
                f"momentum {self.momentum}, temperatures {self.student_temperature} and {self.teacher_temperature}; "
                "0 to 1, and above 0, are wanted"
            )
        if min(self.patch_weight, self.spread_weight) < 0:
            raise ConfigError(f"patch_weight {self.patch_weight}, spread_weight {self.spread_weight}; 0 or more")


@dataclass(frozen=True)
class CropBatch:
    """The views of one step's slices, on any device."""

    crops: SliceCrops

    def to(self, device: torch.device) -> "CropBatch":
        """The same views on another device."""
        crops = self.crops
        return CropBatch(
            SliceCrops(crops.global_views.to(device), crops.local_views.to(device), crops.masked.to(device))
        )


class SelfDistillationStage(nn.Module):
    """Trains the slice encoder and two projection heads; the teacher and the heads are thrown away afterwards."""

    def __init__(self, model: MsVlm, data: TrainingData, settings: SlicesSettings, optimisation: Optimisation) -> None:
        super().__init__()
        if settings.crops.patch_pixels != model.slice_encoder.patch_pixels:
            raise ConfigError(
                f"crops for patches of {settings.crops.patch_pixels} pixels and an encoder with patches of "
                f"{model.slice_encoder.patch_pixels}; set [slices.crops] patch_pixels"
            )
        self.model = model
        width = model.slice_encoder.width
        self.slice_head = ProjectionHead(width, settings.prototypes)
        self.patch_head = ProjectionHead(width, settings.prototypes)
        self.teacher = copy.deepcopy(model.slice_encoder)
        self.teacher_slice_head = copy.deepcopy(self.slice_head)
        self.teacher_patch_head = copy.deepcopy(self.patch_head)
        self.slice_centre, self.patch_centre = Centre(settings.prototypes), Centre(settings.prototypes)
        self._data, self._settings, self._optimisation = data, settings, optimisation

    def trained_parameters(self) -> list[nn.Parameter]:
        """Student and heads; without the iBOT term what only it would train is left out."""
        trained = [*self.model.slice_encoder.parameters(), *self.slice_head.parameters()]
        return trained + (list(self.patch_head.parameters()) if self._settings.patch_weight else [])

    def batches(self, start: int, share: Share) -> Iterator[CropBatch]:
        """Views of some slices of each study of a step."""
        step = start
        settings, optimisation = self._settings, self._optimisation
        while True:
            draws = draw_samples(self._data.training, optimisation, step, share, settings.slices_per_study)
            yield CropBatch(_joined([self._crops(draw) for draw in draws]))
            step += 1

    def _crops(self, draw: SampleDraw) -> SliceCrops:
        """Views of one study's slices, drawn with that study's generator."""
        studies = to_study_batch([draw.sample], self.model.config.input)
        assert studies.slices is not None
        generator = torch.Generator().manual_seed(int(draw.generator.integers(2**62)))
        return cut_crops(studies.slices, self._settings.crops, generator)

    def forward(self, batch: CropBatch) -> StageLoss:
        """DINO between views, iBOT on hidden patches, KoLeo on the student's large views."""
        settings, crops = self._settings, batch.crops
        views, slices = crops.global_views.shape[:2]
        large = crops.global_views.flatten(0, 1)
        masked = crops.masked.flatten(0, 1)
        with torch.no_grad():
            seen = self.teacher.features(large)
            slice_scores = self.teacher_slice_head(seen.cls).float()
            patch_scores = self.teacher_patch_head(seen.patches[masked]).float()
        told = self.model.slice_encoder.features(large, masked)
        targets = (slice_scores - self.slice_centre.mean).unflatten(0, (views, slices))
        answers = [self.slice_head(told.cls).unflatten(0, (views, slices))]
        if len(crops.local_views):
            small = self.model.slice_encoder.features(crops.local_views.flatten(0, 1))
            answers.append(self.slice_head(small.cls).unflatten(0, crops.local_views.shape[:2]))
        dino = self._between_views(torch.cat(answers), targets)
        ibot = self._of_patches(told.patches, patch_scores, masked)
        spread = torch.stack([koleo_loss(view) for view in told.cls.unflatten(0, (views, slices))]).mean()
        if self.training:
            self.slice_centre.move(reduced_mean(slice_scores))
            self.patch_centre.move(reduced_mean(patch_scores))
        total = dino + settings.patch_weight * ibot + settings.spread_weight * spread
        return StageLoss(total, (LossPart("dino", dino), LossPart("ibot", ibot), LossPart("koleo", spread)))

    def after_step(self, step: int) -> None:
        """The teacher follows its student."""
        progress = step / self._optimisation.steps
        momentum = 1.0 - (1.0 - self._settings.momentum) * 0.5 * (1.0 + math.cos(math.pi * progress))
        follow(self.teacher, self.model.slice_encoder, momentum)
        follow(self.teacher_slice_head, self.slice_head, momentum)
        follow(self.teacher_patch_head, self.patch_head, momentum)

    def _between_views(
        self,
        answers: Float[Tensor, "views slices prototypes"],
        targets: Float[Tensor, "large_views slices prototypes"],
    ) -> Float[Tensor, ""]:
        """The mean over all pairs of one large view of the teacher's and another view of the student's."""
        settings = self._settings
        losses = [
            distillation_loss(answer, target, settings.student_temperature, settings.teacher_temperature).mean()
            for view, answer in enumerate(answers)
            for place, target in enumerate(targets)
            if view != place
        ]
        return torch.stack(losses).mean()

    def _of_patches(
        self,
        patches: Float[Tensor, "crops patches width"],
        teacher_scores: Float[Tensor, "hidden_patches prototypes"],
        masked: Bool[Tensor, "crops patches"],
    ) -> Float[Tensor, ""]:
        settings = self._settings
        if not settings.patch_weight or not settings.crops.masked_crops:
            return patches.sum() * 0.0
        losses = distillation_loss(
            self.patch_head(patches[masked]),
            teacher_scores - self.patch_centre.mean,
            settings.student_temperature,
            settings.teacher_temperature,
        )
        return masked_mean(losses, masked, self._settings.crops.masked_crops)


def _joined(crops: list[SliceCrops]) -> SliceCrops:
    """The views of several studies, study behind study."""
    return SliceCrops(
        torch.cat([one.global_views for one in crops], dim=1),
        torch.cat([one.local_views for one in crops], dim=1),
        torch.cat([one.masked for one in crops], dim=1),
    )
