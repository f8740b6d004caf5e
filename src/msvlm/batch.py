"""StudyBatch, the contract between data and model: studies as packed tensors, and their training targets.

The slices of all studies are concatenated without padding; `study_index` gives the study of each slice.
"""

from dataclasses import dataclass, fields, replace
from typing import TypeVar

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


@dataclass(frozen=True)
class StudyBatch:
    """Several studies, their slices concatenated; with `slices`, `slice_vectors`, or both.

    Attributes:
        study_index: number of the study in the batch, ascending from 0; every study has a slice.
        series_index: number of the series in its study.
        position_mm: centre of the slice, RAS mm, measured from the mean of its study's slice centres.
        normal_ras: unit vector across the slice.
        role_index: `Role.index` of the slice's series.
        slices: model-ready channels (`msvlm.imaging.preprocess.to_channels`).
        slice_vectors: outputs of the slice encoder, not standardised.
    """

    study_index: Int[Tensor, " slices"]
    series_index: Int[Tensor, " slices"]
    position_mm: Float[Tensor, "slices 3"]
    normal_ras: Float[Tensor, "slices 3"]
    role_index: Int[Tensor, " slices"]
    slices: Float[Tensor, "slices channels rows columns"] | None = None
    slice_vectors: Float[Tensor, "slices tokens width"] | None = None

    @property
    def studies(self) -> int:
        """Number of studies."""
        return int(self.study_index[-1]) + 1

    def to(self, device: torch.device) -> "StudyBatch":
        """Returns the same batch on another device."""
        return _to(self, device)

    def study(self, index: int) -> "StudyBatch":
        """Returns one study as a batch of its own."""
        is_own = self.study_index == index
        chosen = {
            field.name: value[is_own] for field in fields(self) if (value := getattr(self, field.name)) is not None
        }
        return replace(self, **{**chosen, "study_index": torch.zeros_like(chosen["study_index"])})

    def with_vectors(self, slice_vectors: Float[Tensor, "slices tokens width"]) -> "StudyBatch":
        """Returns the same studies with slice vectors instead of pixels."""
        return replace(self, slices=None, slice_vectors=slice_vectors)


@dataclass(frozen=True)
class FindingTargets:
    """What is known of the findings of each study; NaN is unknown.

    Attributes:
        presence: 1 present, 0 absent.
        attributes: 1 stated, 0 not stated, in the order of `Vocabulary.attributes`; NaN also where the finding is
            absent or cannot have the attribute.
        sizes_mm: the largest stated diameter, depth or width; NaN also where the finding is absent.
        regions: for each slice whether a finding's mask touches each cell of the slice encoder's region grid;
            None where no study of the batch has masks.
        has_regions: whether it is known which cells the finding touches; `regions` are meaningless where it is not.
    """

    presence: Float[Tensor, "studies findings"]
    attributes: Float[Tensor, "studies findings attributes"]
    sizes_mm: Float[Tensor, "studies findings"]
    regions: Bool[Tensor, "slices findings grid_rows grid_columns"] | None
    has_regions: Bool[Tensor, "studies findings"]

    def to(self, device: torch.device) -> "FindingTargets":
        """Returns the same targets on another device."""
        return _to(self, device)


@dataclass(frozen=True)
class TextBatch:
    """Prompts as tokens, in training followed by their reports; one per study, padded on the right (left to generate).

    Attributes:
        input_ids: token ids, with the visual placeholder where a visual token is spliced in.
        attention_mask: True on tokens, False on padding.
        labels: the token to learn at each position, -100 where there is none; None without reports.
    """

    input_ids: Int[Tensor, "studies positions"]
    attention_mask: Bool[Tensor, "studies positions"]
    labels: Int[Tensor, "studies positions"] | None = None

    def to(self, device: torch.device) -> "TextBatch":
        """Returns the same text on another device."""
        return _to(self, device)


@dataclass(frozen=True)
class TrainingBatch:
    """Studies, which of their slices are masked in this step, and their targets.

    Attributes:
        masked: slices whose content the model does not get.
        findings: None where the stage needs none.
    """

    studies: StudyBatch
    masked: Bool[Tensor, " slices"]
    findings: FindingTargets | None = None

    def to(self, device: torch.device) -> "TrainingBatch":
        """Returns the same batch on another device."""
        return TrainingBatch(
            self.studies.to(device),
            self.masked.to(device),
            self.findings.to(device) if self.findings is not None else None,
        )


_Batch = TypeVar("_Batch", StudyBatch, FindingTargets, TextBatch)


def _to(batch: _Batch, device: torch.device) -> _Batch:
    moved = {}
    for field in fields(batch):
        value = getattr(batch, field.name)
        moved[field.name] = value.to(device) if isinstance(value, Tensor) else value
    return replace(batch, **moved)
