"""BLEU-1 to 4, ROUGE-L, METEOR and CIDEr of generated reports against references, as coco-caption computes them.

`docs/metrics.md` lists the variants and compares them with the reference implementations, which need Java. They measure
the similarity of texts, not whether a report is correct.

Methods: CIDEr is CIDEr-D (arXiv 1411.5726), the class `Cider` of coco-caption, without stemming. ROUGE-L: Lin 2004.
"""

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from math import exp, log, sqrt

import numpy as np
from numpy.typing import NDArray

from msvlm.errors import DataError
from msvlm.evaluation.text_metrics.meteor import meteor_score, meteor_statistics
from msvlm.evaluation.text_metrics.tokens import coco_tokens, meteor_tokens

ORDERS = 4
"""N-grams of 1 to 4 words, in BLEU and CIDEr."""
ROUGE_BETA = 1.2
"""Weight of recall against precision in ROUGE-L."""
CIDER_SIGMA = 6.0
"""Width in words of CIDEr's penalty for a difference in length."""
_TINY, _SMALL = 1e-15, 1e-9
"""Coco-caption's constants against zero denominators in BLEU."""

Ngram = tuple[str, ...]


@dataclass(frozen=True)
class TextScores:
    """Scores of generated texts, 0 to 1, CIDEr 0 to 10; BLEU and METEOR from sums over studies, the others as means."""

    bleu_1: float
    bleu_2: float
    bleu_3: float
    bleu_4: float
    rouge_l: float
    meteor: float
    cider: float


@dataclass(frozen=True)
class TextStatistics:
    """The contribution of each study to each score, so that any selection of studies is scored without the texts.

    Attributes:
        bleu: (studies, 10), n-grams of order 1 to 4 found in a reference, all such n-grams, words generated, and words
            of the reference of the closest length.
        rouge_l, cider: (studies,), the score of each study; CIDEr's idf comes from the references of all studies.
        meteor: (studies, 6), see `meteor_statistics`.
    """

    bleu: NDArray[np.int64]
    rouge_l: NDArray[np.float64]
    meteor: NDArray[np.float64]
    cider: NDArray[np.float64]

    def scores(self, studies: NDArray[np.int64] | None = None) -> TextScores:
        """Returns the scores of the selected studies, which may repeat; of all studies without a selection.

        Raises:
            DataError: the selection is empty.
        """
        chosen = np.arange(len(self.bleu)) if studies is None else studies
        if not len(chosen):
            raise DataError("no study is selected for text scores; select one at least")
        bleu_1, bleu_2, bleu_3, bleu_4 = _bleu(self.bleu[chosen].sum(0))
        return TextScores(
            bleu_1=bleu_1,
            bleu_2=bleu_2,
            bleu_3=bleu_3,
            bleu_4=bleu_4,
            rouge_l=float(self.rouge_l[chosen].mean()),
            meteor=meteor_score(self.meteor[chosen].sum(0)),
            cider=float(self.cider[chosen].mean()),
        )


def score_texts(generated: Sequence[str], references: Sequence[Sequence[str]]) -> TextScores:
    """Scores one generated text for each study against the study's references, one or more.

    Raises:
        DataError: the numbers of both differ or are 0, or a reference has no word.
    """
    return text_statistics(generated, references).scores()


def text_statistics(generated: Sequence[str], references: Sequence[Sequence[str]]) -> TextStatistics:
    """Returns what `score_texts` sums up, study by study, for a bootstrap over the same studies.

    Raises:
        DataError: as `score_texts`.
    """
    if len(generated) != len(references) or not generated:
        raise DataError(
            f"{len(generated)} generated texts and references of {len(references)} studies; give as many of both"
        )
    tokens = [coco_tokens(text) for text in generated]
    wanted = [_reference_tokens(study, texts) for study, texts in enumerate(references)]
    pairs = list(zip(tokens, wanted, strict=True))
    return TextStatistics(
        bleu=np.array([_bleu_counts(text, own) for text, own in pairs]),
        rouge_l=np.array([_rouge_l(text, own) for text, own in pairs]),
        meteor=np.stack(
            [meteor_statistics(meteor_tokens(text), [meteor_tokens(each) for each in own]) for text, own in pairs]
        ),
        cider=_cider(tokens, wanted),
    )


def _reference_tokens(study: int, texts: Sequence[str]) -> list[list[str]]:
    if isinstance(texts, str):
        raise DataError(f"study at index {study}: the references are one text, not a list of texts; put it into a list")
    tokens = [coco_tokens(text) for text in texts]
    if not tokens or not all(tokens):
        raise DataError(
            f"study at index {study}: {len(tokens)} references, {tokens.count([])} of them without a word; leave it out"
        )
    return tokens


def _bleu_counts(tokens: list[str], references: list[list[str]]) -> list[int]:
    most: Counter[Ngram] = Counter()
    for each in references:
        most |= _count_ngrams(each)
    found = [0] * ORDERS
    for ngram, count in (_count_ngrams(tokens) & most).items():
        found[len(ngram) - 1] += count
    possible = [max(len(tokens) - order, 0) for order in range(ORDERS)]
    closest = min((abs(len(each) - len(tokens)), len(each)) for each in references)[1]
    return [*found, *possible, len(tokens), closest]


def _bleu(counts: NDArray[np.int64]) -> list[float]:
    """Returns BLEU-1 to BLEU-4 of summed counts."""
    found, possible, (length, wanted) = counts[:ORDERS], counts[ORDERS:-2], counts[-2:]
    precisions = (found + _TINY) / (possible + _SMALL)
    ratio = (length + _TINY) / (wanted + _SMALL)
    brevity = exp(1 - 1 / ratio) if ratio < 1 else 1.0
    return [float(precisions[:order].prod() ** (1 / order) * brevity) for order in range(1, ORDERS + 1)]


def _rouge_l(tokens: list[str], references: list[list[str]]) -> float:
    """Returns the weighted mean of the best precision and the best recall, which may come from different references."""
    common = [_longest_common_subsequence(tokens, each) for each in references]
    precision = max(common) / max(len(tokens), 1)
    recall = max(shared / len(each) for shared, each in zip(common, references, strict=True))
    if not precision:
        return 0.0
    return (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)


def _longest_common_subsequence(first: list[str], second: list[str]) -> int:
    """Returns its length; one row of the dynamic-programming table is one integer, with a bit cleared per step.

    Method: Hyyro 2004, "Bit-parallel LCS-length computation revisited".
    """
    positions: dict[str, int] = {}
    for position, word in enumerate(first):
        positions[word] = positions.get(word, 0) | 1 << position
    all_bits = (1 << len(first)) - 1
    row = all_bits
    for word in second:
        matched = row & positions.get(word, 0)
        row = (row + matched | row - matched) & all_bits
    return len(first) - row.bit_count()


def _count_ngrams(tokens: Sequence[str]) -> Counter[Ngram]:
    """Returns the counts of the n-grams of order 1 to 4."""
    return Counter(
        tuple(tokens[start : start + order])
        for order in range(1, ORDERS + 1)
        for start in range(len(tokens) - order + 1)
    )


def _cider(generated: Sequence[Sequence[str]], references: Sequence[Sequence[Sequence[str]]]) -> NDArray[np.float64]:
    """Returns CIDEr of each study, (studies,), 0 to 10; the idf of an n-gram comes from all studies' references.

    N-grams of all studies' references have idf 0, so a single study, or studies with the same reference, score 0.
    """
    document_counts: Counter[Ngram] = Counter()
    for own in references:
        document_counts.update({ngram for tokens in own for ngram in _count_ngrams(tokens)})
    idf = _Idf(len(references), document_counts)
    scores = np.zeros(len(references))
    for study, (tokens, own) in enumerate(zip(generated, references, strict=True)):
        weights = idf.weigh(tokens)
        similarities = [_similarity(weights, idf.weigh(each)) for each in own]
        # coco-caption measures the length in bigrams
        lengths = [max(len(each) - 1, 0) - max(len(tokens) - 1, 0) for each in own]
        penalised = [
            similarity * exp(-(length**2) / (2 * CIDER_SIGMA**2))
            for similarity, length in zip(similarities, lengths, strict=True)
        ]
        scores[study] = 10 * sum(penalised) / len(own)
    return scores


@dataclass(frozen=True)
class _Idf:
    """Tf-idf weights: the count of an n-gram in a text times its inverse document frequency."""

    studies: int
    document_counts: Counter[Ngram]

    def weigh(self, tokens: Sequence[str]) -> list[dict[Ngram, float]]:
        """Returns the weights of a text's n-grams, by order."""
        weights: list[dict[Ngram, float]] = [{} for _ in range(ORDERS)]
        for ngram, count in _count_ngrams(tokens).items():
            weights[len(ngram) - 1][ngram] = count * log(self.studies / max(1, self.document_counts[ngram]))
        return weights


def _similarity(generated: Iterable[dict[Ngram, float]], reference: Iterable[dict[Ngram, float]]) -> float:
    """Returns the mean over orders of the cosine of two texts' weights, with the generated text's weights clipped."""
    total = 0.0
    for ours, theirs in zip(generated, reference, strict=True):
        product = sum(min(weight, theirs[ngram]) * theirs[ngram] for ngram, weight in ours.items() if ngram in theirs)
        if product:
            total += product / (_norm(ours) * _norm(theirs))
    return total / ORDERS


def _norm(weights: dict[Ngram, float]) -> float:
    return sqrt(sum(weight * weight for weight in weights.values()))
