"""Stage: self-supervised pre-training of the slice encoder on single slices, by self-distillation.

Method: MS-VLM (arXiv 2412.13558), stage 0: DINO (arXiv 2104.14294) on the data set's own slices. As in DINOv2
(arXiv 2304.07193), iBOT on masked patches and KoLeo are added; their weights are settings.
"""

import copy
import math
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from msvlm.data.crops import CropConfig, SliceCrops, cut_crops
from msvlm.data.dataset import to_study_batch
from msvlm.errors import ConfigError
from msvlm.model.ms_vlm import MsVlm
from msvlm.training.loop import LoadedStudy, LossPart, Optimisation, Shard, StageLoss, TrainingData, load_studies
from msvlm.training.self_distillation import (
    Centre,
    ProjectionHead,
    distillation_loss,
    koleo_loss,
    masked_mean,
    reduced_mean,
    update_teacher,
)


@dataclass(frozen=True)
class SlicesSettings:
    """Settings of the slices stage.

    Attributes:
        slices_per_study: slices resampled each time a study is used.
        prototypes: number of prototypes of each projection head.
        momentum: of the teacher's moving average in the first step; it rises to 1 along half a cosine.
        patch_weight, spread_weight: weights of the iBOT and the KoLeo loss; the DINO loss has weight 1.
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
                f"slices_per_study {self.slices_per_study} and prototypes {self.prototypes}; must be at least 1 and 2"
            )
        if not 0.0 <= self.momentum <= 1.0 or min(self.student_temperature, self.teacher_temperature) <= 0:
            raise ConfigError(
                f"momentum {self.momentum}, temperatures {self.student_temperature} and {self.teacher_temperature}; "
                "momentum must lie between 0 and 1, temperatures above 0"
            )
        if min(self.patch_weight, self.spread_weight) < 0:
            raise ConfigError(
                f"patch_weight {self.patch_weight}, spread_weight {self.spread_weight}; must be 0 or more"
            )


@dataclass(frozen=True)
class CropBatch:
    """The views of the slices of one step."""

    crops: SliceCrops

    def to(self, device: torch.device) -> "CropBatch":
        """Returns the same views on another device."""
        crops = self.crops
        return CropBatch(
            SliceCrops(crops.global_views.to(device), crops.local_views.to(device), crops.masked.to(device))
        )


class SelfDistillationStage(nn.Module):
    """The stage that trains the slice encoder and two projection heads; teacher and heads are discarded afterwards."""

    def __init__(self, model: MsVlm, data: TrainingData, settings: SlicesSettings, optimisation: Optimisation) -> None:
        super().__init__()
        if settings.crops.patch_pixels != model.slice_encoder.patch_pixels:
            raise ConfigError(
                f"crops are made for patches of {settings.crops.patch_pixels} pixels, but the encoder has patches of "
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
        """Returns the parameters of the student and its heads; those of the patch head only with the iBOT loss."""
        trained = [*self.model.slice_encoder.parameters(), *self.slice_head.parameters()]
        return trained + (list(self.patch_head.parameters()) if self._settings.patch_weight else [])

    def batch(self, step: int, shard: Shard) -> CropBatch:
        """Returns views of some slices of each study."""
        slices = self._settings.slices_per_study
        loaded = load_studies(self._data.training, self._optimisation, step, shard, slices)
        return CropBatch(_joined([self._crops(study) for study in loaded]))

    def _crops(self, loaded: LoadedStudy) -> SliceCrops:
        """Samples views of the slices of one study with its generator."""
        studies = to_study_batch([loaded.sample], self.model.config.input)
        assert studies.slices is not None
        generator = torch.Generator().manual_seed(int(loaded.generator.integers(2**62)))
        return cut_crops(studies.slices, self._settings.crops, generator)

    def forward(self, batch: CropBatch) -> StageLoss:
        """Returns DINO between views, iBOT on masked patches, and KoLeo on the student's global views, weighted."""
        settings, crops = self._settings, batch.crops
        views, slices = crops.global_views.shape[:2]
        global_views = crops.global_views.flatten(0, 1)
        masked = crops.masked.flatten(0, 1)
        with torch.no_grad():
            teacher = self.teacher.features(global_views)
            slice_scores = self.teacher_slice_head(teacher.cls).float()
            patch_scores = self.teacher_patch_head(teacher.patches[masked]).float()
        student = self.model.slice_encoder.features(global_views, masked)
        targets = (slice_scores - self.slice_centre.mean).unflatten(0, (views, slices))
        predictions = [self.slice_head(student.cls).unflatten(0, (views, slices))]
        if len(crops.local_views):
            local = self.model.slice_encoder.features(crops.local_views.flatten(0, 1))
            predictions.append(self.slice_head(local.cls).unflatten(0, crops.local_views.shape[:2]))
        dino = self._dino_loss(torch.cat(predictions), targets)
        ibot = self._ibot_loss(student.patches, patch_scores, masked)
        spread = torch.stack([koleo_loss(view) for view in student.cls.unflatten(0, (views, slices))]).mean()
        if self.training:
            self.slice_centre.update(reduced_mean(slice_scores))
            self.patch_centre.update(reduced_mean(patch_scores))
        total = dino + settings.patch_weight * ibot + settings.spread_weight * spread
        return StageLoss(total, (LossPart("dino", dino), LossPart("ibot", ibot), LossPart("koleo", spread)))

    def after_step(self, step: int) -> None:
        """Updates the teacher."""
        progress = step / self._optimisation.steps
        momentum = 1.0 - (1.0 - self._settings.momentum) * 0.5 * (1.0 + math.cos(math.pi * progress))
        update_teacher(self.teacher, self.model.slice_encoder, momentum)
        update_teacher(self.teacher_slice_head, self.slice_head, momentum)
        update_teacher(self.teacher_patch_head, self.patch_head, momentum)

    def _dino_loss(
        self,
        predictions: Float[Tensor, "views slices prototypes"],
        targets: Float[Tensor, "global_views slices prototypes"],
    ) -> Float[Tensor, ""]:
        """Returns the mean over all pairs of a global view of the teacher and another view of the student."""
        settings = self._settings
        losses = [
            distillation_loss(prediction, target, settings.student_temperature, settings.teacher_temperature).mean()
            for view, prediction in enumerate(predictions)
            for target_view, target in enumerate(targets)
            if view != target_view
        ]
        return torch.stack(losses).mean()

    def _ibot_loss(
        self,
        patches: Float[Tensor, "crops patches width"],
        teacher_scores: Float[Tensor, "masked_patches prototypes"],
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
    """Returns the views of several studies, concatenated along the slices."""
    return SliceCrops(
        torch.cat([one.global_views for one in crops], dim=1),
        torch.cat([one.local_views for one in crops], dim=1),
        torch.cat([one.masked for one in crops], dim=1),
    )
