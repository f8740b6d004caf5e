"""Names of the chest vocabulary; replaced step by step by the vocabulary as a value."""

from msvlm.vocabulary.chest import CHEST, LOBES
from msvlm.vocabulary.vocabulary import (
    DEGREES,
    DENSE_HU,
    LEFT,
    LUNG_HU,
    RIGHT,
    SIDES,
    SOFT_TISSUE_HU,
    Certainty,
    FindingKind,
    FindingStatement,
    Statements,
)

__all__ = [
    "DEGREES",
    "DENSE_HU",
    "LEFT",
    "LOBES",
    "LUNG_HU",
    "RIGHT",
    "SIDES",
    "SOFT_TISSUE_HU",
    "Certainty",
    "FindingKind",
    "FindingStatement",
    "Statements",
]
ATTRIBUTES = CHEST.attributes
CHEST_FINDINGS = CHEST.findings
CHEST_FINDING_NAMES = CHEST.names
KIND_OF = {kind.name: kind for kind in CHEST.findings}
MEASURED_FINDINGS = tuple(kind.name for kind in CHEST.findings if kind.is_measured)
FOCAL_FINDINGS = CHEST.focal_names


def label_of(name: str) -> str:
    """Returns the label of a finding in tables and pictures; its name where the vocabulary does not know it."""
    return KIND_OF[name].label if name in KIND_OF else name


def allowed_attributes(name: str) -> tuple[str, ...]:
    """Returns which attributes can be said of a finding; none where the vocabulary does not know it."""
    return KIND_OF[name].attributes if name in KIND_OF else ()
