"""Diversity of the reports of a system: a collapsed model writes the same report for all studies."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from msvlm.labeling.scope import split_sentences

_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")


@dataclass(frozen=True)
class Diversity:
    """Diversity of texts; blanks and case are ignored.

    Attributes:
        distinct: number of different texts over number of texts.
        sentences: number of different sentences.
        vocabulary: share of the reference reports' words that the texts use; None without reference words.
    """

    distinct: float
    sentences: int
    vocabulary: float | None


def score_diversity(texts: Sequence[str], references: Sequence[str] = ()) -> Diversity:
    """Returns the diversity of texts, at least one, and their share of the vocabulary of the reference reports."""
    plain = [_plain(text) for text in texts]
    used = {word for text in plain for word in _WORD.findall(text)}
    wanted = {word for text in references for word in _WORD.findall(_plain(text))}
    return Diversity(
        distinct=len(set(plain)) / len(plain),
        sentences=len({_plain(sentence) for text in texts for sentence in split_sentences(text)}),
        vocabulary=len(used & wanted) / len(wanted) if wanted else None,
    )


def _plain(text: str) -> str:
    return " ".join(text.lower().split())
