"""Which slices a sentence rests on: slices are hidden and the sentence is scored again.

First whole zones are hidden, then single places inside the zones that matter most and where the findings head looked,
so that long studies cost little more than short ones.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msvlm.batch import StudyBatch
from msvlm.findings import Certainty, FindingStatement
from msvlm.report import FAINT_NATS

ZONES = 12
PLACES = 36
PLACES_A_SENTENCE = 3
HIDDEN_MM = 6.0
"""A slice is hidden with all slices of its series that lie no farther than this from it, and one neighbour at least."""

Score = Callable[[NDArray[np.bool_]], NDArray[np.float64]]
"""Which slices are hidden (hidings, slices) -> log-probability of each sentence, in nats (hidings, sentences)."""


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
