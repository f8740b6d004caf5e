"""Vocabulary, its findings, and statements about them."""

from dataclasses import dataclass
from enum import StrEnum
from functools import cached_property

from msvlm.errors import ConfigError

RIGHT, LEFT = "right", "left"
SIDES = (RIGHT, LEFT)
DEGREES = ("mild", "moderate", "severe")

LUNG_HU = (-1350.0, 150.0)
SOFT_TISSUE_HU = (-160.0, 240.0)
DENSE_HU = (-200.0, 1000.0)
"""The CT windows in which radiologists view lungs, soft tissue, and calcium or metal."""


class Certainty(StrEnum):
    """Certainty of a finding in a text or in the ground truth."""

    PRESENT = "present"
    UNCERTAIN = "uncertain"
    ABSENT = "absent"
    UNKNOWN = "unknown"
    """In ground truth only: a finding that was not assessed. It is left out of losses and scores."""

    @property
    def is_positive(self) -> bool:
        """Whether the finding is present or uncertain."""
        return self in (Certainty.PRESENT, Certainty.UNCERTAIN)


@dataclass(frozen=True)
class FindingKind:
    """One finding of a vocabulary.

    Attributes:
        name: the key used in code and files.
        label: the label in tables; for the chest that of CT-RATE.
        term: the plain term in a sentence, singular and lower case.
        attributes: those of the vocabulary that can be stated of it.
        window_hu: (low, high), the CT window that shows it.
        is_measured: whether reports give its size.
        is_focal: whether its lesions lie on some slices and leave others free, so that a key slice can be right or
            wrong.
    """

    name: str
    label: str
    term: str
    attributes: tuple[str, ...] = ()
    window_hu: tuple[float, float] = SOFT_TISSUE_HU
    is_measured: bool = False
    is_focal: bool = False


@dataclass(frozen=True)
class Vocabulary:
    """The findings of a body region and the attributes that can be stated of them.

    Attributes:
        name: named in manifests, prepared data and model configs.
        findings: in the order of all tables and model outputs.
        parts: anatomical parts in which a finding can lie, each beginning with its side.
    """

    name: str
    findings: tuple[FindingKind, ...]
    parts: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.findings or len(set(self.names)) < len(self.findings):
            raise ConfigError(f"vocabulary {self.name}: findings {self.names}; wanted at least one, and each only once")
        for kind in self.findings:
            if unknown := sorted(set(kind.attributes) - set(self.attributes)):
                raise ConfigError(f"vocabulary {self.name}: {kind.name} has unknown attributes {', '.join(unknown)}")

    @cached_property
    def attributes(self) -> tuple[str, ...]:
        """Sides, parts and degrees, in the order of the outputs of a findings head."""
        return SIDES + self.parts + DEGREES

    @cached_property
    def names(self) -> tuple[str, ...]:
        """Names of the findings."""
        return tuple(kind.name for kind in self.findings)

    @cached_property
    def focal_names(self) -> tuple[str, ...]:
        """Names of the focal findings."""
        return tuple(kind.name for kind in self.findings if kind.is_focal)

    def kind(self, name: str) -> FindingKind:
        """Returns the finding of that name.

        Raises:
            ConfigError: the vocabulary has none.
        """
        if name not in self._by_name:
            raise ConfigError(f"finding {name!r} is not in vocabulary {self.name}; use {', '.join(self.names)}")
        return self._by_name[name]

    @cached_property
    def _by_name(self) -> dict[str, FindingKind]:
        return {kind.name: kind for kind in self.findings}


@dataclass(frozen=True)
class FindingStatement:
    """A statement of a text or of the ground truth about one finding.

    Attributes:
        name: name of a `FindingKind`.
        certainty: present, uncertain, absent or unknown.
        attributes: the stated attributes of the vocabulary; a part comes with its side.
        size_mm: the largest stated diameter, depth or width.
    """

    name: str
    certainty: Certainty
    attributes: frozenset[str] = frozenset()
    size_mm: float | None = None


Statements = tuple[FindingStatement, ...]
"""The statements of one text, or of one study's ground truth; at most one per finding, the others are unknown."""
