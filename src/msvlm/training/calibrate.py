"""What is measured on the data and set in the model: standardiser, priors, thresholds, cue errors, training domain."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor

from msvlm.data.cues import CueErrors
from msvlm.data.dataset import StudyDataset, to_finding_targets, to_study_batch
from msvlm.evaluation.finding_metrics import best_thresholds
from msvlm.model.ms_vlm import MsVlm
from msvlm.reporting.out_of_domain import LEAST_SERIES, TrainingDomain, fit_training_domain, summarise
from msvlm.training.loop import TrainingData
from msvlm.training.validation import evaluation_mode, predict_presence
from msvlm.vocabulary.vocabulary import Vocabulary

STANDARDISER_STUDIES, STANDARDISER_SLICES = 64, 12
"""Training studies on which the standardiser is fitted, and slices sampled from each of them."""
PREVALENCE_STUDIES = 200
"""Training studies on which the prevalence of findings is measured."""
DOMAIN_STUDIES = 400
"""Training studies whose slice vectors describe the training domain."""


@torch.no_grad()
def fit_standardiser(model: MsVlm, dataset: StudyDataset, device: torch.device, seed: int) -> None:
    """Fits the standardiser on slices of the training split, sampled with the seed."""
    vectors = []
    generator = np.random.default_rng(seed)
    with evaluation_mode(model):
        for index in generator.permutation(len(dataset))[:STANDARDISER_STUDIES]:
            sample = dataset.sample(int(index), STANDARDISER_SLICES, generator)
            batch = model.encode(to_study_batch([sample], model.config.input).to(device))
            assert batch.slice_vectors is not None
            vectors.append(batch.slice_vectors.float())
    joined = torch.cat(vectors)
    model.standardiser.fit(joined.mean(dim=0), joined.std(dim=0))


@dataclass(frozen=True)
class Prevalence:
    """Prevalence of each finding in a split.

    Attributes:
        presence: share of the studies that have it.
        cells: share of all cells of all slices that it touches, as far as known; 0 where it is never known.
    """

    presence: Float[Tensor, " findings"]
    cells: Float[Tensor, " findings"]


def measure_prevalence(dataset: StudyDataset, vocabulary: Vocabulary, seed: int) -> Prevalence:
    """Measures the prevalence of findings on some studies of a split, sampled with the seed."""
    generator = np.random.default_rng(seed)
    chosen = generator.permutation(len(dataset))[:PREVALENCE_STUDIES]
    targets = to_finding_targets([dataset.sample(int(index), None, generator) for index in chosen], vocabulary)
    cells = torch.zeros(len(vocabulary.findings))
    if targets.regions is not None:
        cells = targets.regions.float().mean(dim=(0, 2, 3))
    return Prevalence(targets.presence.nanmean(dim=0).nan_to_num(0.5), cells)


def set_thresholds(model: MsVlm, dataset: StudyDataset, accelerator: Accelerator) -> None:
    """Sets each finding's threshold to the one with the best F1 on the validation split."""
    truth, probabilities = predict_presence(model, dataset, accelerator)
    thresholds = np.clip(best_thresholds(truth, probabilities), 0.0, 1.0)
    model.findings_head.set_thresholds(torch.from_numpy(thresholds).float().to(accelerator.device))


def measure_cue_errors(model: MsVlm, dataset: StudyDataset, misplaced: float, accelerator: Accelerator) -> CueErrors:
    """Measures how often the findings head misses and invents each finding on studies it was not trained on."""
    truth, probabilities = predict_presence(model, dataset, accelerator)
    predicted = probabilities > model.findings_head.thresholds.cpu().numpy()
    present, absent = truth == 1, truth == 0
    missed = (present & ~predicted).sum(0) / np.maximum(present.sum(0), 1)
    invented = (absent & predicted).sum(0) / np.maximum(absent.sum(0), 1)
    return CueErrors(model.vocabulary.names, tuple(missed.tolist()), tuple(invented.tolist()), misplaced)


@dataclass(frozen=True)
class DomainSettings:
    """How a trained model describes the data it was trained on.

    Attributes:
        trained_on: what the studies are, in a reader's words; stands in every report.
        body_part_words: a body part named in a header must contain one of these words to lie within the domain;
            where the list is empty, any body part does.
    """

    trained_on: str = ""
    body_part_words: tuple[str, ...] = ()


def measure_domain(data: TrainingData, settings: DomainSettings) -> TrainingDomain | None:
    """Fits the training domain on the series of both splits, so that unlike series are recognised.

    None where the splits are too small for it.
    """
    training, validation = (
        [summary for index in range(min(len(dataset), DOMAIN_STUDIES)) for summary in _summaries(dataset, index)]
        for dataset in (data.training, data.validation)
    )
    if min(len(training), len(validation)) < LEAST_SERIES:
        return None
    modalities = {
        series.modality.value
        for index in range(min(len(data.training), DOMAIN_STUDIES))
        for series in data.training.sample(index, None, np.random.default_rng(0)).prepared.series
    }
    return fit_training_domain(
        np.stack(training),
        np.stack(validation),
        tuple(sorted(modalities)),
        settings.body_part_words,
        settings.trained_on,
    )


def _summaries(dataset: StudyDataset, index: int) -> Iterator[NDArray[np.float32]]:
    sample = dataset.sample(index, None, np.random.default_rng(0))
    assert sample.vectors is not None
    start = 0
    for series in sample.prepared.series:
        yield summarise(sample.vectors[start : start + len(series.slice_indices)])
        start += len(series.slice_indices)
