"""A draft cut into sentences, and which slices each of them rests on: slices are hidden and it is scored again.

First whole zones are hidden, then single places inside the zones that matter most and where the findings head looked,
so that long studies cost little more than short ones.
"""

from collections.abc import Callable
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
from msvlm.report import FAINT_NATS

ZONES = 12
PLACES = 36
PLACES_A_SENTENCE = 3
HIDDEN_MM = 6.0
"""A slice is hidden with all slices of its series that lie no farther than this from it, and one neighbour at least."""

_NUMBERS_AT_ONCE = 2**24
"""Scores are computed for as many hidings at once as keep the largest tensor below this many numbers."""

Score = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
"""Which slices are hidden (hidings, slices) -> log-probability of each sentence, in nats (hidings, sentences)."""


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


@dataclass(frozen=True)
class ScoredSentence:
    """A sentence whose grounds are sought.

    Attributes:
        statements: what it says of findings.
        slice_preferences: (slices,), how much the findings head looked at each slice for what the sentence states;
            None where it states no finding.
    """

    statements: tuple[FindingStatement, ...]
    slice_preferences: NDArray[np.floating] | None = None

    @property
    def is_positive(self) -> bool:
        """Whether it says of any finding that it is there, or may be."""
        return any(statement.certainty is not Certainty.ABSENT for statement in self.statements)


@dataclass(frozen=True)
class Grounds:
    """What one sentence rests on.

    Attributes:
        slices: indices into the batch's slices, strongest first.
        drops_nats: how much the sentence's log-probability falls where that slice and its neighbours are hidden; below
            `FAINT_NATS` where no slice by itself matters, for the one that the findings head looked at most.
    """

    slices: tuple[int, ...]
    drops_nats: tuple[float, ...]


def find_grounds(batch: StudyBatch, sentences: tuple[ScoredSentence, ...], score: Score) -> tuple[Grounds, ...]:
    """The grounds of each sentence of one study's answer; none where no slice matters and the head preferred none."""
    if not sentences:
        return ()
    slices = len(batch.study_index)
    whole = score(np.zeros((1, slices), dtype=bool))
    zones = np.array_split(np.arange(slices), min(ZONES, slices))
    hidden = np.zeros((len(zones), slices), dtype=bool)
    for zone, members in enumerate(zones):
        hidden[zone, members] = True
    near = _nearness(batch)
    places = _candidates(sentences, near, zones, whole - score(hidden))
    drops = whole - score(near[places])
    return tuple(_grounds(places, drops[:, index], sentence) for index, sentence in enumerate(sentences))


def _grounds(places: NDArray[np.int64], drops: NDArray[np.float64], sentence: ScoredSentence) -> Grounds:
    order = np.argsort(-drops, kind="stable")[:PLACES_A_SENTENCE]
    kept = [rank for rank in order if drops[rank] >= FAINT_NATS]
    if not kept and sentence.is_positive and sentence.slice_preferences is not None:
        kept = [int(np.argmax(sentence.slice_preferences[places]))]
    return Grounds(tuple(int(places[rank]) for rank in kept), tuple(float(drops[rank]) for rank in kept))


def _candidates(
    sentences: tuple[ScoredSentence, ...],
    near: NDArray[np.bool_],
    zones: list[NDArray[np.int64]],
    zone_drops: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Places worth hiding, ascending: what the head looked at for each sentence, then its best zone."""
    wishes = []
    for index, sentence in enumerate(sentences):
        wish: list[int] = []
        if sentence.is_positive and sentence.slice_preferences is not None:
            by_preference = np.argsort(-sentence.slice_preferences, kind="stable")
            wish += _spread(by_preference, near, PLACES_A_SENTENCE)
        zone = zones[int(np.argmax(zone_drops[:, index]))]
        wishes.append(wish + _spread(zone, near, len(zone)))
    places: list[int] = []
    for rank in range(max(len(wish) for wish in wishes)):
        for wish in wishes:
            if rank < len(wish) and wish[rank] not in places:
                places.append(wish[rank])
    return np.array(sorted(places[:PLACES]))


def _spread(order: NDArray[np.int64], near: NDArray[np.bool_], count: int) -> list[int]:
    """The first slices of an order that do not lie near one another."""
    chosen: list[int] = []
    for place in order.tolist():
        if len(chosen) == count:
            break
        if not near[place, chosen].any():
            chosen.append(place)
    return chosen


def _nearness(batch: StudyBatch) -> NDArray[np.bool_]:
    """(slices, slices): whether the second is hidden together with the first."""
    series = batch.series_index.cpu().numpy()
    position_mm = batch.position_mm.cpu().numpy()
    near = np.zeros((len(series), len(series)), dtype=bool)
    for index in range(len(series)):
        near[index] = np.linalg.norm(position_mm - position_mm[index], axis=1) <= HIDDEN_MM
        near[index, max(0, index - 1) : index + 2] = True
    return near & (series[:, None] == series[None, :])


@dataclass(frozen=True)
class StudyDraft:
    """What was drafted of one study.

    Attributes:
        cues: what the language model was told of the findings.
        report: what it wrote.
        slice_attention: (slices, findings), how much the findings head looked at each slice.
    """

    cues: str
    report: str
    slice_attention: NDArray[np.floating]


@dataclass(frozen=True)
class GroundedSentence:
    """A sentence of a draft, what it rests on, and how likely the model finds its words: their geometric mean."""

    written: WrittenSentence
    grounds: Grounds
    fluency: float


def ground_draft(model: MsVlm, text: ReportText, batch: StudyBatch, draft: StudyDraft) -> tuple[GroundedSentence, ...]:
    """The sentences of a draft in reading order, with their grounds; `batch` is its one study, encoded."""
    written = cut(text, draft.report)
    if not written:
        return ()
    scorer = SentenceScorer(model, text, batch, draft.cues, draft.report)
    names = model.config.findings_head.findings
    scored = tuple(ScoredSentence(one.statements, _preferences(one, draft.slice_attention, names)) for one in written)
    fluency = np.exp(scorer(np.zeros((1, len(draft.slice_attention)), dtype=bool))[0] / scorer.lengths)
    return tuple(
        GroundedSentence(one, grounds, fluent)
        for one, grounds, fluent in zip(written, find_grounds(batch, scored, scorer), fluency.tolist(), strict=True)
    )


def _preferences(
    sentence: WrittenSentence, attention: NDArray[np.floating], names: tuple[str, ...]
) -> NDArray[np.floating] | None:
    """(slices,): how much the findings head looked at each slice for what the sentence calls present."""
    columns = [names.index(item.name) for item in sentence.stated if item.name in names]
    return attention[:, columns].sum(axis=1) if columns else None


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
