"""Cues: a study's findings as a line of text that goes before its report; and wrong ones, to learn how far to trust."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from msvlm.errors import ConfigError
from msvlm.vocabulary.vocabulary import DEGREES, SIDES, Certainty, FindingKind, FindingStatement, Vocabulary

_DRAWN_SIZES_MM = (6.0, 40.0)


def write_cues(statements: Iterable[FindingStatement], vocabulary: Vocabulary) -> str:
    """The findings that are stated, possible ones too, in the order of the vocabulary: 'lung nodule (right, 14 mm)'.

    Several are parted by semicolons; 'none' says that there are none.
    """
    stated = {vocabulary.kind(item.name).name: item for item in statements if item.certainty.is_positive}
    ordered = [stated[name] for name in vocabulary.names if name in stated]
    return "; ".join(_cue(item, vocabulary) for item in ordered) or "none"


@dataclass(frozen=True)
class CueErrors:
    """How often a reader is wrong about each finding; what is in no array is never got wrong.

    Attributes:
        names: of findings.
        missed: share of the studies with the finding in which it is not told.
        invented: share of the studies without it in which it is told.
        misplaced: share of the findings rightly told that are told at another place, and of another size.
    """

    names: tuple[str, ...]
    missed: tuple[float, ...]
    invented: tuple[float, ...]
    misplaced: float

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.missed) == len(self.invented):
            raise ConfigError(f"{len(self.names)} findings, {len(self.missed)} and {len(self.invented)} shares")


def corrupt_cues(
    statements: Iterable[FindingStatement],
    generator: np.random.Generator,
    errors: CueErrors,
    vocabulary: Vocabulary,
) -> tuple[FindingStatement, ...]:
    """The true statements as a reader with these errors would give them, so that a model learns how far to trust cues.

    What is invented has a place and a size like what is true: nothing but the image gives it away.
    """
    missed = dict(zip(errors.names, errors.missed, strict=True))
    invented = dict(zip(errors.names, errors.invented, strict=True))
    told = []
    for item in statements:
        is_there = item.certainty.is_positive
        is_wrong = generator.random() < (missed if is_there else invented).get(item.name, 0.0)
        is_misplaced = generator.random() < errors.misplaced
        if is_wrong and is_there:
            told.append(FindingStatement(item.name, Certainty.ABSENT))
        elif is_wrong or (is_there and is_misplaced):
            told.append(_drawn(vocabulary.kind(item.name), generator))
        else:
            told.append(item)
    return tuple(told)


def _cue(item: FindingStatement, vocabulary: Vocabulary) -> str:
    details = [word for word in vocabulary.attributes if word in item.attributes]
    if item.size_mm is not None:
        details.append(f"{item.size_mm:.0f} mm")
    term = vocabulary.kind(item.name).term
    return f"{term} ({', '.join(details)})" if details else term


def _drawn(kind: FindingKind, generator: np.random.Generator) -> FindingStatement:
    """A finding somewhere, of some size where its kind is measured."""
    size_mm = float(np.rint(generator.uniform(*_DRAWN_SIZES_MM))) if kind.is_measured else None
    return FindingStatement(kind.name, Certainty.PRESENT, _drawn_attributes(kind, generator), size_mm)


def _drawn_attributes(kind: FindingKind, generator: np.random.Generator) -> frozenset[str]:
    """A side, a lobe of it and a degree at random, as far as the finding can have them."""
    side = _one_of([word for word in SIDES if word in kind.attributes], generator)
    parts = [word for word in kind.attributes if side and word not in SIDES and word.startswith(side[0])]
    degrees = [word for word in DEGREES if word in kind.attributes]
    return frozenset((*side, *_one_of(parts, generator), *_one_of(degrees, generator)))


def _one_of(words: Sequence[str], generator: np.random.Generator) -> tuple[str, ...]:
    """One of the words, or none where there are none."""
    return (words[int(generator.integers(len(words)))],) if words else ()
