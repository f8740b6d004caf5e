"""METEOR 1.5 for English with its exact and stem matchers: statistics of a study, and scores from sums of them.

Method: Meteor Universal (Denkowski and Lavie 2014), English, task "rank", as `-m "exact stem" -w "1.0 0.6"` of the Java
program. Its other two matchers, which need WordNet and a paraphrase table, are not implemented.
"""

from collections import Counter
from collections.abc import Sequence
from functools import lru_cache
from operator import itemgetter
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from snowballstemmer.english_stemmer import EnglishStemmer

ALPHA, BETA, GAMMA, DELTA = 0.85, 0.2, 0.6, 0.75
"""Weight of recall against precision; exponent and weight of the chunk penalty; weight of content words."""
STEM_WEIGHT = 0.6
"""Weight of a match of stems; a match of words has weight 1."""
BEAM = 40
"""Paths kept in the search for an alignment."""

# Words of relative frequency above 1/1000 in the English text of WMT, as METEOR lists them.
_FUNCTION_WORDS_TEXT = (
    "the , . to of and a in that for \" is on 's it with was as said at he by be from have has are his but an this not "
    "i will ’ they ) -rrb- ( -lrb- who their had we which were been more or s its would about new one after you : also "
    "up when there than $ all out her people she year two - can if last first “ over other ” into some what so -- no "
    "time years could ? 't — '"
)
_FUNCTION_WORDS = frozenset(_FUNCTION_WORDS_TEXT.split())
# The cost of a path, in one number: most exact matches first, then fewest chunks, then least distance.
_EXACT_MATCH, _CHUNK = -(1 << 48), 1 << 32
_STEMMER = EnglishStemmer()  # `snowballstemmer.stemmer` would use any installed version of PyStemmer


def meteor_statistics(generated: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """Returns the statistics of a study with the reference that scores highest; tokens are those of `meteor_tokens`.

    (6,): matched and total weight of the generated words, matched and total weight of the reference's words, chunks,
    matched words.
    """
    return max((_statistics(list(generated), list(each)) for each in references), key=meteor_score)


def meteor_score(statistics: NDArray[np.float64]) -> float:
    """Returns the score of the statistics of a study, or of their sums over studies; 0 without matched words."""
    matched, weight, reference_matched, reference_weight, chunks, matches = statistics.tolist()
    if not matches:
        return 0.0
    precision, recall = matched / weight, reference_matched / reference_weight
    mean = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
    return mean * (1 - GAMMA * (chunks / matches) ** BETA)


def _statistics(generated: list[str], reference: list[str]) -> NDArray[np.float64]:
    positions = align(generated, reference)
    matched = reference_matched = 0.0
    chunks = 0
    last = None
    for word, position in zip(reference, positions, strict=True):
        if position is not None:
            credit = 1.0 if generated[position] == word else STEM_WEIGHT
            matched += credit * _weight(generated[position])
            reference_matched += credit * _weight(word)
            chunks += last is None or position != last + 1
        last = position
    matches = sum(position is not None for position in positions)
    if chunks == 1 and matches == len(generated) == len(reference):
        chunks = 0  # identical texts have no penalty, also in sums over studies
    weight, reference_weight = sum(map(_weight, generated)), sum(map(_weight, reference))
    return np.array([matched, weight, reference_matched, reference_weight, chunks, matches])


def align(generated: list[str], reference: list[str]) -> list[int | None]:
    """Returns for each reference word the index of the generated word matched with it; each index at most once.

    A beam search from left to right for the most exact matches, then the fewest chunks, then the least distance. Two
    properties of METEOR 1.5 are kept since its scores depend on them: stem matches do not count in the search, and the
    distance of a candidate is added to the cost of later candidates and of leaving the word unmatched.
    """
    if generated == reference:
        return list(range(len(reference)))
    candidates = _candidates(generated, reference)
    uses = Counter(position for positions in candidates for position in positions)
    definite = [len(positions) == 1 and uses[positions[0]] == 1 for positions in candidates]
    taken = sum(1 << positions[0] for positions, is_definite in zip(candidates, definite, strict=True) if is_definite)
    paths = [_Path(0, None, taken, None)]
    for index, positions in enumerate(candidates):
        gains = [_EXACT_MATCH * (generated[position] == reference[index]) for position in positions]
        choices: list[tuple[int, _Path, int | None]] = []
        for path in paths:
            cost = path.cost
            for position, gain in zip(positions, gains, strict=True):
                distance = abs(index - position)
                if definite[index] or not path.taken >> position & 1:
                    gap = _CHUNK * (path.continues_at not in (None, position))
                    choices.append((cost + gain + gap + distance * definite[index], path, position))
                    cost += distance
            if not definite[index]:
                choices.append((cost + _CHUNK * (path.continues_at is not None), path, None))
        choices.sort(key=itemgetter(0))
        paths = [path.after(cost, index, position) for cost, path, position in choices[:BEAM]]
    best = min(paths, key=lambda path: path.cost + _CHUNK * (path.continues_at is not None))
    return best.positions(len(reference))


class _Path(NamedTuple):
    """Matches of the first words of the reference.

    Attributes:
        continues_at: the position that continues the open chunk; None without an open chunk.
        taken: positions that are matched, or reserved for their only match, as bits.
        links: the matches so far, the last one first: (index in the reference, position, earlier matches).
    """

    cost: int
    continues_at: int | None
    taken: int
    links: "_Links | None"

    def after(self, cost: int, index: int, position: int | None) -> "_Path":
        """Returns the path extended by a match of the next reference word, or by none."""
        if position is None:
            return _Path(cost, None, self.taken, self.links)
        return _Path(cost, position + 1, self.taken | 1 << position, (index, position, self.links))

    def positions(self, length: int) -> list[int | None]:
        """Returns the position matched with each of the first `length` reference words."""
        positions: list[int | None] = [None] * length
        links = self.links
        while links is not None:
            index, position, links = links
            positions[index] = position
        return positions


_Links = tuple[int, int, "_Links | None"]


def _candidates(generated: list[str], reference: list[str]) -> list[list[int]]:
    """Returns for each reference word the positions of the same word, then of other words with the same stem."""
    of_word: dict[str, list[int]] = {}
    of_stem: dict[str, list[int]] = {}
    for position, word in enumerate(generated):
        of_word.setdefault(word, []).append(position)
        of_stem.setdefault(_stem(word), []).append(position)
    return [
        of_word.get(word, []) + [position for position in of_stem.get(_stem(word), []) if generated[position] != word]
        for word in reference
    ]


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    return str(_STEMMER.stemWord(word))


def _weight(word: str) -> float:
    return 1 - DELTA if word in _FUNCTION_WORDS else DELTA
