"""Ground truth: which painted lesions are visible, where, how large and how severe they are."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from msvlm.phantom.canvas import Canvas
from msvlm.phantom.chest.lesion_plan import PaintedLesion
from msvlm.phantom.chest.scene import Scene
from msvlm.vocabulary.chest import CHEST, LOBES
from msvlm.vocabulary.vocabulary import DEGREES, LEFT, RIGHT, SIDES, Certainty, FindingStatement

ENLARGED_HEART_RATIO = 0.525
"""Cardiothoracic ratio from which the heart counts as enlarged."""
MIN_VOXELS, MIN_CONTRAST_HU = 4, 40.0
_MIN_LOBE_SHARE = 0.1
"""Least share of a lesion's voxels in the lungs that a lobe must hold to be named."""
_MIN_SIZE_MM = {"lymphadenopathy": 10.0, "lung_nodule": 3.0}
_MIN_ML = {
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
"""Thresholds of moderate and of severe, in the unit of `_severity`."""


@dataclass(frozen=True)
class Lesion:
    """One painted lesion as visible in the final voxels.

    Attributes:
        label: its value in `lesion_labels`, counted from 1.
        finding: name of a finding.
        attributes: of `Vocabulary.attributes`; the degree is that of all lesions of the finding together.
        size_mm: largest extent within a slice; None for findings that are not measured.
        voxels: their number.
        kind: type of device; empty for other findings.
    """

    label: int
    finding: str
    attributes: frozenset[str]
    size_mm: float | None
    voxels: int
    kind: str = ""


@dataclass(frozen=True)
class _VisibleLesion:
    """A painted lesion and its visible voxels, as flat indices."""

    painted: PaintedLesion
    flat: NDArray[np.int64]
    attributes: frozenset[str]
    size_mm: float


def measure_cardiothoracic_ratio(scene: Scene) -> float:
    """Returns the width of the painted heart over that of the lungs in its slices; 0 if the scan misses the heart."""
    slices = scene.thorax.heart.any(axis=(1, 2))
    if not slices.any():
        return 0.0
    heart = np.flatnonzero(scene.thorax.heart[slices].any(axis=(0, 1)))
    lungs = np.flatnonzero((scene.thorax.lobes[slices] > 0).any(axis=(0, 1)))
    if not len(lungs):
        return 0.0
    return float((heart[-1] - heart[0] + 1) / (lungs[-1] - lungs[0] + 1))


def find_visible_lesions(
    scene: Scene, painted: tuple[PaintedLesion, ...], cardiothoracic_ratio: float
) -> tuple[NDArray[np.int16], tuple[Lesion, ...]]:
    """Returns the label of each voxel and the visible lesions, numbered from 1 without gaps.

    Call it on the blurred canvas: contrast is measured after the scanner's blur.
    """
    visible = [part for lesion in painted if (part := _visible_part(scene, lesion)) is not None]
    degrees = {
        name: _degree(scene, name, [part for part in visible if part.painted.finding == name], cardiothoracic_ratio)
        for name in {part.painted.finding for part in visible}
    }
    labels = np.zeros(scene.canvas.shape, dtype=np.int16)
    lesions = []
    for label, part in enumerate(visible, start=1):
        labels.reshape(-1)[part.flat] = label
        finding = part.painted.finding
        size_mm = round(part.size_mm, 1) if CHEST.kind(finding).is_measured else None
        attributes = part.attributes | degrees[finding]
        lesions.append(Lesion(label, finding, attributes, size_mm, len(part.flat), part.painted.kind))
    return labels, tuple(lesions)


def merge_truth(lesions: tuple[Lesion, ...]) -> tuple[FindingStatement, ...]:
    """Returns one statement for each of the 18 findings, in order, merged from its lesions."""
    statements = []
    for kind in CHEST.findings:
        own = [lesion for lesion in lesions if lesion.finding == kind.name]
        statement = FindingStatement(kind.name, Certainty.PRESENT if own else Certainty.ABSENT)
        if own:
            sizes = [lesion.size_mm for lesion in own if lesion.size_mm is not None]
            attributes = frozenset[str]().union(*(lesion.attributes for lesion in own))
            statement = replace(statement, attributes=attributes, size_mm=max(sizes) if sizes else None)
        statements.append(statement)
    return tuple(statements)


def _visible_part(scene: Scene, painted: PaintedLesion) -> _VisibleLesion | None:
    """Returns the visible voxels of a lesion; None where they are too few or too faint."""
    canvas, finding = scene.canvas, painted.finding
    canvas_labels = canvas.labels.reshape(-1)
    if finding == "cardiomegaly":
        flat = np.flatnonzero(canvas_labels == painted.label)
    else:
        overpainted = canvas.overpainted(painted.label)
        kept = canvas_labels[overpainted.flat] == painted.label
        flat = overpainted.flat[kept]
        contrast_hu = np.abs(canvas.hu.reshape(-1)[flat] - overpainted.hu_before[kept])
        if not len(flat) or float(contrast_hu.mean()) < MIN_CONTRAST_HU:
            return None
    if len(flat) < MIN_VOXELS or len(flat) * canvas.voxel_ml < _MIN_ML.get(finding, 0.0):
        return None
    allowed = next(kind.attributes for kind in CHEST.findings if kind.name == finding)
    locations = _locations(scene, flat) & frozenset(allowed)
    size_mm = _extent_mm(canvas, flat) if CHEST.kind(finding).is_measured else 0.0
    if (set(allowed) & set(SIDES) and not locations) or size_mm < _MIN_SIZE_MM.get(finding, 0.0):
        return None
    return _VisibleLesion(painted, flat, locations, size_mm)


def _locations(scene: Scene, flat: NDArray[np.int64]) -> frozenset[str]:
    """Returns the lobes that hold enough of the voxels, and their sides."""
    counts = np.bincount(scene.thorax.lobes.reshape(-1)[flat], minlength=6)[1:6]
    if not counts.sum():
        return frozenset()
    lobes = {LOBES[index] for index in range(5) if counts[index] >= max(2.0, _MIN_LOBE_SHARE * counts.sum())}
    sides = {RIGHT if lobe.startswith(RIGHT) else LEFT for lobe in lobes}
    return frozenset(lobes | sides)


def _extent_mm(canvas: Canvas, flat: NDArray[np.int64]) -> float:
    """Returns the largest extent within a slice.

    Half a pixel is added: the centres of a disc's outermost pixels lie on average that much closer than its width.
    """
    slices, rows, columns = np.unravel_index(np.sort(flat), canvas.shape)
    _, row_mm, column_mm = canvas.spacing_mm
    angles = np.linspace(0.0, np.pi, 24, endpoint=False)
    along = np.outer(rows * row_mm, np.sin(angles)) + np.outer(columns * column_mm, np.cos(angles))
    starts = np.flatnonzero(np.diff(slices, prepend=-1))
    widths = np.maximum.reduceat(along, starts) - np.minimum.reduceat(along, starts)
    return float(widths.max()) + 0.5 * (row_mm + column_mm) / 2.0


def _depth_mm(canvas: Canvas, flat: NDArray[np.int64]) -> float:
    """Returns the largest depth of the voxels along one column of a slice."""
    slices, _, columns = np.unravel_index(flat, canvas.shape)
    return float(np.bincount(slices * canvas.shape[2] + columns).max()) * canvas.spacing_mm[1]


def _degree(scene: Scene, finding: str, visible: list[_VisibleLesion], cardiothoracic_ratio: float) -> frozenset[str]:
    limits = _DEGREE_LIMITS.get(finding)
    if limits is None:
        return frozenset()
    severity = _severity(scene, finding, visible, cardiothoracic_ratio)
    return frozenset({DEGREES[int(np.searchsorted(limits, severity, side="right"))]})


def _severity(scene: Scene, finding: str, visible: list[_VisibleLesion], cardiothoracic_ratio: float) -> float:
    """Returns calcium in ml, the cardiothoracic ratio, fluid and hernia in mm, emphysema as a share of the lungs."""
    canvas = scene.canvas
    voxels = sum(len(part.flat) for part in visible)
    if finding == "cardiomegaly":
        return cardiothoracic_ratio
    if finding == "hiatal_hernia":
        return max(part.size_mm for part in visible)
    if finding == "pleural_effusion":
        return max(_depth_mm(canvas, part.flat) for part in visible)
    if finding == "emphysema":
        return voxels / max(1, int(np.count_nonzero(scene.thorax.lobes)))
    if finding == "pericardial_effusion":
        # The growth in radius of a ball with the heart's volume.
        heart = max(1, int(np.count_nonzero(scene.thorax.heart)))
        radius = (3.0 * heart * canvas.voxel_ml * 1000.0 / (4.0 * np.pi)) ** (1 / 3)
        return float(((1.0 + voxels / heart) ** (1 / 3) - 1.0) * radius)
    return voxels * canvas.voxel_ml
