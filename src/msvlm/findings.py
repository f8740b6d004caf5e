"""The vocabulary of findings: the 18 chest labels of CT-RATE, what can be said of each, and how it is named."""

from dataclasses import dataclass
from enum import StrEnum

RIGHT, LEFT = "right", "left"
SIDES = (RIGHT, LEFT)
LOBES = ("right upper lobe", "right middle lobe", "right lower lobe", "left upper lobe", "left lower lobe")
DEGREES = ("mild", "moderate", "severe")
ATTRIBUTES = SIDES + LOBES + DEGREES
"""What a findings head says of a finding beside its presence, in the order of its outputs."""


LUNG_HU = (-1350.0, 150.0)
SOFT_TISSUE_HU = (-160.0, 240.0)
DENSE_HU = (-200.0, 1000.0)
"""The windows in which radiologists look at lungs, at soft tissue, and at calcium and metal."""


class Certainty(StrEnum):
    """How a text speaks of a finding."""

    PRESENT = "present"
    UNCERTAIN = "uncertain"
    ABSENT = "absent"


@dataclass(frozen=True)
class FindingKind:
    """One label of the vocabulary.

    Attributes:
        name: the key used everywhere in code and files.
        label: the label as CT-RATE's tables write it.
        term: the plain term in a sentence, singular and lower case.
        synonyms: other terms that radiologists use for it, lower case.
        attributes: which of `ATTRIBUTES` can be said of it.
        window_hu: (low, high), the CT window that shows it.
    """

    name: str
    label: str
    term: str
    synonyms: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()
    window_hu: tuple[float, float] = SOFT_TISSUE_HU


@dataclass(frozen=True)
class FindingStatement:
    """What a text, or the truth of a synthetic study, says of one finding.

    Attributes:
        name: name of a `FindingKind`.
        certainty: present, uncertain or absent.
        attributes: those of `ATTRIBUTES` that are stated; a lobe states its side too.
        size_mm: the largest stated diameter, depth or width.
    """

    name: str
    certainty: Certainty
    attributes: frozenset[str] = frozenset()
    size_mm: float | None = None


Statements = tuple[FindingStatement, ...]
"""What one text, or the truth of one study, says; at most one statement a finding."""

_LUNG = SIDES + LOBES
_ANY_LUNG = _LUNG + DEGREES

CHEST_FINDINGS: tuple[FindingKind, ...] = (
    FindingKind(
        "medical_material",
        "Medical material",
        "medical device",
        ("pacemaker", "port", "catheter", "stent"),
        window_hu=DENSE_HU,
    ),
    FindingKind(
        "arterial_wall_calcification",
        "Arterial wall calcification",
        "aortic wall calcification",
        ("atherosclerotic calcification of the aorta", "calcific atheroma"),
        DEGREES,
        DENSE_HU,
    ),
    FindingKind("cardiomegaly", "Cardiomegaly", "cardiomegaly", ("enlarged heart", "increased heart size"), DEGREES),
    FindingKind(
        "pericardial_effusion", "Pericardial effusion", "pericardial effusion", ("pericardial fluid",), DEGREES
    ),
    FindingKind(
        "coronary_artery_wall_calcification",
        "Coronary artery wall calcification",
        "coronary artery calcification",
        ("coronary calcification", "calcified coronary plaque"),
        DEGREES,
        DENSE_HU,
    ),
    FindingKind("hiatal_hernia", "Hiatal hernia", "hiatal hernia", ("hiatus hernia",), DEGREES),
    FindingKind(
        "lymphadenopathy", "Lymphadenopathy", "lymphadenopathy", ("enlarged lymph nodes", "pathological lymph nodes")
    ),
    FindingKind("emphysema", "Emphysema", "emphysema", ("emphysematous changes",), _ANY_LUNG, LUNG_HU),
    FindingKind("atelectasis", "Atelectasis", "atelectasis", ("atelectatic change", "volume loss"), _LUNG, LUNG_HU),
    FindingKind("lung_nodule", "Lung nodule", "lung nodule", ("pulmonary nodule", "nodular lesion"), _LUNG, LUNG_HU),
    FindingKind(
        "lung_opacity", "Lung opacity", "ground-glass opacity", ("lung opacity", "ground glass"), _LUNG, LUNG_HU
    ),
    FindingKind(
        "pulmonary_fibrotic_sequela",
        "Pulmonary fibrotic sequela",
        "fibrotic sequela",
        ("fibrotic band", "sequelae change", "fibrosis"),
        _LUNG,
        LUNG_HU,
    ),
    FindingKind("pleural_effusion", "Pleural effusion", "pleural effusion", ("pleural fluid",), SIDES + DEGREES),
    FindingKind(
        "mosaic_attenuation_pattern",
        "Mosaic attenuation pattern",
        "mosaic attenuation",
        ("mosaic perfusion", "air trapping"),
        SIDES,
        LUNG_HU,
    ),
    FindingKind(
        "peribronchial_thickening",
        "Peribronchial thickening",
        "peribronchial thickening",
        ("bronchial wall thickening",),
        _LUNG,
        LUNG_HU,
    ),
    FindingKind(
        "consolidation", "Consolidation", "consolidation", ("consolidative area", "airspace disease"), _LUNG, LUNG_HU
    ),
    FindingKind("bronchiectasis", "Bronchiectasis", "bronchiectasis", ("dilated bronchi",), _LUNG, LUNG_HU),
    FindingKind(
        "interlobular_septal_thickening",
        "Interlobular septal thickening",
        "interlobular septal thickening",
        ("thickened interlobular septa",),
        _LUNG,
        LUNG_HU,
    ),
)
"""The 18 labels in CT-RATE's official order (github ibrahimethemhamamci/CT-CLIP)."""

CHEST_FINDING_NAMES = tuple(kind.name for kind in CHEST_FINDINGS)

KIND_OF = {kind.name: kind for kind in CHEST_FINDINGS}
"""Name of a finding -> all that is known of it."""

MEASURED_FINDINGS = ("lung_nodule", "lymphadenopathy", "hiatal_hernia")
"""Those that a report gives a size of."""

FOCAL_FINDINGS = (
    "hiatal_hernia",
    "lymphadenopathy",
    "atelectasis",
    "lung_nodule",
    "lung_opacity",
    "pulmonary_fibrotic_sequela",
    "consolidation",
)
"""Those whose lesions lie on some slices and leave others free, so that a slice can be right or wrong."""


def label_of(name: str) -> str:
    """The label of a finding in tables and pictures; its name where the vocabulary does not know it."""
    return KIND_OF[name].label if name in KIND_OF else name


def allowed_attributes(name: str) -> tuple[str, ...]:
    """Which of `ATTRIBUTES` can be said of a finding; none where the vocabulary does not know it."""
    return KIND_OF[name].attributes if name in KIND_OF else ()
