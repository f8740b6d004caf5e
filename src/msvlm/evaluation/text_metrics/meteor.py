"""METEOR 1.5 for English with its exact and stem matchers: what one report adds to a score, and scores from sums.

Method: Meteor Universal (Denkowski and Lavie 2014), English, task "rank". Its other two matchers need WordNet and a
table of paraphrases and are not here: this is `-m "exact stem" -w "1.0 0.6"` of the Java program.
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
"""Weight of recall against precision; shape and weight of the penalty for chunks; weight of content words."""
STEM_WEIGHT = 0.6
"""What a match of stems counts; a match of words counts 1."""
BEAM = 40

# Those of relative frequency above 1/1000 in the English text of WMT, as METEOR lists them.
_FUNCTION_WORDS_TEXT = (
    "the , . to of and a in that for \" is on 's it with was as said at he by be from have has are his but an this not "
    "i will ’ they ) -rrb- ( -lrb- who their had we which were been more or s its would about new one after you : also "
    "up when there than $ all out her people she year two - can if last first “ over other ” into some what so -- no "
    "time years could ? 't — '"
)
_FUNCTION_WORDS = frozenset(_FUNCTION_WORDS_TEXT.split())
# A path's cost is one number: most words matched exactly, then fewest chunks, then least distance.
_EXACT_MATCH, _CHUNK = -(1 << 48), 1 << 32
_STEMMER = EnglishStemmer()  # not `snowballstemmer.stemmer`, which takes PyStemmer, of any version, where there is one


def meteor_statistics(generated: Sequence[str], references: Sequence[Sequence[str]]) -> NDArray[np.float64]:
    """What a study adds to METEOR, with the reference that scores highest; tokens as `meteor_tokens` cuts them.

    (6,): matched weight and all weight of the generated words, the same of the reference's, chunks, matched words.
    """
    return max((_statistics(list(generated), list(each)) for each in references), key=meteor_score)


def meteor_score(statistics: NDArray[np.float64]) -> float:
    """The score that statistics of one study, or sums over studies, give; 0 where no word is matched."""
    matched, weight, reference_matched, reference_weight, chunks, matches = statistics.tolist()
    if not matches:
        return 0.0
    precision, recall = matched / weight, reference_matched / reference_weight
    mean = precision * recall / (ALPHA * precision + (1 - ALPHA) * recall)
    return mean * (1 - GAMMA * (chunks / matches) ** BETA)


def _statistics(generated: list[str], reference: list[str]) -> NDArray[np.float64]:
    places = align(generated, reference)
    matched = reference_matched = 0.0
    chunks = 0
    last = None
    for word, place in zip(reference, places, strict=True):
        if place is not None:
            credit = 1.0 if generated[place] == word else STEM_WEIGHT
            matched += credit * _weight(generated[place])
            reference_matched += credit * _weight(word)
            chunks += last is None or place != last + 1
        last = place
    matches = sum(place is not None for place in places)
    if chunks == 1 and matches == len(generated) == len(reference):
        chunks = 0  # all words in the same order: no penalty, in sums over studies either
    weight, reference_weight = sum(map(_weight, generated)), sum(map(_weight, reference))
    return np.array([matched, weight, reference_matched, reference_weight, chunks, matches])


def align(generated: list[str], reference: list[str]) -> list[int | None]:
    """For each word of the reference the place of the generated word that it is matched with; no place comes twice.

    A beam search from left to right for the most words matched exactly, then the fewest chunks, then the least
    distance. Two habits of METEOR 1.5 are kept, as its scores depend on them: a match of stems counts nothing in the
    search, and a candidate's distance is charged to the candidates after it and to leaving the word unmatched.
    """
    if generated == reference:
        return list(range(len(reference)))
    candidates = _candidates(generated, reference)
    claims = Counter(place for places in candidates for place in places)
    definite = [len(places) == 1 and claims[places[0]] == 1 for places in candidates]
    taken = sum(1 << places[0] for places, is_definite in zip(candidates, definite, strict=True) if is_definite)
    paths = [_Path(0, None, taken, None)]
    for index, places in enumerate(candidates):
        gains = [_EXACT_MATCH * (generated[place] == reference[index]) for place in places]
        choices: list[tuple[int, _Path, int | None]] = []
        for path in paths:
            cost = path.cost
            for place, gain in zip(places, gains, strict=True):
                distance = abs(index - place)
                if definite[index] or not path.taken >> place & 1:
                    gap = _CHUNK * (path.goes_on_at not in (None, place))
                    choices.append((cost + gain + gap + distance * definite[index], path, place))
                    cost += distance
            if not definite[index]:
                choices.append((cost + _CHUNK * (path.goes_on_at is not None), path, None))
        choices.sort(key=itemgetter(0))
        paths = [path.after(cost, index, place) for cost, path, place in choices[:BEAM]]
    best = min(paths, key=lambda path: path.cost + _CHUNK * (path.goes_on_at is not None))
    return best.places(len(reference))


class _Path(NamedTuple):
    """Choices made for the first words of the reference.

    Attributes:
        goes_on_at: the place that would go on with the chunk now open; None where none is open.
        taken: places that are matched already, or kept for their only match, as bits.
        links: the matches so far, the last one first: (index in the reference, place, those before).
    """

    cost: int
    goes_on_at: int | None
    taken: int
    links: "_Links | None"

    def after(self, cost: int, index: int, place: int | None) -> "_Path":
        """The path that goes on from here with this match, or with none, for the next word of the reference."""
        if place is None:
            return _Path(cost, None, self.taken, self.links)
        return _Path(cost, place + 1, self.taken | 1 << place, (index, place, self.links))

    def places(self, length: int) -> list[int | None]:
        """What is matched with each of so many words of the reference."""
        places: list[int | None] = [None] * length
        links = self.links
        while links is not None:
            index, place, links = links
            places[index] = place
        return places


_Links = tuple[int, int, "_Links | None"]


def _candidates(generated: list[str], reference: list[str]) -> list[list[int]]:
    """For each word of the reference the places of the same word, then those of other words of the same stem."""
    of_word: dict[str, list[int]] = {}
    of_stem: dict[str, list[int]] = {}
    for place, word in enumerate(generated):
        of_word.setdefault(word, []).append(place)
        of_stem.setdefault(_stem(word), []).append(place)
    return [
        of_word.get(word, []) + [place for place in of_stem.get(_stem(word), []) if generated[place] != word]
        for word in reference
    ]


@lru_cache(maxsize=1 << 16)
def _stem(word: str) -> str:
    return str(_STEMMER.stemWord(word))


def _weight(word: str) -> float:
    return 1 - DELTA if word in _FUNCTION_WORDS else DELTA
