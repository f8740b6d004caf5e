"""Finds the slices on which each sentence of a draft rests: slices are masked and the sentence is scored again.

First whole zones are masked, then single slices inside the zones that matter most and where the findings head attended,
so that long studies cost little more than short ones.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from msvlm.batch import StudyBatch, TextBatch
from msvlm.data.text import IGNORED_LABEL, DraftSentence, ReportText
from msvlm.model.ms_vlm import MsVlm
from msvlm.report import FAINT_NATS
from msvlm.reporting.drafting import Draft

ZONES, CANDIDATES = 6, 9
"""Zones and single slices that are masked, one pass of the model each, beside the pass with nothing masked."""
SLICES_PER_SENTENCE = 3
MASKED_MM = 6.0
"""A slice is masked together with all slices of its series within this distance, and at least its two neighbours."""

_NUMBERS_AT_ONCE = 2**24
"""So many maskings are scored at once that the largest tensor holds fewer numbers than this."""

Score = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
"""Which slices are masked (maskings, slices) -> log-probability of each sentence in nats (maskings, sentences)."""


@dataclass(frozen=True)
class SentenceEvidence:
    """One sentence of a draft with the slices on which it rests.

    Attributes:
        sentence: the sentence.
        slices: indices of slices in the study's batch, strongest first.
        log_probability_drops: how much the log-probability of the sentence falls, in nats, when that slice and its
            neighbours are masked. Where no slice by itself matters, the slice with the most attention of the findings
            head is given, and its drop is below `FAINT_NATS`.
        mean_token_probability: geometric mean of the probabilities of the sentence's tokens, nothing masked.
    """

    sentence: DraftSentence
    slices: tuple[int, ...]
    log_probability_drops: tuple[float, ...]
    mean_token_probability: float


def find_evidence(model: MsVlm, text: ReportText, batch: StudyBatch, draft: Draft) -> tuple[SentenceEvidence, ...]:
    """Returns the sentences of a draft in reading order with their evidence; `batch` is its one study, encoded."""
    sentences = text.draft_sentences(draft.text)
    names = model.vocabulary.names
    attention = [_attention(sentence, draft.slice_attention, names) for sentence in sentences]
    scorer = SentenceScorer(model, text, batch, draft.cues, draft.text, sentences)
    return search_evidence(batch, sentences, attention, scorer)


def search_evidence(
    batch: StudyBatch,
    sentences: Sequence[DraftSentence],
    attention: Sequence[NDArray[np.floating] | None],
    score: Score,
) -> tuple[SentenceEvidence, ...]:
    """Searches the slices whose masking makes each sentence less probable.

    Args:
        batch: the study.
        sentences: its sentences.
        attention: for each sentence (slices,), the attention of the findings head for what it states; None where it
            states no finding.
        score: scores the sentences with some slices masked.
    """
    if not sentences:
        return ()
    slices = len(batch.study_index)
    unmasked = score(np.zeros((1, slices), dtype=bool))
    zones = np.array_split(np.arange(slices), min(ZONES, slices))
    masked = np.zeros((len(zones), slices), dtype=bool)
    for zone, members in enumerate(zones):
        masked[zone, members] = True
    together = _masked_together(batch)
    candidates = _candidates(attention, together, zones, unmasked - score(masked))
    drops = unmasked - score(together[candidates])
    found = []
    for index, sentence in enumerate(sentences):
        kept = _strongest(candidates, drops[:, index], attention[index])
        tokens = sentence.end_token - sentence.first_token
        found.append(
            SentenceEvidence(
                sentence,
                tuple(int(candidates[rank]) for rank in kept),
                tuple(float(drops[rank, index]) for rank in kept),
                float(np.exp(unmasked[0, index] / tokens)),
            )
        )
    return tuple(found)


def _strongest(
    candidates: NDArray[np.int64], drops: NDArray[np.float64], attention: NDArray[np.floating] | None
) -> list[int]:
    """Returns which candidates are the evidence of one sentence, as indices into `candidates`, strongest first."""
    order = np.argsort(-drops, kind="stable")[:SLICES_PER_SENTENCE].tolist()
    kept = [rank for rank in order if drops[rank] >= FAINT_NATS]
    if not kept and attention is not None:
        kept = [int(np.argmax(attention[candidates]))]
    return kept


def _candidates(
    attention: Sequence[NDArray[np.floating] | None],
    together: NDArray[np.bool_],
    zones: list[NDArray[np.int64]],
    zone_drops: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Returns the slices to mask one by one, ascending: those with most attention, then those of the best zone."""
    by_sentence = []
    for index, weights in enumerate(attention):
        own: list[int] = []
        if weights is not None:
            own += _apart(np.argsort(-weights, kind="stable"), together, SLICES_PER_SENTENCE)
        zone = zones[int(np.argmax(zone_drops[:, index]))]
        by_sentence.append(own + _apart(_spread(zone), together, len(zone)))
    chosen: list[int] = []
    for rank in range(max(len(own) for own in by_sentence)):
        for own in by_sentence:
            if rank < len(own) and own[rank] not in chosen:
                chosen.append(own[rank])
    return np.array(sorted(chosen[:CANDIDATES]))


def _spread(slices: NDArray[np.int64]) -> NDArray[np.int64]:
    """Returns the slices in an order whose first ones lie evenly spread: by the reversed bits of their index."""
    bits = len(slices).bit_length()
    return slices[sorted(range(len(slices)), key=lambda index: int(f"{index:0{bits}b}"[::-1], 2))]


def _apart(order: NDArray[np.int64], together: NDArray[np.bool_], count: int) -> list[int]:
    """Returns the first slices of an order that are not masked together with one another."""
    chosen: list[int] = []
    for index in order.tolist():
        if len(chosen) == count:
            break
        if not together[index, chosen].any():
            chosen.append(index)
    return chosen


def _masked_together(batch: StudyBatch) -> NDArray[np.bool_]:
    """Returns (slices, slices): whether the second is masked together with the first."""
    series = batch.series_index.cpu().numpy()
    position_mm = batch.position_mm.cpu().numpy()
    together = np.zeros((len(series), len(series)), dtype=bool)
    for index in range(len(series)):
        together[index] = np.linalg.norm(position_mm - position_mm[index], axis=1) <= MASKED_MM
        together[index, max(0, index - 1) : index + 2] = True
    return together & (series[:, None] == series[None, :])


def _attention(
    sentence: DraftSentence, slice_attention: NDArray[np.floating], names: tuple[str, ...]
) -> NDArray[np.floating] | None:
    """Returns (slices,): the attention of the findings head for what the sentence calls present or possible."""
    columns = [names.index(item.name) for item in sentence.positive_statements if item.name in names]
    return slice_attention[:, columns].sum(axis=1) if columns else None


class SentenceScorer:
    """Scores each sentence of one study's draft with some of its slices masked; a `Score`.

    The tokens of the draft are given, and the cues stay those of the prompt: only the slices change.
    """

    def __init__(
        self,
        model: MsVlm,
        text: ReportText,
        batch: StudyBatch,
        cues: str,
        report: str,
        sentences: Sequence[DraftSentence],
    ) -> None:
        self._model = model
        self._batch = batch
        self._text_batch = text.training_batch([cues], [report]).to(batch.study_index.device)
        self._sentences = sentences
        assert batch.slice_vectors is not None
        numbers = self._text_batch.input_ids.shape[1] * len(text.tokenizer) + batch.slice_vectors.numel()
        self._at_once = max(1, _NUMBERS_AT_ONCE // numbers)

    def __call__(self, masked: NDArray[np.bool_]) -> NDArray[np.float64]:
        """Returns the log-probability of each sentence in nats, (maskings, sentences), for (maskings, slices)."""
        starts = range(0, len(masked), self._at_once)
        return np.concatenate([self._score(masked[start : start + self._at_once]) for start in starts])

    def _score(self, masked: NDArray[np.bool_]) -> NDArray[np.float64]:
        with torch.inference_mode():
            flat = torch.from_numpy(masked.ravel()).to(self._batch.study_index.device)
            reading = self._model.read(_repeat(self._batch, len(masked)), flat)
            assert reading.visual_tokens is not None, "a model without a language model cannot score sentences"
            one = self._text_batch
            repeated = TextBatch(*(part.expand(len(masked), -1) for part in (one.input_ids, one.attention_mask)))
            logits = self._model.logits(reading.visual_tokens, repeated)
            scores = self._log_probabilities(logits).double().cpu().numpy()
        return np.stack([scores[:, own.first_token : own.end_token].sum(axis=1) for own in self._sentences], axis=1)

    def _log_probabilities(self, logits: Tensor) -> Tensor:
        """Returns (maskings, report tokens): log-probability of each token, from the position before it."""
        assert self._text_batch.labels is not None
        positions = torch.nonzero(self._text_batch.labels[0] != IGNORED_LABEL)[:, 0]
        labels = self._text_batch.labels[0, positions].expand(len(logits), -1)
        return torch.log_softmax(logits[:, positions - 1].float(), dim=-1).gather(2, labels[..., None])[..., 0]


def _repeat(batch: StudyBatch, times: int) -> StudyBatch:
    """Returns a batch that holds one encoded study several times."""
    assert batch.slice_vectors is not None
    return StudyBatch(
        study_index=torch.arange(times, device=batch.study_index.device).repeat_interleave(len(batch.study_index)),
        series_index=batch.series_index.repeat(times),
        position_mm=batch.position_mm.repeat(times, 1),
        normal_ras=batch.normal_ras.repeat(times, 1),
        role_index=batch.role_index.repeat(times),
        slice_vectors=batch.slice_vectors.repeat(times, 1, 1),
    )
