"""What a model answers to studies: drafts with and without their image, the findings head, the evidence of some."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from tqdm import tqdm

from msvlm.batch import StudyBatch
from msvlm.data.dataset import StudyDataset, StudySample, to_study_batch
from msvlm.evaluation.calibration import Calibration, score_calibration
from msvlm.evaluation.clinical_metrics import presence_matrix
from msvlm.evaluation.evidence_agreement import TopSlice, top_slices
from msvlm.evaluation.score_row import ANOTHER_IMAGE, FINDINGS_HEAD, GENERATED, NO_IMAGE, Answer, answer_of_texts
from msvlm.findings import CHEST_FINDING_NAMES, Statements
from msvlm.reporting.drafting import Draft, draft_reports
from msvlm.reporting.evidence import find_evidence
from msvlm.reporting.out_of_domain import summarise
from msvlm.reporting.reporter import Reporter

STUDIES_AT_ONCE = 8


@dataclass(frozen=True)
class ModelAnswers:
    """A model's answers, study by study.

    Attributes:
        names: of the findings that the head knows.
        texts, blind_texts: the drafts; those written with every slice hidden.
        statements: the findings head's answers.
        probabilities: (studies, head's findings).
        top_slices: what the evidence points at, of some studies with lesion masks.
        grounded: which studies those are.
        outside: how many studies have a series that does not look like what the model was trained on; None where the
            model has no record of that.
    """

    names: tuple[str, ...]
    texts: tuple[str, ...]
    blind_texts: tuple[str, ...]
    statements: tuple[Statements, ...]
    probabilities: NDArray[np.float32]
    top_slices: tuple[tuple[TopSlice, ...], ...]
    grounded: tuple[int, ...]
    outside: int | None

    def rows(self, others: NDArray[np.int64] | None) -> list[Answer]:
        """The rows that need the model; `others` (studies,) names for each study another patient's, if there is one."""
        head = Answer(FINDINGS_HEAD, presence_matrix(self.statements), self.statements, scores=self._scores())
        answers = [answer_of_texts(GENERATED, self.texts), head, answer_of_texts(NO_IMAGE, self.blind_texts)]
        if others is not None:
            answers.append(answer_of_texts(ANOTHER_IMAGE, [self.texts[row] for row in others]))
        return answers

    def calibration(self, truth: Sequence[Statements]) -> Calibration:
        """The calibration of the head's probabilities."""
        return score_calibration(presence_matrix(truth, self.names), self.probabilities, self.names)

    def _scores(self) -> NDArray[np.float32]:
        """(studies, 18): a finding that the head does not know is as good as absent."""
        scores = np.zeros((len(self.texts), len(CHEST_FINDING_NAMES)), np.float32)
        for column, name in enumerate(self.names):
            if name in CHEST_FINDING_NAMES:
                scores[:, CHEST_FINDING_NAMES.index(name)] = self.probabilities[:, column]
        return scores


def answer_studies(reporter: Reporter, dataset: StudyDataset, evidence_studies: int) -> ModelAnswers:
    """Reads every study of a dataset; seeks the evidence of the first `evidence_studies` that have lesion masks."""
    texts: list[str] = []
    blind_texts: list[str] = []
    statements: list[Statements] = []
    probabilities: list[NDArray[np.float32]] = []
    pointed: dict[int, tuple[TopSlice, ...]] = {}
    outside = 0
    for samples, batch in _batches(dataset, reporter):
        drafts = draft_reports(reporter.model, reporter.text, batch)
        for study, sample in enumerate(samples):
            if sample.regions is not None and len(pointed) < evidence_studies:
                pointed[len(texts) + study] = _top_slices(reporter, batch.study(study), drafts[study], sample)
        texts += [draft.text for draft in drafts]
        statements += [draft.statements for draft in drafts]
        probabilities += [draft.probabilities for draft in drafts]
        masked = torch.ones_like(batch.study_index, dtype=torch.bool)
        blind_texts += [draft.text for draft in draft_reports(reporter.model, reporter.text, batch, masked)]
        outside += _outside(reporter, batch) if reporter.domain is not None else 0
    return ModelAnswers(
        names=reporter.model.config.findings_head.findings,
        texts=tuple(texts),
        blind_texts=tuple(blind_texts),
        statements=tuple(statements),
        probabilities=np.stack(probabilities),
        top_slices=tuple(pointed.values()),
        grounded=tuple(pointed),
        outside=outside if reporter.domain is not None else None,
    )


def _batches(dataset: StudyDataset, reporter: Reporter) -> Iterator[tuple[list[StudySample], StudyBatch]]:
    """The studies in their order, whole, encoded, a few at a time."""
    generator = np.random.default_rng(0)
    starts = range(0, len(dataset.studies), STUDIES_AT_ONCE)
    for start in tqdm(starts, desc="drafting", unit="batch", disable=None):
        rows = range(start, min(start + STUDIES_AT_ONCE, len(dataset.studies)))
        samples = [dataset.sample(row, None, generator) for row in rows]
        batch = to_study_batch(samples, reporter.model.config.input).to(reporter.device)
        with torch.inference_mode():
            yield samples, batch if batch.slice_vectors is not None else reporter.model.encode(batch)


def _top_slices(reporter: Reporter, batch: StudyBatch, draft: Draft, sample: StudySample) -> tuple[TopSlice, ...]:
    """Compares the evidence of one study with its lesions."""
    assert sample.regions is not None
    sentences = find_evidence(reporter.model, reporter.text, batch, draft)
    return top_slices(sentences, sample.statements, sample.regions)


def _outside(reporter: Reporter, batch: StudyBatch) -> int:
    """How many of a batch's studies have a series that does not look like what the model was trained on."""
    assert batch.slice_vectors is not None and reporter.domain is not None
    vectors = batch.slice_vectors.float().cpu().numpy()
    study_index, series_index = batch.study_index.cpu().numpy(), batch.series_index.cpu().numpy()
    far = set()
    for study, series in set(zip(study_index.tolist(), series_index.tolist(), strict=True)):
        summary = summarise(vectors[(study_index == study) & (series_index == series)])
        if not reporter.domain.distance(summary) <= reporter.domain.largest_distance:
            far.add(study)
    return len(far)
