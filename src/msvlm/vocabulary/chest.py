"""The chest vocabulary: the 18 labels of CT-RATE in their official order (github ibrahimethemhamamci/CT-CLIP)."""

from msvlm.vocabulary.vocabulary import DEGREES, DENSE_HU, LUNG_HU, SIDES, FindingKind, Vocabulary

LOBES = ("right upper lobe", "right middle lobe", "right lower lobe", "left upper lobe", "left lower lobe")

_LUNG = SIDES + LOBES
_FINDINGS = (
    FindingKind("medical_material", "Medical material", "medical device", window_hu=DENSE_HU),
    FindingKind(
        "arterial_wall_calcification", "Arterial wall calcification", "aortic wall calcification", DEGREES, DENSE_HU
    ),
    FindingKind("cardiomegaly", "Cardiomegaly", "cardiomegaly", DEGREES),
    FindingKind("pericardial_effusion", "Pericardial effusion", "pericardial effusion", DEGREES),
    FindingKind(
        "coronary_artery_wall_calcification",
        "Coronary artery wall calcification",
        "coronary artery calcification",
        DEGREES,
        DENSE_HU,
    ),
    FindingKind("hiatal_hernia", "Hiatal hernia", "hiatal hernia", DEGREES, is_measured=True, is_focal=True),
    FindingKind("lymphadenopathy", "Lymphadenopathy", "lymphadenopathy", is_measured=True, is_focal=True),
    FindingKind("emphysema", "Emphysema", "emphysema", _LUNG + DEGREES, LUNG_HU),
    FindingKind("atelectasis", "Atelectasis", "atelectasis", _LUNG, LUNG_HU, is_focal=True),
    FindingKind("lung_nodule", "Lung nodule", "lung nodule", _LUNG, LUNG_HU, is_measured=True, is_focal=True),
    FindingKind("lung_opacity", "Lung opacity", "ground-glass opacity", _LUNG, LUNG_HU, is_focal=True),
    FindingKind(
        "pulmonary_fibrotic_sequela", "Pulmonary fibrotic sequela", "fibrotic sequela", _LUNG, LUNG_HU, is_focal=True
    ),
    FindingKind("pleural_effusion", "Pleural effusion", "pleural effusion", SIDES + DEGREES),
    FindingKind("mosaic_attenuation_pattern", "Mosaic attenuation pattern", "mosaic attenuation", SIDES, LUNG_HU),
    FindingKind("peribronchial_thickening", "Peribronchial thickening", "peribronchial thickening", _LUNG, LUNG_HU),
    FindingKind("consolidation", "Consolidation", "consolidation", _LUNG, LUNG_HU, is_focal=True),
    FindingKind("bronchiectasis", "Bronchiectasis", "bronchiectasis", _LUNG, LUNG_HU),
    FindingKind(
        "interlobular_septal_thickening",
        "Interlobular septal thickening",
        "interlobular septal thickening",
        _LUNG,
        LUNG_HU,
    ),
)
CHEST = Vocabulary("chest", _FINDINGS, LOBES)
