"""Generated reports against reference texts: BLEU-1 to 4, ROUGE-L, METEOR and CIDEr, as coco-caption computes them.

Without Java; `docs/metrics.md` tells the variant of each and how near it comes to its reference implementation. They
say how alike texts are, not whether a report is right: read them beside the scores of what reports state.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from math import exp

import numpy as np
from numpy.typing import NDArray

from msvlm.errors import DataError
from msvlm.evaluation.cider import ORDERS, Ngram, cider_scores, count_ngrams
from msvlm.evaluation.meteor import meteor_score, meteor_statistics
from msvlm.evaluation.report_tokens import coco_tokens, meteor_tokens

ROUGE_BETA = 1.2
"""How much more recall counts than precision in ROUGE-L."""
_TINY, _SMALL = 1e-15, 1e-9


@dataclass(frozen=True)
class TextScores:
    """Scores of generated texts, 0 to 1, CIDEr 0 to 10; BLEU and METEOR of sums over studies, the others of means."""

    bleu_1: float
    bleu_2: float
    bleu_3: float
    bleu_4: float
    rouge_l: float
    meteor: float
    cider: float


@dataclass(frozen=True)
class TextStatistics:
    """What each study adds to each score, so that any choice of studies is scored without reading a text again.

    Attributes:
        bleu: (studies, 10), runs of 1 to 4 words found in a reference, all such runs, words generated and words of the
            reference nearest in length.
        rouge_l, cider: (studies,), each study's own score; how rare CIDEr takes a run of words to be comes from the
            references of all these studies, whichever are chosen.
        meteor: (studies, 6), as `meteor_statistics` gives them.
    """

    bleu: NDArray[np.int64]
    rouge_l: NDArray[np.float64]
    meteor: NDArray[np.float64]
    cider: NDArray[np.float64]

    def scores(self, rows: NDArray[np.int64] | None = None) -> TextScores:
        """The scores of the studies in these rows, each as often as it stands there; of all studies without rows.

        Raises:
            DataError: there is no row.
        """
        chosen = np.arange(len(self.bleu)) if rows is None else rows
        if not len(chosen):
            raise DataError("no study is chosen to score texts of; choose one at least")
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

    def of_each_study(self) -> tuple[TextScores, ...]:
        """The scores of every study by itself, in order."""
        return tuple(self.scores(np.array([row])) for row in range(len(self.bleu)))


def score_texts(generated: Sequence[str], references: Sequence[Sequence[str]]) -> TextScores:
    """Scores one generated text for each study against the study's references, one or more.

    Raises:
        DataError: there are not as many of both, or none, or a study's references hold no word.
    """
    return text_statistics(generated, references).scores()


def text_statistics(generated: Sequence[str], references: Sequence[Sequence[str]]) -> TextStatistics:
    """What `score_texts` scores, study by study; for a bootstrap, which scores many choices of the same studies.

    Raises:
        DataError: as `score_texts`.
    """
    if len(generated) != len(references) or not generated:
        raise DataError(
            f"{len(generated)} generated texts and references of {len(references)} studies; as many of both"
        )
    tokens = [coco_tokens(text) for text in generated]
    wanted = [_reference_tokens(row, texts) for row, texts in enumerate(references)]
    pairs = list(zip(tokens, wanted, strict=True))
    return TextStatistics(
        bleu=np.array([_bleu_counts(text, own) for text, own in pairs]),
        rouge_l=np.array([_rouge_l(text, own) for text, own in pairs]),
        meteor=np.stack(
            [meteor_statistics(meteor_tokens(text), [meteor_tokens(each) for each in own]) for text, own in pairs]
        ),
        cider=cider_scores(tokens, wanted),
    )


def _reference_tokens(row: int, texts: Sequence[str]) -> list[list[str]]:
    if isinstance(texts, str):
        raise DataError(f"row {row}: its references are one text and not a list of texts; put it into a list")
    tokens = [coco_tokens(text) for text in texts]
    if not tokens or not all(tokens):
        raise DataError(
            f"row {row}: {len(tokens)} references, of which {tokens.count([])} without a word; leave it out"
        )
    return tokens


def _bleu_counts(tokens: list[str], references: list[list[str]]) -> list[int]:
    most: Counter[Ngram] = Counter()
    for each in references:
        most |= count_ngrams(each)
    found = [0] * ORDERS
    for ngram, count in (count_ngrams(tokens) & most).items():
        found[len(ngram) - 1] += count
    there = [max(len(tokens) - order, 0) for order in range(ORDERS)]
    nearest = min((abs(len(each) - len(tokens)), len(each)) for each in references)[1]
    return [*found, *there, len(tokens), nearest]


def _bleu(counts: NDArray[np.int64]) -> list[float]:
    """BLEU-1 to BLEU-4 of summed counts."""
    found, there, (length, wanted) = counts[:ORDERS], counts[ORDERS:-2], counts[-2:]
    precisions = (found + _TINY) / (there + _SMALL)
    ratio = (length + _TINY) / (wanted + _SMALL)
    brevity = exp(1 - 1 / ratio) if ratio < 1 else 1.0
    return [float(precisions[:order].prod() ** (1 / order) * brevity) for order in range(1, ORDERS + 1)]


def _rouge_l(tokens: list[str], references: list[list[str]]) -> float:
    """The weighted mean of the best precision and the best recall, which may be of two references."""
    common = [_longest_common_subsequence(tokens, each) for each in references]
    precision = max(common) / max(len(tokens), 1)
    recall = max(shared / len(each) for shared, each in zip(common, references, strict=True))
    if not precision:
        return 0.0
    return (1 + ROUGE_BETA**2) * precision * recall / (recall + ROUGE_BETA**2 * precision)


def _longest_common_subsequence(first: list[str], second: list[str]) -> int:
    """Its length. A row of the usual table at once, as bits of one number: a bit falls where the length grows.

    Method: Hyyro 2004, "Bit-parallel LCS-length computation revisited".
    """
    places: dict[str, int] = {}
    for place, word in enumerate(first):
        places[word] = places.get(word, 0) | 1 << place
    everywhere = (1 << len(first)) - 1
    row = everywhere
    for word in second:
        matched = row & places.get(word, 0)
        row = (row + matched | row - matched) & everywhere
    return len(first) - row.bit_count()
