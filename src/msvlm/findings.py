"""The vocabulary of findings: the 18 chest labels of CT-RATE, what can be said of each, and how it is named."""

from dataclasses import dataclass
from enum import StrEnum

RIGHT, LEFT = "right", "left"
SIDES = (RIGHT, LEFT)
LOBES = ("right upper lobe", "right middle lobe", "right lower lobe", "left upper lobe", "left lower lobe")
DEGREES = ("mild", "moderate", "severe")
ATTRIBUTES = SIDES + LOBES + DEGREES
"""What a findings head says of a finding beside its presence, in the order of its outputs."""


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
    """

    name: str
    label: str
    term: str
    synonyms: tuple[str, ...] = ()
    attributes: tuple[str, ...] = ()


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


_LUNG = SIDES + LOBES
_ANY_LUNG = _LUNG + DEGREES

CHEST_FINDINGS: tuple[FindingKind, ...] = (
    FindingKind("medical_material", "Medical material", "medical device", ("pacemaker", "port", "catheter", "stent")),
    FindingKind(
        "arterial_wall_calcification",
        "Arterial wall calcification",
        "aortic wall calcification",
        ("atherosclerotic calcification of the aorta", "calcific atheroma"),
        DEGREES,
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
    ),
    FindingKind("hiatal_hernia", "Hiatal hernia", "hiatal hernia", ("hiatus hernia",), DEGREES),
    FindingKind(
        "lymphadenopathy", "Lymphadenopathy", "lymphadenopathy", ("enlarged lymph nodes", "pathological lymph nodes")
    ),
    FindingKind("emphysema", "Emphysema", "emphysema", ("emphysematous changes",), _ANY_LUNG),
    FindingKind("atelectasis", "Atelectasis", "atelectasis", ("atelectatic change", "volume loss"), _LUNG),
    FindingKind("lung_nodule", "Lung nodule", "lung nodule", ("pulmonary nodule", "nodular lesion"), _LUNG),
    FindingKind("lung_opacity", "Lung opacity", "ground-glass opacity", ("lung opacity", "ground glass"), _LUNG),
    FindingKind(
        "pulmonary_fibrotic_sequela",
        "Pulmonary fibrotic sequela",
        "fibrotic sequela",
        ("fibrotic band", "sequelae change", "fibrosis"),
        _LUNG,
    ),
    FindingKind("pleural_effusion", "Pleural effusion", "pleural effusion", ("pleural fluid",), SIDES + DEGREES),
    FindingKind(
        "mosaic_attenuation_pattern",
        "Mosaic attenuation pattern",
        "mosaic attenuation",
        ("mosaic perfusion", "air trapping"),
        SIDES,
    ),
    FindingKind(
        "peribronchial_thickening",
        "Peribronchial thickening",
        "peribronchial thickening",
        ("bronchial wall thickening",),
        _LUNG,
    ),
    FindingKind("consolidation", "Consolidation", "consolidation", ("consolidative area", "airspace disease"), _LUNG),
    FindingKind("bronchiectasis", "Bronchiectasis", "bronchiectasis", ("dilated bronchi",), _LUNG),
    FindingKind(
        "interlobular_septal_thickening",
        "Interlobular septal thickening",
        "interlobular septal thickening",
        ("thickened interlobular septa",),
        _LUNG,
    ),
)
"""The 18 labels in CT-RATE's official order (github ibrahimethemhamamci/CT-CLIP)."""

CHEST_FINDING_NAMES = tuple(kind.name for kind in CHEST_FINDINGS)

MEASURED_FINDINGS = ("lung_nodule", "lymphadenopathy", "hiatal_hernia")
"""Those that a report gives a size of."""
