"""Runs a model on studies: drafts with and without image, the findings head, and the evidence of some studies."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from msvlm.batch import StudyBatch
from msvlm.data.dataset import StudyDataset, StudySample, to_study_batch
from msvlm.evaluation.evidence_metrics import TopSlice, top_slices
from msvlm.evaluation.finding_metrics import Calibration, presence_matrix, score_calibration, truth_matrix
from msvlm.evaluation.systems import (
    ANOTHER_IMAGE,
    FINDINGS_HEAD,
    GENERATED,
    NO_IMAGE,
    SystemOutput,
    output_of_texts,
)
from msvlm.reporting.drafting import Draft, draft_reports
from msvlm.reporting.evidence import find_evidence
from msvlm.reporting.out_of_domain import summarise
from msvlm.reporting.reporter import Reporter
from msvlm.vocabulary.vocabulary import Statements, Vocabulary

STUDIES_AT_ONCE = 8


@dataclass(frozen=True)
class ModelOutputs:
    """A model's outputs, study by study.

    Attributes:
        vocabulary: of the findings.
        texts: the drafts.
        blind_texts: the drafts with every slice masked.
        statements: of the findings head.
        probabilities: (studies, findings), of the findings head.
        top_slices: the strongest evidence, of some studies with lesion masks.
        evidence_studies: indices of those studies.
        outside: number of studies with a series outside the training domain; None where the model has no record of it.
    """

    vocabulary: Vocabulary
    texts: tuple[str, ...]
    blind_texts: tuple[str, ...]
    statements: tuple[Statements, ...]
    probabilities: NDArray[np.float32]
    top_slices: tuple[tuple[TopSlice, ...], ...]
    evidence_studies: tuple[int, ...]
    outside: int | None

    def systems(self, others: NDArray[np.int64] | None) -> list[SystemOutput]:
        """Returns the systems that need the model.

        `others` (studies,) is for each study the index of a study of another patient; None leaves that system out.
        """
        presence = presence_matrix(self.statements, self.vocabulary)
        texts = {GENERATED: self.texts, NO_IMAGE: self.blind_texts}
        if others is not None:
            texts[ANOTHER_IMAGE] = tuple(self.texts[other] for other in others)
        generated, *controls = (output_of_texts(name, own, self.vocabulary) for name, own in texts.items())
        head = SystemOutput(FINDINGS_HEAD, presence, self.statements, scores=self.probabilities)
        return [generated, head, *controls]

    def calibration(self, truth: Sequence[Statements]) -> Calibration:
        """Returns the calibration of the head's probabilities."""
        return score_calibration(truth_matrix(truth, self.vocabulary), self.probabilities, self.vocabulary.names)


def run_model(reporter: Reporter, dataset: StudyDataset, evidence_studies: int) -> ModelOutputs:
    """Reads every study of a dataset; computes the evidence of the first `evidence_studies` that have lesion masks."""
    texts: list[str] = []
    blind_texts: list[str] = []
    statements: list[Statements] = []
    probabilities: list[NDArray[np.float32]] = []
    evidence: dict[int, tuple[TopSlice, ...]] = {}
    outside = 0
    for samples, batch in _batches(dataset, reporter):
        drafts = draft_reports(reporter.model, reporter.text, batch)
        for study, sample in enumerate(samples):
            if sample.regions is not None and len(evidence) < evidence_studies:
                evidence[len(texts) + study] = _top_slices(reporter, batch.study(study), drafts[study], sample)
        texts += [draft.text for draft in drafts]
        statements += [draft.statements for draft in drafts]
        probabilities += [draft.probabilities for draft in drafts]
        masked = torch.ones_like(batch.study_index, dtype=torch.bool)
        blind_texts += [draft.text for draft in draft_reports(reporter.model, reporter.text, batch, masked)]
        outside += _outside(reporter, batch) if reporter.domain is not None else 0
    return ModelOutputs(
        vocabulary=reporter.model.vocabulary,
        texts=tuple(texts),
        blind_texts=tuple(blind_texts),
        statements=tuple(statements),
        probabilities=np.stack(probabilities),
        top_slices=tuple(evidence.values()),
        evidence_studies=tuple(evidence),
        outside=outside if reporter.domain is not None else None,
    )


def _batches(dataset: StudyDataset, reporter: Reporter) -> Iterator[tuple[list[StudySample], StudyBatch]]:
    """Yields batches of whole, encoded studies in their order."""
    generator = np.random.default_rng(0)
    starts = range(0, len(dataset.studies), STUDIES_AT_ONCE)
    for start in tqdm(starts, desc="drafting", unit="batch", disable=None):
        indices = range(start, min(start + STUDIES_AT_ONCE, len(dataset.studies)))
        samples = [dataset.sample(index, None, generator) for index in indices]
        batch = to_study_batch(samples, reporter.model.config.input).to(reporter.device)
        with torch.inference_mode():
            yield samples, batch if batch.slice_vectors is not None else reporter.model.encode(batch)


def _top_slices(reporter: Reporter, batch: StudyBatch, draft: Draft, sample: StudySample) -> tuple[TopSlice, ...]:
    """Compares the evidence of one study with its lesions."""
    assert sample.regions is not None
    sentences = find_evidence(reporter.model, reporter.text, batch, draft)
    return top_slices(sentences, sample.statements, sample.regions, reporter.model.vocabulary)


def _outside(reporter: Reporter, batch: StudyBatch) -> int:
    """Returns the number of a batch's studies with a series outside the training domain."""
    assert batch.slice_vectors is not None and reporter.domain is not None
    vectors = batch.slice_vectors.float().cpu().numpy()
    study_index, series_index = batch.study_index.cpu().numpy(), batch.series_index.cpu().numpy()
    outside = set()
    for study, series in set(zip(study_index.tolist(), series_index.tolist(), strict=True)):
        summary = summarise(vectors[(study_index == study) & (series_index == series)])
        if not reporter.domain.distance(summary) <= reporter.domain.largest_distance:
            outside.add(study)
    return len(outside)
