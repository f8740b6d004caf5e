"""What can be seen of the painted lesions: which remain, where they lie, how large and how marked they are."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from msvlm.findings import (
    CHEST_FINDINGS,
    DEGREES,
    LEFT,
    LOBES,
    MEASURED_FINDINGS,
    RIGHT,
    SIDES,
    Certainty,
    FindingStatement,
)
from msvlm.phantom.canvas import Canvas
from msvlm.phantom.chest.lesion_plan import Painted
from msvlm.phantom.chest.scene import Scene

ENLARGED_HEART_SHARE = 0.525
"""Transverse width of the heart over that of the inner chest, from which on it is called enlarged."""
LEAST_VOXELS, LEAST_CONTRAST_HU = 4, 40.0
_LEAST_LOBE_SHARE = 0.1
"""A lesion lies in each lobe that holds at least this share of its voxels in the lungs."""
_LEAST_SIZE_MM = {"lymphadenopathy": 10.0, "lung_nodule": 3.0}
_LEAST_ML = {
    "consolidation": 1.5,
    "lung_opacity": 1.5,
    "atelectasis": 1.0,
    "emphysema": 2.0,
    "pleural_effusion": 4.0,
    "pericardial_effusion": 8.0,
    "mosaic_attenuation_pattern": 20.0,
    "hiatal_hernia": 3.0,
    "lymphadenopathy": 0.7,
    "cardiomegaly": 20.0,
    "bronchiectasis": 0.8,
    "peribronchial_thickening": 0.8,
    "interlobular_septal_thickening": 0.8,
    "pulmonary_fibrotic_sequela": 0.8,
}
_DEGREE_LIMITS = {
    "arterial_wall_calcification": (1.4, 4.0),
    "coronary_artery_wall_calcification": (0.75, 1.55),
    "cardiomegaly": (0.61, 0.655),
    "pericardial_effusion": (8.0, 12.2),
    "hiatal_hernia": (38.0, 57.0),
    "emphysema": (0.12, 0.33),
    "pleural_effusion": (37.0, 59.0),
}
"""From where on a finding is moderate, and severe; in the unit of `_measure_of_degree`."""


@dataclass(frozen=True)
class Lesion:
    """One painted finding as it is visible in the final voxels.

    Attributes:
        label: its value in `lesion_labels`, from 1.
        finding: a name of `msvlm.findings`.
        attributes: of `msvlm.findings.ATTRIBUTES`; the degree is that of the finding as a whole.
        size_mm: largest extent within a slice, for those findings that are measured.
        voxels: how many it has.
        kind: the sort of device; empty for other findings.
    """

    label: int
    finding: str
    attributes: frozenset[str]
    size_mm: float | None
    voxels: int
    kind: str = ""


@dataclass(frozen=True)
class _Seen:
    """A lesion's visible voxels, as indices."""

    painted: Painted
    flat: NDArray[np.int64]
    attributes: frozenset[str]
    size_mm: float


def measure_heart_share(scene: Scene) -> float:
    """The cardiothoracic ratio as painted: widest heart over widest lungs in the heart's slices; 0 without a heart."""
    slices = scene.thorax.heart.any(axis=(1, 2))
    if not slices.any():
        return 0.0
    heart = np.flatnonzero(scene.thorax.heart[slices].any(axis=(0, 1)))
    lungs = np.flatnonzero((scene.thorax.lobes[slices] > 0).any(axis=(0, 1)))
    if not len(lungs):
        return 0.0
    return float((heart[-1] - heart[0] + 1) / (lungs[-1] - lungs[0] + 1))


def visible_lesions(
    scene: Scene, painted: tuple[Painted, ...], heart_share: float
) -> tuple[NDArray[np.int16], tuple[Lesion, ...]]:
    """The lesions that can be seen, counted from 1 without gaps, and the voxels of each.

    Call it when the canvas is blurred: contrast is measured as the scanner sees it.
    """
    seen = [found for lesion in painted if (found := _look_at(scene, lesion)) is not None]
    degrees = {
        name: _degree(scene, name, [found for found in seen if found.painted.finding == name], heart_share)
        for name in {found.painted.finding for found in seen}
    }
    labels = np.zeros(scene.canvas.shape, dtype=np.int16)
    lesions = []
    for label, found in enumerate(seen, start=1):
        labels.reshape(-1)[found.flat] = label
        finding = found.painted.finding
        size_mm = round(found.size_mm, 1) if finding in MEASURED_FINDINGS else None
        attributes = found.attributes | degrees[finding]
        lesions.append(Lesion(label, finding, attributes, size_mm, len(found.flat), found.painted.kind))
    return labels, tuple(lesions)


def merged_truth(lesions: tuple[Lesion, ...]) -> tuple[FindingStatement, ...]:
    """One statement for each of the 18 findings, in order: all that its lesions say together."""
    statements = []
    for kind in CHEST_FINDINGS:
        own = [lesion for lesion in lesions if lesion.finding == kind.name]
        statement = FindingStatement(kind.name, Certainty.PRESENT if own else Certainty.ABSENT)
        if own:
            sizes = [lesion.size_mm for lesion in own if lesion.size_mm is not None]
            attributes = frozenset[str]().union(*(lesion.attributes for lesion in own))
            statement = replace(statement, attributes=attributes, size_mm=max(sizes) if sizes else None)
        statements.append(statement)
    return tuple(statements)


def _look_at(scene: Scene, painted: Painted) -> _Seen | None:
    """A lesion's visible voxels, or nothing where too little of it can be seen."""
    canvas, finding = scene.canvas, painted.finding
    owner = canvas.owner.reshape(-1)
    if finding == "cardiomegaly":
        flat = np.flatnonzero(owner == painted.label)
    else:
        under = canvas.under(painted.label)
        kept = owner[under.places] == painted.label
        flat = under.places[kept]
        contrast_hu = np.abs(canvas.hu.reshape(-1)[flat] - under.hu[kept])
        if not len(flat) or float(contrast_hu.mean()) < LEAST_CONTRAST_HU:
            return None
    if len(flat) < LEAST_VOXELS or len(flat) * canvas.voxel_ml < _LEAST_ML.get(finding, 0.0):
        return None
    allowed = next(kind.attributes for kind in CHEST_FINDINGS if kind.name == finding)
    places = _places(scene, flat) & frozenset(allowed)
    size_mm = _extent_mm(canvas, flat) if finding in MEASURED_FINDINGS else 0.0
    if (set(allowed) & set(SIDES) and not places) or size_mm < _LEAST_SIZE_MM.get(finding, 0.0):
        return None
    return _Seen(painted, flat, places, size_mm)


def _places(scene: Scene, flat: NDArray[np.int64]) -> frozenset[str]:
    """Lobes, and their sides, that hold a good share of the voxels."""
    counts = np.bincount(scene.thorax.lobes.reshape(-1)[flat], minlength=6)[1:6]
    if not counts.sum():
        return frozenset()
    lobes = {LOBES[index] for index in range(5) if counts[index] >= max(2.0, _LEAST_LOBE_SHARE * counts.sum())}
    sides = {RIGHT if lobe.startswith(RIGHT) else LEFT for lobe in lobes}
    return frozenset(lobes | sides)


def _extent_mm(canvas: Canvas, flat: NDArray[np.int64]) -> float:
    """The largest extent within a slice.

    Centres of the outermost pixels of a disc lie on average half a pixel less apart than the disc is wide.
    """
    slices, rows, columns = np.unravel_index(np.sort(flat), canvas.shape)
    _, row_mm, column_mm = canvas.spacing_mm
    angles = np.linspace(0.0, np.pi, 24, endpoint=False)
    along = np.outer(rows * row_mm, np.sin(angles)) + np.outer(columns * column_mm, np.cos(angles))
    starts = np.flatnonzero(np.diff(slices, prepend=-1))
    widths = np.maximum.reduceat(along, starts) - np.minimum.reduceat(along, starts)
    return float(widths.max()) + 0.5 * (row_mm + column_mm) / 2.0


def _depth_mm(canvas: Canvas, flat: NDArray[np.int64]) -> float:
    """The largest number of voxels in one column of one slice, in mm."""
    slices, _, columns = np.unravel_index(flat, canvas.shape)
    return float(np.bincount(slices * canvas.shape[2] + columns).max()) * canvas.spacing_mm[1]


def _degree(scene: Scene, finding: str, seen: list[_Seen], heart_share: float) -> frozenset[str]:
    limits = _DEGREE_LIMITS.get(finding)
    if limits is None:
        return frozenset()
    measure = _measure_of_degree(scene, finding, seen, heart_share)
    return frozenset({DEGREES[int(np.searchsorted(limits, measure, side="right"))]})


def _measure_of_degree(scene: Scene, finding: str, seen: list[_Seen], heart_share: float) -> float:
    """Calcium in ml, heart as a share, fluid and hernia in mm, emphysema as a share of the lungs."""
    canvas = scene.canvas
    voxels = sum(len(found.flat) for found in seen)
    if finding == "cardiomegaly":
        return heart_share
    if finding == "hiatal_hernia":
        return max(found.size_mm for found in seen)
    if finding == "pleural_effusion":
        return max(_depth_mm(canvas, found.flat) for found in seen)
    if finding == "emphysema":
        return voxels / max(1, int(np.count_nonzero(scene.thorax.lobes)))
    if finding == "pericardial_effusion":
        # As if heart and rim were balls: how much the radius grows.
        heart = max(1, int(np.count_nonzero(scene.thorax.heart)))
        radius = (3.0 * heart * canvas.voxel_ml * 1000.0 / (4.0 * np.pi)) ** (1 / 3)
        return float(((1.0 + voxels / heart) ** (1 / 3) - 1.0) * radius)
    return voxels * canvas.voxel_ml
