"""Thorax: body, lungs with lobes, heart, diaphragm and upper abdomen of a synthetic patient, and where they lie."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msvlm.phantom.canvas import Box, Canvas, Mask, Point, Points, Volume, ellipsoid_distance, smooth_field
from msvlm.phantom.chest.patient import Patient

AIR_HU, FAT_HU, MUSCLE_HU = -1000.0, -100.0, 55.0
_CAVITY_POWER = 2.3
_HEART_TILT = -0.38
"""Correlation of x and y in the heart: its long axis points to the left and to anterior."""


@dataclass(frozen=True)
class Thorax:
    """The painted thorax of a healthy patient; the base of the lungs lies at z = 0.

    Attributes:
        lobes: 0 outside the lungs, else 1 + index in `msvlm.vocabulary.chest.LOBES`.
        lobe_points: for each lobe some of its points (points, 3); none where the scan misses the lobe.
        heart: voxels of the heart with its fat.
        spared: voxels of heart, great vessels, airways and spine, which masses do not paint over.
        cavity_half_width, cavity_half_depth: (slices, 1, 1), of the inner chest in each slice.
        heart_centre, heart_radii: of the heart's bounding box.
        above: voxels above the diaphragm.
        spine_y: centre of the vertebral bodies.
    """

    patient: Patient
    lobes: NDArray[np.uint8]
    lobe_points: tuple[Points, ...]
    heart: Mask
    spared: Mask
    above: Mask
    cavity_half_width: Volume
    cavity_half_depth: Volume
    heart_centre: Point
    heart_radii: Point
    spine_y: float

    def wall_distance(self, box: Box) -> Volume:
        """Returns for each voxel of a box its distance from the middle of the chest, scaled to 1 at the inner wall."""
        width, depth = self.cavity_half_width[box.index[0]], self.cavity_half_depth[box.index[0]]
        return _superellipse(box, width, depth, self.patient.middle_y) ** np.float32(1.0 / _CAVITY_POWER)

    def heart_distance(self, box: Box, margin_mm: float = 0.0) -> Volume:
        """Returns the squared distance from the heart's centre, scaled to 1 at `margin_mm` outside its surface."""
        return _tilted_distance(box, self.heart_centre, self.heart_radii + margin_mm)


def paint_thorax(canvas: Canvas, generator: np.random.Generator, patient: Patient) -> Thorax:
    """Paints body, lungs, heart and abdomen of a healthy patient on an empty canvas; vessels and bones come later."""
    box = canvas.whole
    _paint_body(canvas, generator, patient)
    share = np.clip(box.z / patient.lung_height, 0.0, 1.0)
    taper = 1.0 - 0.42 * np.clip((share - 0.42) / 0.58, 0.0, 1.0) ** 2.0 - 0.06 * np.clip(0.2 - share, 0.0, 0.2) / 0.2
    half_width = (patient.cavity_half_width * taper).astype(np.float32)
    half_depth = (patient.cavity_half_depth * (1.0 - 0.36 * np.clip((share - 0.5) / 0.5, 0.0, 1.0) ** 1.6)).astype(
        np.float32
    )
    cavity = _superellipse(box, half_width, half_depth, patient.middle_y) <= 1.0
    cavity &= box.z < patient.lung_height + 6.0
    canvas.paint(box, cavity, FAT_HU)
    above = box.z > np.where(box.x < 0, _dome(box, patient, -1.0, 0.0), _dome(box, patient, 1.0, 11.0))
    _paint_abdomen(canvas, generator, patient, cavity & ~above)

    spine_y = patient.middle_y + patient.cavity_half_depth - 25.0
    centre, radii = _place_heart(patient)
    heart = (_tilted_distance(box, centre, radii) <= 1.0) & above
    lungs = cavity & above & ~heart
    lungs &= _outside_mediastinum(box, patient, spine_y)
    lungs &= _under_apex(box, patient)
    lobes = _paint_lungs(canvas, generator, patient, lungs)
    _paint_heart(canvas, patient, heart, centre, radii)
    return Thorax(
        patient=patient,
        lobes=lobes,
        lobe_points=tuple(_sample_points(canvas, generator, lobes == lobe) for lobe in range(1, 6)),
        heart=heart,
        spared=heart.copy(),
        above=above,
        cavity_half_width=half_width,
        cavity_half_depth=half_depth,
        heart_centre=centre,
        heart_radii=radii,
        spine_y=spine_y,
    )


def _superellipse(box: Box, half_width: Volume, half_depth: Volume, middle_y: float) -> Volume:
    across = (np.abs(box.x) / half_width) ** np.float32(_CAVITY_POWER)
    along = (np.abs(box.y - np.float32(middle_y)) / half_depth) ** np.float32(_CAVITY_POWER)
    return across + along


def _tilted_distance(box: Box, centre: Point, radii: Point) -> Volume:
    """Returns `ellipsoid_distance` for an ellipsoid tilted in the axial plane, with the same bounding box."""
    z, y, x = (
        (axis - np.float32(middle)) / np.float32(radius)
        for axis, middle, radius in zip((box.z, box.y, box.x), centre, radii, strict=True)
    )
    in_plane = (y * y + x * x - np.float32(2 * _HEART_TILT) * (y * x)) / np.float32(1.0 - _HEART_TILT**2)
    return z * z + in_plane


def _paint_body(canvas: Canvas, generator: np.random.Generator, patient: Patient) -> None:
    box = canvas.whole
    shoulder = 1.0 + 0.16 / (1.0 + np.exp(-(box.z - (patient.lung_height - 25.0)) / 9.0))
    width = (patient.body_half_width * shoulder).astype(np.float32)
    depth = np.full_like(width, patient.body_half_depth)
    body = _superellipse(box, width, depth, patient.middle_y + 2.0) <= 1.0
    canvas.paint(box, body, FAT_HU)
    if patient.has_breasts:
        size = generator.uniform(0.7, 1.1)
        for side in (-1.0, 1.0):
            front = patient.middle_y - 0.86 * patient.body_half_depth
            centre = np.array((0.42 * patient.lung_height, front, side * 0.46 * patient.body_half_width))
            part, mask = canvas.ellipsoid(centre, size * np.array((62.0, 36.0, 58.0)))
            canvas.paint(part, mask, FAT_HU + 5.0)
            part, mask = canvas.ellipsoid(centre - (0.0, 8.0, 0.0), size * np.array((30.0, 13.0, 26.0)))
            canvas.paint(part, mask, 10.0)
    muscle = _superellipse(box, width - patient.fat, depth - 0.8 * patient.fat, patient.middle_y + 2.0) <= 1.0
    canvas.paint(box, muscle, MUSCLE_HU)
    # A layer of fat separates the pectoral and lateral muscles from the ribs, as on real scans.
    rim = _superellipse(box, width - patient.fat - 8.0, depth - 0.8 * patient.fat - 6.0, patient.middle_y + 2.0) <= 1.0
    inner = (
        _superellipse(box, width - patient.fat - 11.0, depth - 0.8 * patient.fat - 9.0, patient.middle_y + 2.0) <= 1.0
    )
    canvas.paint(box, rim & ~inner & (np.abs(box.x) > 45.0), FAT_HU + 20.0)


def _dome(box: Box, patient: Patient, side: float, lowered_mm: float) -> Volume:
    """Returns the height of one side's diaphragm (1, rows, columns); it falls towards the walls, most at the back."""
    width, depth = patient.cavity_half_width, patient.cavity_half_depth
    fall = ((box.x - side * 0.40 * width) / (0.70 * width)) ** 2
    fall = fall + ((box.y - patient.middle_y + 0.18 * depth) / (0.98 * depth)) ** 2
    height = patient.dome_height - lowered_mm - (patient.dome_height + 8.0) * fall
    return np.maximum(height, -28.0).astype(np.float32)


def _paint_abdomen(canvas: Canvas, generator: np.random.Generator, patient: Patient, below: Mask) -> None:
    box = canvas.whole
    width, depth = patient.cavity_half_width, patient.cavity_half_depth
    liver_hu = 56.0 + (45.0 if patient.has_contrast else 0.0) + generator.uniform(-8.0, 8.0)
    reach = generator.uniform(0.15, 0.45)
    centre = np.array((patient.dome_height - 75.0, patient.middle_y - 0.1 * depth, -0.42 * width))
    right = ellipsoid_distance(box, centre, np.array((100.0, 1.02 * depth, 0.62 * width))) <= 1.0
    left = ellipsoid_distance(
        box,
        np.array((patient.dome_height - 70.0, patient.middle_y - 0.52 * depth, 0.0)),
        np.array((72.0, 0.42 * depth, (0.35 + reach) * width)),
    )
    canvas.paint(box, below & (right | (left <= 1.0)), liver_hu)
    place = np.array((-8.0, patient.middle_y + 0.42 * depth, 0.66 * width))
    part, spleen = canvas.ellipsoid(place, np.array((48.0, 34.0, 30.0)))
    canvas.paint(part, spleen & below[part.index], liver_hu - 6.0)
    stomach = np.array((-6.0, patient.middle_y - 0.22 * depth, 0.46 * width))
    part, wall = canvas.ellipsoid(stomach, np.array((38.0, 38.0, 36.0)))
    canvas.paint(part, wall & below[part.index], 42.0)
    part, lumen = canvas.ellipsoid(stomach, np.array((34.0, 33.0, 31.0)))
    level = stomach[1] + generator.uniform(-16.0, 12.0)
    content = np.where(part.y < level, np.float32(-940.0), np.float32(generator.uniform(5.0, 40.0)))
    canvas.paint(part, lumen & below[part.index], content)


def _place_heart(patient: Patient) -> tuple[Point, Point]:
    width, depth = patient.cavity_half_width, patient.cavity_half_depth
    growth = patient.cardiothoracic_ratio / 0.44
    radii = np.array((46.0 * growth**0.5, 0.44 * depth * growth**0.45, patient.cardiothoracic_ratio * width))
    height = 0.42 * patient.dome_height + 0.72 * radii[0]
    return np.array((height, patient.middle_y - depth + radii[1] + 9.0, 0.17 * width)), radii


def _outside_mediastinum(box: Box, patient: Patient, spine_y: float) -> Mask:
    """Returns the voxels lateral to the mediastinum, which is narrow anteriorly, wide at the hila and at the spine."""
    share = box.z / patient.lung_height
    middle = patient.middle_y
    front = np.clip((middle - box.y) / (0.8 * patient.cavity_half_depth), 0.0, 1.0)
    half_width = patient.mediastinum_half_width * (1.0 - 0.7 * front)
    half_width = half_width * (
        1.0 + 0.3 * np.exp(-(((share - 0.6) / 0.14) ** 2)) + 0.5 * np.clip((share - 0.8) / 0.2, 0, 1)
    )
    spine = (box.x / 31.0) ** 2 + ((box.y - spine_y - 8.0) / 34.0) ** 2 <= 1.0
    return (np.abs(box.x) > half_width) & ~spine


def _under_apex(box: Box, patient: Patient) -> Mask:
    """Returns the voxels below the rounded apices of the lungs."""
    share = (box.z / patient.lung_height - 0.72) / 0.28
    across = (np.abs(box.x) - 0.40 * patient.cavity_half_width) / (0.62 * patient.cavity_half_width)
    along = (box.y - patient.middle_y - 0.12 * patient.cavity_half_depth) / patient.cavity_half_depth
    return (share <= 0.0) | ((share**2 + across**2 + along**2 <= 1.0) & (share < 1.0))


def _paint_lungs(canvas: Canvas, generator: np.random.Generator, patient: Patient, lungs: Mask) -> NDArray[np.uint8]:
    """Paints both lungs with faint fissures; returns the lobe of each voxel."""
    z, y, x = canvas.z, canvas.y, canvas.x
    gravity = (22.0 * np.clip(y / 90.0, -1.0, 1.0)).astype(np.float32)
    texture = smooth_field(canvas.whole, generator, 50.0, 2) * np.float32(6.0)
    texture += np.float32(patient.lung_hu) + gravity
    np.copyto(canvas.hu, texture, where=lungs)
    slope = generator.uniform(0.8, 1.1)
    # The major fissures rise from anterior to posterior; the minor fissure is horizontal.
    height, middle = patient.lung_height, patient.middle_y
    majors = [height * generator.uniform(0.44, 0.50) + slope * (y - middle - 4.0) for _ in range(2)]
    minor = height * generator.uniform(0.48, 0.54) + 0.05 * np.abs(x)
    right, left = lungs & (x < 0), lungs & (x > 0)
    lobes = np.zeros(canvas.shape, dtype=np.uint8)
    lobes[right] = 1
    lobes[right & (z < minor)] = 2
    lobes[right & (z < majors[0])] = 3
    lobes[left] = 4
    lobes[left & (z < majors[1])] = 5
    thickness = max(1.0, 0.4 * canvas.spacing_mm[0])
    faint = np.float32(generator.uniform(20.0, 45.0))
    for side, major in ((right, majors[0]), (left, majors[1])):
        canvas.hu[side & (np.abs(z - major) < thickness)] += faint
    return lobes


def _paint_heart(canvas: Canvas, patient: Patient, heart: Mask, centre: Point, radii: Point) -> None:
    box = canvas.box(centre - radii, centre + radii)
    inside = heart[box.index]
    canvas.paint(box, inside, FAT_HU + 10.0)
    canvas.paint(box, inside & (_tilted_distance(box, centre, radii - 4.5) <= 1.0), 50.0)
    chambers = (
        ((-0.10, -0.02, 0.38), (0.50, 0.36, 0.36)),
        ((-0.05, -0.42, -0.10), (0.50, 0.34, 0.42)),
        ((0.35, 0.52, 0.02), (0.36, 0.32, 0.38)),
        ((0.15, 0.12, -0.55), (0.46, 0.40, 0.30)),
    )
    for offset, size in chambers:
        part, chamber = canvas.ellipsoid(centre + np.array(offset) * radii, radii * np.array(size))
        canvas.paint(part, chamber & heart[part.index], patient.blood_hu)


def _sample_points(canvas: Canvas, generator: np.random.Generator, mask: Mask, count: int = 300) -> Points:
    flat = np.flatnonzero(mask)
    if not len(flat):
        return np.zeros((0, 3))
    chosen = np.unravel_index(flat[generator.integers(len(flat), size=count)], canvas.shape)
    return np.stack(
        [axis.ravel()[index] for axis, index in zip((canvas.z, canvas.y, canvas.x), chosen, strict=True)], axis=1
    ).astype(np.float64)
