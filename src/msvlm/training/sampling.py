"""Which studies and slices a step sees: a function of the seed and the step alone, parted among processes."""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor

from msvlm.batch import StudyBatch
from msvlm.data.dataset import StudyDataset, StudySample, batch_indices
from msvlm.training.engine import Optimisation, Share


@dataclass(frozen=True)
class TrainingData:
    """The two splits that a stage sees: one it learns from, one it is scored on while it learns."""

    training: StudyDataset
    validation: StudyDataset


@dataclass(frozen=True)
class SampleDraw:
    """One study of a batch, and the generator of all that is drawn for it."""

    sample: StudySample
    generator: np.random.Generator


def draw_samples(
    dataset: StudyDataset, optimisation: Optimisation, step: int, share: Share, slices: int | None
) -> list[SampleDraw]:
    """This process's studies of a step, each with `slices` slices drawn at random, or with all."""
    indices = batch_indices(len(dataset), optimisation.batch_studies, step, optimisation.seed)
    draws = []
    for position in share.of(optimisation.batch_studies):
        generator = np.random.default_rng((optimisation.seed, step, position))
        draws.append(SampleDraw(dataset.sample(int(indices[position]), slices, generator), generator))
    return draws


def hide_slices(batch: StudyBatch, draws: list[SampleDraw], share: float) -> Bool[Tensor, " slices"]:
    """Slices to do without: `share` of each study's, drawn with that study's generator."""
    study_index = batch.study_index.numpy()
    hidden = np.concatenate(
        [draw.generator.random(int((study_index == study).sum())) < share for study, draw in enumerate(draws)]
    )
    return torch.from_numpy(hidden)


def mean_over_studies(
    values: Float[Tensor, " slices"],
    study_index: Int[Tensor, " slices"],
    counted: Bool[Tensor, " slices"],
    studies: int,
) -> Float[Tensor, ""]:
    """The mean over studies of each study's mean over its counted slices; a study with none counts as 0."""
    weights = counted.to(values.dtype)
    sums = torch.zeros(studies, dtype=values.dtype, device=values.device)
    counts = torch.zeros_like(sums)
    sums = sums.index_add(0, study_index, values * weights)
    counts = counts.index_add(0, study_index, weights)
    return (sums / counts.clamp(min=1.0)).mean()
