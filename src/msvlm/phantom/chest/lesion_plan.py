"""Samples the findings of a synthetic patient, and paints their lesions in order."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from msvlm.phantom.chest import lung_lesions, mediastinal_lesions
from msvlm.phantom.chest.devices import paint_device
from msvlm.phantom.chest.scene import Scene
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import DEGREES

_PREVALENCE = {
    "medical_material": 0.25,
    "arterial_wall_calcification": 0.29,
    "cardiomegaly": 0.26,
    "pericardial_effusion": 0.24,
    "coronary_artery_wall_calcification": 0.29,
    "hiatal_hernia": 0.25,
    "lymphadenopathy": 0.27,
    "emphysema": 0.25,
    "atelectasis": 0.27,
    "lung_nodule": 0.32,
    "lung_opacity": 0.32,
    "pulmonary_fibrotic_sequela": 0.27,
    "pleural_effusion": 0.27,
    "mosaic_attenuation_pattern": 0.24,
    "peribronchial_thickening": 0.25,
    "consolidation": 0.26,
    "bronchiectasis": 0.24,
    "interlobular_septal_thickening": 0.25,
}
"""Share of patients with each finding: about that of CT-RATE's validation split, raised for rare findings."""
_HEALTHY_SHARE = 0.08
"""Share of patients without findings."""


@dataclass(frozen=True)
class PaintedLesion:
    """One lesion as painted, visible or not.

    Attributes:
        label: its number on the canvas.
        finding: name of a finding.
        kind: type of device; empty for other findings.
    """

    label: int
    finding: str
    kind: str = ""


def sample_findings(generator: np.random.Generator) -> frozenset[str]:
    """Samples the findings of a patient independently of each other; a few patients have none."""
    is_healthy = generator.random() < _HEALTHY_SHARE
    thresholds = np.array([_PREVALENCE[name] for name in CHEST.names]) / (1.0 - _HEALTHY_SHARE)
    is_sampled = (generator.random(len(thresholds)) < thresholds) & (not is_healthy)
    return frozenset(name for name, is_present in zip(CHEST.names, is_sampled, strict=True) if is_present)


def paint_findings(scene: Scene, wanted: frozenset[str], heart_label: int) -> tuple[PaintedLesion, ...]:
    """Paints the lesions of the wanted findings: wide and faint ones first, small and dense ones last.

    Labels follow `heart_label`, 1 where the heart is enlarged and labelled already, else 0.
    """
    painted: list[PaintedLesion] = []
    for finding, paint in _PAINTERS:
        if finding in wanted:
            for kind in paint(scene, heart_label + len(painted) + 1):
                painted.append(PaintedLesion(heart_label + len(painted) + 1, finding, kind))
    return tuple(painted)


def _sample_lobes(scene: Scene, probabilities: tuple[float, ...]) -> list[int]:
    """Samples lobes that the scan covers; `probabilities` are those of one, two, ... lobes."""
    covered = [lobe for lobe in range(1, 6) if len(scene.points_in(lobe))]
    count = min(len(covered), 1 + int(scene.generator.choice(len(probabilities), p=probabilities)))
    return sorted(int(lobe) for lobe in scene.generator.choice(covered, size=count, replace=False)) if covered else []


def _in_lobes(
    paint: Callable[[Scene, int, int], None], probabilities: tuple[float, ...]
) -> Callable[[Scene, int], tuple[str, ...]]:
    def paint_in_lobes(scene: Scene, first: int) -> tuple[str, ...]:
        lobes = _sample_lobes(scene, probabilities)
        for offset, lobe in enumerate(lobes):
            paint(scene, first + offset, lobe)
        return ("",) * len(lobes)

    return paint_in_lobes


def _nodules(scene: Scene, first: int) -> tuple[str, ...]:
    lobes = _sample_lobes(scene, (0.6, 0.25, 0.15))
    per_lobe = 2 if scene.generator.random() < 0.3 else 1
    for offset, lobe in enumerate(lobes * per_lobe):
        lung_lesions.paint_nodule(scene, first + offset, lobe)
    return ("",) * (len(lobes) * per_lobe)


def _emphysema(scene: Scene, first: int) -> tuple[str, ...]:
    degree = int(scene.generator.integers(len(DEGREES)))
    probabilities = ((0.4, 0.6), (0.0, 0.5, 0.5), (0.0, 0.0, 0.0, 0.4, 0.6))[degree]
    low, high = ((0.16, 0.24), (0.32, 0.42), (0.5, 0.62))[degree]
    lobes = _sample_lobes(scene, probabilities)
    for offset, lobe in enumerate(lobes):
        lung_lesions.paint_emphysema(scene, first + offset, lobe, scene.generator.uniform(low, high))
    return ("",) * len(lobes)


def _sample_sides(generator: np.random.Generator, both: float) -> tuple[bool, ...]:
    """Samples one side or both, right first; true for the right side."""
    if generator.random() < both:
        return True, False
    return (bool(generator.random() < 0.5),)


def _mosaic(scene: Scene, first: int) -> tuple[str, ...]:
    sides = _sample_sides(scene.generator, both=0.6)
    for offset, is_right in enumerate(sides):
        lung_lesions.paint_mosaic_attenuation(scene, first + offset, is_right)
    return ("",) * len(sides)


def _pleural_effusions(scene: Scene, first: int) -> tuple[str, ...]:
    low, high = ((16.0, 24.0), (36.0, 48.0), (64.0, 90.0))[scene.generator.integers(len(DEGREES))]
    sides = _sample_sides(scene.generator, both=0.45)
    for offset, is_right in enumerate(sides):
        lung_lesions.paint_pleural_effusion(scene, first + offset, is_right, scene.generator.uniform(low, high))
    return ("",) * len(sides)


def _pericardial_effusion(scene: Scene, first: int) -> tuple[str, ...]:
    low, high = ((7.0, 9.0), (12.0, 15.0), (19.0, 24.0))[scene.generator.integers(len(DEGREES))]
    mediastinal_lesions.paint_pericardial_effusion(scene, first, scene.generator.uniform(low, high))
    return ("",)


def _hiatal_hernia(scene: Scene, first: int) -> tuple[str, ...]:
    low, high = ((15.0, 18.0), (22.0, 26.0), (31.0, 38.0))[scene.generator.integers(len(DEGREES))]
    mediastinal_lesions.paint_hiatal_hernia(scene, first, scene.generator.uniform(low, high))
    return ("",)


def _lymph_nodes(scene: Scene, first: int) -> tuple[str, ...]:
    count = int(scene.generator.integers(2, 5))
    for offset in range(count):
        mediastinal_lesions.paint_lymph_node(scene, first + offset)
    return ("",) * count


def _arterial_calcification(scene: Scene, first: int) -> tuple[str, ...]:
    plaques = ((3, 5), (9, 12), (20, 26))[scene.generator.integers(len(DEGREES))]
    mediastinal_lesions.paint_arterial_calcification(scene, first, int(scene.generator.integers(*plaques)))
    return ("",)


def _coronary_calcification(scene: Scene, first: int) -> tuple[str, ...]:
    plaques = ((2, 4), (6, 8), (15, 20))[scene.generator.integers(len(DEGREES))]
    mediastinal_lesions.paint_coronary_calcification(scene, first, int(scene.generator.integers(*plaques)))
    return ("",)


def _device(scene: Scene, first: int) -> tuple[str, ...]:
    return (paint_device(scene, first),)


_FEW_LOBES = (0.55, 0.30, 0.15)
_PAINTERS: tuple[tuple[str, Callable[[Scene, int], tuple[str, ...]]], ...] = (
    ("mosaic_attenuation_pattern", _mosaic),
    ("emphysema", _emphysema),
    ("lung_opacity", _in_lobes(lung_lesions.paint_opacity, _FEW_LOBES)),
    ("interlobular_septal_thickening", _in_lobes(lung_lesions.paint_septal_thickening, (0.3, 0.5, 0.2))),
    ("peribronchial_thickening", _in_lobes(lung_lesions.paint_peribronchial_thickening, (0.3, 0.5, 0.2))),
    ("bronchiectasis", _in_lobes(lung_lesions.paint_bronchiectasis, (0.6, 0.4))),
    ("pulmonary_fibrotic_sequela", _in_lobes(lung_lesions.paint_fibrotic_sequela, (0.6, 0.4))),
    ("atelectasis", _in_lobes(lung_lesions.paint_atelectasis, (0.6, 0.4))),
    ("consolidation", _in_lobes(lung_lesions.paint_consolidation, (0.65, 0.35))),
    ("lung_nodule", _nodules),
    ("lymphadenopathy", _lymph_nodes),
    ("hiatal_hernia", _hiatal_hernia),
    ("pericardial_effusion", _pericardial_effusion),
    ("pleural_effusion", _pleural_effusions),
    ("arterial_wall_calcification", _arterial_calcification),
    ("coronary_artery_wall_calcification", _coronary_calcification),
    ("medical_material", _device),
)
