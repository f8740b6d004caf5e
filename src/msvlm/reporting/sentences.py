"""A written report cut into sentences, and how likely each of them is to the model when slices are hidden from it."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msvlm.batch import StudyBatch, TextBatch
from msvlm.data.text import IGNORED_LABEL, ReportText, Section, SentenceSpan
from msvlm.findings import Certainty, FindingStatement
from msvlm.labeling import label_sentence
from msvlm.model.ms_vlm import MsVlm

_NUMBERS_AT_ONCE = 2**24
"""Scores are computed for as many hidings at once as keep the largest tensor below this many numbers."""


@dataclass(frozen=True)
class WrittenSentence:
    """One sentence of a draft.

    Attributes:
        span: its text, its section, and its tokens.
        statements: what it says of findings, by the rule labeler.
    """

    span: SentenceSpan
    statements: tuple[FindingStatement, ...]

    @property
    def is_impression(self) -> bool:
        """Whether it stands in the impression, else in the findings."""
        return self.span.section is Section.IMPRESSION

    @property
    def stated(self) -> tuple[FindingStatement, ...]:
        """What it calls present or possible."""
        return tuple(item for item in self.statements if item.certainty is not Certainty.ABSENT)

    @property
    def subject(self) -> FindingStatement | None:
        """The finding that it is about: the first that it calls present or possible, else the first that it denies."""
        return next(iter(self.stated + self.statements), None)


def cut(text: ReportText, report: str) -> tuple[WrittenSentence, ...]:
    """The sentences of a draft, findings before impression, in reading order."""
    return tuple(WrittenSentence(span, label_sentence(span.text)) for span in text.sentence_spans(report))


class SentenceScorer:
    """How likely a model finds each sentence of one study's draft while it sees the study without some slices.

    The draft is given token by token, and the cues stay those that it was written with: only the slices change.

    Attributes:
        lengths: (sentences,), in tokens.
    """

    def __init__(self, model: MsVlm, text: ReportText, batch: StudyBatch, cues: str, report: str) -> None:
        self._model = model
        self._batch = batch
        self._written = text.training_batch([cues], [report]).to(batch.study_index.device)
        self._spans = text.sentence_spans(report)
        self.lengths = np.array([span.end_token - span.first_token for span in self._spans])
        numbers = self._written.input_ids.shape[1] * len(text.tokenizer) + _slice_numbers(batch)
        self._at_once = max(1, _NUMBERS_AT_ONCE // numbers)

    def __call__(self, hidden: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Log-probability of each sentence, in nats, (hidings, sentences), for (hidings, slices)."""
        starts = range(0, len(hidden), self._at_once)
        return np.concatenate([self._score(hidden[start : start + self._at_once]) for start in starts])

    def _score(self, hidden: NDArray[np.bool_]) -> NDArray[np.float64]:
        with torch.inference_mode():
            flat = torch.from_numpy(hidden.ravel()).to(self._batch.study_index.device)
            reading = self._model.read(_repeated(self._batch, len(hidden)), flat)
            assert reading.visual_tokens is not None, "a model without a language model scores no sentence"
            one = self._written
            rows = TextBatch(*(part.expand(len(hidden), -1) for part in (one.input_ids, one.attention_mask)))
            logits = self._model.logits(reading.visual_tokens, rows)
            of_tokens = self._of_report_tokens(logits).double().cpu().numpy()
        return np.stack([of_tokens[:, span.first_token : span.end_token].sum(axis=1) for span in self._spans], axis=1)

    def _of_report_tokens(self, logits: Tensor) -> Tensor:
        """(hidings, report tokens): log-probability of each, which the position before it gives."""
        assert self._written.labels is not None
        places = torch.nonzero(self._written.labels[0] != IGNORED_LABEL)[:, 0]
        wanted = self._written.labels[0, places].expand(len(logits), -1)
        return torch.log_softmax(logits[:, places - 1].float(), dim=-1).gather(2, wanted[..., None])[..., 0]


def _repeated(batch: StudyBatch, times: int) -> StudyBatch:
    """A study several times over, as so many studies of one batch; its slices are encoded already."""
    assert batch.slice_vectors is not None
    return StudyBatch(
        study_index=torch.arange(times, device=batch.study_index.device).repeat_interleave(len(batch.study_index)),
        series_index=batch.series_index.repeat(times),
        position_mm=batch.position_mm.repeat(times, 1),
        normal_ras=batch.normal_ras.repeat(times, 1),
        role_index=batch.role_index.repeat(times),
        slice_vectors=batch.slice_vectors.repeat(times, 1, 1),
    )


def _slice_numbers(batch: StudyBatch) -> int:
    assert batch.slice_vectors is not None
    return batch.slice_vectors.numel()
