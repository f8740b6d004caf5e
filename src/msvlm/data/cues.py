"""Cues: the findings of a study as a line of text before its report; corrupted in training."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from msvlm.errors import ConfigError
from msvlm.vocabulary.vocabulary import DEGREES, SIDES, Certainty, FindingKind, FindingStatement, Vocabulary

_RANDOM_SIZES_MM = (6.0, 40.0)


def write_cues(statements: Iterable[FindingStatement], vocabulary: Vocabulary) -> str:
    """Returns the present and possible findings in the order of the vocabulary: 'lung nodule (right, 14 mm)'.

    Findings are separated by semicolons; without a finding the text is 'none'.
    """
    stated = {vocabulary.kind(item.name).name: item for item in statements if item.certainty.is_positive}
    ordered = [stated[name] for name in vocabulary.names if name in stated]
    return "; ".join(_cue(item, vocabulary) for item in ordered) or "none"


@dataclass(frozen=True)
class CueErrors:
    """Error rates of predicted findings. Findings not listed have error rate 0.

    Attributes:
        names: names of the findings.
        missed: false-negative rate: fraction of the studies with the finding in which it is not predicted.
        invented: false-positive rate: fraction of the studies without the finding in which it is predicted.
        misplaced: fraction of the correctly predicted findings with a wrong location and size.
    """

    names: tuple[str, ...]
    missed: tuple[float, ...]
    invented: tuple[float, ...]
    misplaced: float

    def __post_init__(self) -> None:
        if not len(self.names) == len(self.missed) == len(self.invented):
            raise ConfigError(f"{len(self.names)} findings, {len(self.missed)} and {len(self.invented)} error rates")


def corrupt_cues(
    statements: Iterable[FindingStatement],
    generator: np.random.Generator,
    errors: CueErrors,
    vocabulary: Vocabulary,
) -> tuple[FindingStatement, ...]:
    """Returns the true statements with random errors at these rates.

    A language model that is trained with such cues does not rely on them alone. An invented finding has a location and
    a size like a true one; only the image shows that it is wrong.
    """
    missed = dict(zip(errors.names, errors.missed, strict=True))
    invented = dict(zip(errors.names, errors.invented, strict=True))
    predicted = []
    for item in statements:
        is_present = item.certainty.is_positive
        is_wrong = generator.random() < (missed if is_present else invented).get(item.name, 0.0)
        is_misplaced = generator.random() < errors.misplaced
        if is_wrong and is_present:
            predicted.append(FindingStatement(item.name, Certainty.ABSENT))
        elif is_wrong or (is_present and is_misplaced):
            predicted.append(_random_finding(vocabulary.kind(item.name), generator))
        else:
            predicted.append(item)
    return tuple(predicted)


def _cue(item: FindingStatement, vocabulary: Vocabulary) -> str:
    details = [word for word in vocabulary.attributes if word in item.attributes]
    if item.size_mm is not None:
        details.append(f"{item.size_mm:.0f} mm")
    term = vocabulary.kind(item.name).term
    return f"{term} ({', '.join(details)})" if details else term


def _random_finding(kind: FindingKind, generator: np.random.Generator) -> FindingStatement:
    """Returns a present finding with random attributes, and a random size if its kind is measured."""
    size_mm = float(np.rint(generator.uniform(*_RANDOM_SIZES_MM))) if kind.is_measured else None
    return FindingStatement(kind.name, Certainty.PRESENT, _random_attributes(kind, generator), size_mm)


def _random_attributes(kind: FindingKind, generator: np.random.Generator) -> frozenset[str]:
    """Returns a random side, a lobe of that side and a degree, of those that the kind can have."""
    side = _one_of([word for word in SIDES if word in kind.attributes], generator)
    parts = [word for word in kind.attributes if side and word not in SIDES and word.startswith(side[0])]
    degrees = [word for word in DEGREES if word in kind.attributes]
    return frozenset((*side, *_one_of(parts, generator), *_one_of(degrees, generator)))


def _one_of(words: Sequence[str], generator: np.random.Generator) -> tuple[str, ...]:
    """Returns one random word; nothing, and no random number is used, without words."""
    return (words[int(generator.integers(len(words)))],) if words else ()
