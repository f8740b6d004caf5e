"""Scores on the validation split while training, and what is read off it when a stage ends."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from msvlm.batch import StudyBatch
from msvlm.data.cues import CueErrors
from msvlm.data.dataset import StudyDataset, statements_of, to_study_batch
from msvlm.data.text import ReportText
from msvlm.evaluation.baselines import best_thresholds
from msvlm.evaluation.clinical_metrics import area_under_curve, macro_f1, presence_matrix
from msvlm.evaluation.score_row import score_reports
from msvlm.model.ms_vlm import MsVlm
from msvlm.reporting.drafting import draft
from msvlm.reporting.out_of_domain import LEAST_SERIES, TrainingDomain, fit_training_domain, summarise
from msvlm.training.engine import TrainingData
from msvlm.training.run_log import Score

STUDIES_AT_ONCE = 8
MEASURED_STUDIES = 400
"""Training studies whose slice vectors tell what is usual."""


def findings_scores(model: MsVlm, dataset: StudyDataset, limit: int, accelerator: Accelerator) -> tuple[Score, ...]:
    """The findings head: mean AUC, and macro F1 at each finding's best threshold on these very studies."""
    truth, probabilities = head_answers(model, dataset, accelerator, limit)
    best = best_thresholds(truth, probabilities)
    return (
        Score("head_auc", float(np.nanmean(area_under_curve(truth, probabilities)))),
        Score("head_f1_at_best", macro_f1(truth, probabilities > best)),
    )


def report_scores(
    model: MsVlm, text: ReportText, dataset: StudyDataset, limit: int, accelerator: Accelerator
) -> tuple[Score, ...]:
    """The generated reports: macro F1 of what they state, side, lobe and size, and the share of distinct texts."""
    texts: list[str] = []
    model.eval()
    for batch in _batches(model, dataset, accelerator, limit):
        texts += draft(model, text, batch).texts
    model.train()
    studies = dataset.studies[:limit]
    row = score_reports(texts, [statements_of(study) for study in studies], [study.patient for study in studies])
    assert row.agreement is not None and row.diversity is not None, "answers in texts have both"
    placed = (("side", row.agreement.side), ("lobe", row.agreement.lobe), ("size", row.agreement.size))
    return (
        Score("report_f1", row.scores.macro_f1.value),
        *(Score(name, found.value) for name, found in placed if found is not None),
        Score("distinct", row.diversity.distinct),
    )


def set_thresholds(model: MsVlm, dataset: StudyDataset, accelerator: Accelerator) -> None:
    """Gives each finding of the head the threshold with the best F1 on the validation split."""
    truth, probabilities = head_answers(model, dataset, accelerator)
    thresholds = np.clip(best_thresholds(truth, probabilities), 0.0, 1.0)
    model.findings_head.set_thresholds(torch.from_numpy(thresholds).float().to(accelerator.device))


def measure_cue_errors(model: MsVlm, dataset: StudyDataset, misplaced: float, accelerator: Accelerator) -> CueErrors:
    """How often the findings head misses and invents each finding on studies that it was not trained on."""
    truth, probabilities = head_answers(model, dataset, accelerator)
    told = probabilities > model.findings_head.thresholds.cpu().numpy()
    missed = (truth & ~told).sum(0) / np.maximum(truth.sum(0), 1)
    invented = (~truth & told).sum(0) / np.maximum((~truth).sum(0), 1)
    return CueErrors(model.config.findings_head.findings, tuple(missed.tolist()), tuple(invented.tolist()), misplaced)


def head_answers(
    model: MsVlm, dataset: StudyDataset, accelerator: Accelerator, limit: int | None = None
) -> tuple[NDArray[np.bool_], NDArray[np.float32]]:
    """(studies, findings) twice: which findings are there, and the probability that the head gives them."""
    model.eval()
    with torch.inference_mode():
        logits = [
            model.read(batch).findings.presence_logits.float().cpu().numpy()
            for batch in _batches(model, dataset, accelerator, limit)
        ]
    model.train()
    names = model.config.findings_head.findings
    truth = presence_matrix([statements_of(study) for study in dataset.studies[:limit]], names)
    return truth, (1.0 / (1.0 + np.exp(-np.concatenate(logits)))).astype(np.float32)


@dataclass(frozen=True)
class DomainSettings:
    """What is told of the data that a model was trained on.

    Attributes:
        trained_on: what the studies are, in a reader's words; stands in every report.
        body_part_words: a header that names a body part must hold one of these words to lie within it; where
            there are none, any will do.
    """

    trained_on: str = ""
    body_part_words: tuple[str, ...] = ()


def measure_domain(data: TrainingData, settings: DomainSettings) -> TrainingDomain | None:
    """What series of the two splits look like to the slice encoder, so that others can be told from them.

    None where the splits are too small to tell.
    """
    training, validation = (
        [summary for index in range(min(len(dataset), MEASURED_STUDIES)) for summary in _summaries(dataset, index)]
        for dataset in (data.training, data.validation)
    )
    if min(len(training), len(validation)) < LEAST_SERIES:
        return None
    modalities = {
        series.modality.value
        for index in range(min(len(data.training), MEASURED_STUDIES))
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


def _batches(model: MsVlm, dataset: StudyDataset, accelerator: Accelerator, limit: int | None) -> Iterator[StudyBatch]:
    generator = np.random.default_rng(0)
    count = len(dataset.studies[:limit])
    for start in range(0, count, STUDIES_AT_ONCE):
        rows = range(start, min(start + STUDIES_AT_ONCE, count))
        batch = to_study_batch([dataset.sample(row, None, generator) for row in rows], model.config.input)
        yield batch.to(accelerator.device)
