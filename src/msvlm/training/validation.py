"""Scores on the validation split while training."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch
from accelerate import Accelerator
from numpy.typing import NDArray

from msvlm.batch import StudyBatch
from msvlm.data.dataset import StudyDataset, statements_of, to_study_batch
from msvlm.data.text import ReportText
from msvlm.evaluation.finding_metrics import area_under_curve, best_thresholds, macro_f1, truth_matrix
from msvlm.evaluation.systems import score_reports
from msvlm.model.ms_vlm import MsVlm
from msvlm.reporting.drafting import draft_reports
from msvlm.training.run_log import Score

STUDIES_AT_ONCE = 8


def findings_scores(model: MsVlm, dataset: StudyDataset, limit: int, accelerator: Accelerator) -> tuple[Score, ...]:
    """Scores the findings head: mean AUC, and macro F1 at each finding's best threshold on these same studies."""
    truth, probabilities = predict_presence(model, dataset, accelerator, limit)
    best = best_thresholds(truth, probabilities)
    return (
        Score("head_auc", float(np.nanmean(area_under_curve(truth, probabilities)))),
        Score("head_f1_at_best", macro_f1(truth, probabilities > best)),
    )


def report_scores(
    model: MsVlm, text: ReportText, dataset: StudyDataset, limit: int, accelerator: Accelerator
) -> tuple[Score, ...]:
    """Scores generated reports: macro F1 of their statements, side, lobe and size, and the share of distinct texts."""
    texts: list[str] = []
    with evaluation_mode(model):
        for batch in _batches(model, dataset, accelerator, limit):
            texts += [draft.text for draft in draft_reports(model, text, batch)]
    studies = dataset.studies[:limit]
    patients, truth = [study.patient for study in studies], [statements_of(study) for study in studies]
    scores = score_reports(texts, truth, patients, model.vocabulary)
    assert scores.locations is not None and scores.diversity is not None, "generated reports have both"
    placed = (("side", scores.locations.side), ("lobe", scores.locations.lobe), ("size", scores.locations.size))
    return (
        Score("report_f1", scores.presence.macro_f1.value),
        *(Score(name, found.value) for name, found in placed if found is not None),
        Score("distinct", scores.diversity.distinct),
    )


def predict_presence(
    model: MsVlm, dataset: StudyDataset, accelerator: Accelerator, limit: int | None = None
) -> tuple[NDArray[np.float64], NDArray[np.float32]]:
    """Returns (studies, findings) twice: the truth (1, 0, NaN unknown), and the probabilities of the findings head."""
    with evaluation_mode(model), torch.inference_mode():
        logits = [
            model.read(batch).findings.presence_logits.float().cpu().numpy()
            for batch in _batches(model, dataset, accelerator, limit)
        ]
    truth = truth_matrix([statements_of(study) for study in dataset.studies[:limit]], model.vocabulary)
    return truth, (1.0 / (1.0 + np.exp(-np.concatenate(logits)))).astype(np.float32)


@contextmanager
def evaluation_mode(model: MsVlm) -> Iterator[None]:
    """Puts the model into evaluation mode, and back into its former mode when the block ends."""
    was_training = model.training
    model.eval()
    try:
        yield
    finally:
        model.train(was_training)


def _batches(model: MsVlm, dataset: StudyDataset, accelerator: Accelerator, limit: int | None) -> Iterator[StudyBatch]:
    generator = np.random.default_rng(0)
    count = len(dataset.studies[:limit])
    for start in range(0, count, STUDIES_AT_ONCE):
        indices = range(start, min(start + STUDIES_AT_ONCE, count))
        batch = to_study_batch([dataset.sample(index, None, generator) for index in indices], model.config.input)
        yield batch.to(accelerator.device)
