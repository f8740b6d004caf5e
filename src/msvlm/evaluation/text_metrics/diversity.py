"""How much reports differ from one another: a model that has collapsed writes the same of everyone."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

from msvlm.labeling import split_sentences

_WORD = re.compile(r"[a-z]+(?:-[a-z]+)*")


@dataclass(frozen=True)
class Diversity:
    """What of the texts is not said twice. Blanks and case make no difference.

    Attributes:
        distinct: how many of the texts differ, as a share of all.
        sentences: how many different sentences they are made of.
        vocabulary: the share of the words of the true reports that they use; None where no true report has a word.
    """

    distinct: float
    sentences: int
    vocabulary: float | None


def score_diversity(texts: Sequence[str], references: Sequence[str] = ()) -> Diversity:
    """The diversity of some texts, one a study at least, beside the true reports of the same studies."""
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
