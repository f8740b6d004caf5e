"""CIDEr as coco-caption and nlg-eval print it: how alike two reports are in rare words.

Method: CIDEr-D (arXiv 1411.5726), which is what their class `Cider` computes: counts clipped to the reference's, and a
penalty for another length; without stemming.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

ORDERS = 4
"""Runs of 1 to 4 words."""
SIGMA = 6.0
"""Width of the penalty for another length, in words."""

Ngram = tuple[str, ...]


def count_ngrams(tokens: Sequence[str]) -> Counter[Ngram]:
    """How often each run of 1 to 4 tokens comes."""
    return Counter(
        tuple(tokens[start : start + order])
        for order in range(1, ORDERS + 1)
        for start in range(len(tokens) - order + 1)
    )


def cider_scores(
    generated: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]
) -> NDArray[np.float64]:
    """(studies,): CIDEr of each study, 0 to 10; in how many studies' references a run stands decides how rare it is.

    What stands in all studies' references counts nothing, so a study scored alone, or studies that all have the same
    reference, score 0.
    """
    found_in: Counter[Ngram] = Counter()
    for of_study in references:
        found_in.update({ngram for tokens in of_study for ngram in count_ngrams(tokens)})
    rarity = _Rarity(len(references), found_in)
    scores = np.zeros(len(references))
    for row, (tokens, of_study) in enumerate(zip(generated, references, strict=True)):
        weights = rarity.weigh(tokens)
        alike = [_likeness(weights, rarity.weigh(each)) for each in of_study]
        # the length is counted in pairs of words, as there
        lengths = [max(len(each) - 1, 0) - max(len(tokens) - 1, 0) for each in of_study]
        penalised = [one * exp(-(length**2) / (2 * SIGMA**2)) for one, length in zip(alike, lengths, strict=True)]
        scores[row] = 10 * sum(penalised) / len(of_study)
    return scores


@dataclass(frozen=True)
class _Rarity:
    """Weighs runs of words by their count in a text and by how few of the studies' references have them."""

    studies: int
    found_in: Counter[Ngram]

    def weigh(self, tokens: Sequence[str]) -> list[dict[Ngram, float]]:
        """The weights of a text's runs, by their order."""
        weights: list[dict[Ngram, float]] = [{} for _ in range(ORDERS)]
        for ngram, count in count_ngrams(tokens).items():
            weights[len(ngram) - 1][ngram] = count * log(self.studies / max(1, self.found_in[ngram]))
        return weights


def _likeness(generated: Iterable[dict[Ngram, float]], reference: Iterable[dict[Ngram, float]]) -> float:
    """The mean over orders of the cosine of two texts' weights, with those of the generated text clipped."""
    total = 0.0
    for ours, theirs in zip(generated, reference, strict=True):
        product = sum(min(weight, theirs[ngram]) * theirs[ngram] for ngram, weight in ours.items() if ngram in theirs)
        if product:
            total += product / (_norm(ours) * _norm(theirs))
    return total / ORDERS


def _norm(weights: dict[Ngram, float]) -> float:
    return sqrt(sum(weight * weight for weight in weights.values()))
