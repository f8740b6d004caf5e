"""Great vessels, oesophagus, airways and lung vessels, and the paths that lesions follow."""

from dataclasses import dataclass

import numpy as np

from msvlm.phantom.canvas import Canvas, Point, Points, dense_path
from msvlm.phantom.chest.thorax import AIR_HU, Thorax


@dataclass(frozen=True)
class Tubes:
    """Paths of vessels, airways and oesophagus, each (points, 3).

    Attributes:
        aorta: from the valve over the arch to the abdomen.
        vena_cava: from above down to the right atrium.
        oesophagus: from above down to the diaphragm.
        bronchi: for each lobe the paths of its segmental bronchi, from the hilum outwards.
        carina: where the trachea divides.
        hila: (right, left).
    """

    aorta: Points
    aorta_radius: float
    vena_cava: Points
    oesophagus: Points
    bronchi: tuple[tuple[Points, ...], ...]
    carina: Point
    hila: tuple[Point, Point]


def paint_tubes(canvas: Canvas, generator: np.random.Generator, thorax: Thorax) -> Tubes:
    """Paints vessels and airways into a thorax; marks the large ones as spared, outside all lobes."""
    patient, height = thorax.patient, thorax.patient.lung_height
    middle, depth = patient.middle_y, patient.cavity_half_depth
    carina = np.array((0.62 * height, middle + 0.12 * depth, -3.0))
    reach = patient.mediastinum_half_width * 1.3 + 6.0
    hila = (
        np.array((0.56 * height, middle + 0.12 * depth, -reach)),
        np.array((0.57 * height, middle + 0.12 * depth, reach)),
    )
    aorta_radius = generator.uniform(12.0, 15.5)
    aorta = _aorta(generator, thorax, aorta_radius)
    arch_z = float(aorta[:, 0].max())
    cava_y = middle - 0.22 * depth
    top = height + 40.0
    cava = dense_path(
        np.array(
            ((top, middle - 0.05 * depth, -26.0), (arch_z, cava_y, -27.0), (thorax.heart_centre[0], cava_y, -25.0))
        ),
        3.0,
    )
    oesophagus = dense_path(
        np.array(
            (
                (top, middle + 0.28 * depth, 2.0),
                (carina[0], thorax.spine_y - 30.0, 3.0),
                (-30.0, thorax.spine_y - 38.0, 10.0),
            )
        ),
        4.0,
    )
    _paint_tube(canvas, thorax, oesophagus, 6.5, 36.0)
    _paint_pulmonary_arteries(canvas, thorax, hila)
    _paint_tube(canvas, thorax, cava, 8.5, patient.blood_hu)
    _paint_tube(canvas, thorax, aorta, aorta_radius, patient.blood_hu - 5.0)
    for start, end, radius in (
        ((arch_z - 4.0, middle - 0.10 * depth, -8.0), (top, middle - 0.02 * depth, -22.0), 5.5),
        ((arch_z - 4.0, middle - 0.02 * depth, 6.0), (top, middle + 0.02 * depth, 20.0), 4.5),
        ((arch_z - 4.0, middle + 0.10 * depth, 14.0), (top, middle + 0.12 * depth, 32.0), 5.0),
    ):
        _paint_tube(canvas, thorax, dense_path(np.array((start, end)), 2.5), radius, patient.blood_hu)
    _paint_airways(canvas, thorax, carina, hila)
    _paint_lung_vessels(canvas, generator, thorax, hila)
    bronchi = tuple(_bronchi(generator, thorax, lobe, hila[0] if lobe <= 3 else hila[1]) for lobe in range(1, 6))
    return Tubes(aorta, aorta_radius, cava, oesophagus, bronchi, carina, hila)


def _paint_tube(canvas: Canvas, thorax: Thorax, path: Points, radius: float, hu: float) -> None:
    box, inside = canvas.tube(path, np.full(len(path), radius))
    canvas.paint(box, inside, hu)
    thorax.spared[box.index] |= inside
    thorax.lobes[box.index][inside] = 0


def _aorta(generator: np.random.Generator, thorax: Thorax, radius: float) -> Points:
    patient, heart = thorax.patient, thorax.heart_centre
    middle, depth = patient.middle_y, patient.cavity_half_depth
    top_z = patient.lung_height * generator.uniform(0.72, 0.77) - radius
    front_y, back_y = middle - 0.30 * depth, thorax.spine_y - 26.0
    points = [np.array((heart[0] + 14.0, front_y + 6.0, 4.0)), np.array((top_z - 22.0, front_y, -10.0))]
    for angle in np.linspace(0.0, np.pi, 9):
        share = (1.0 - np.cos(angle)) / 2.0
        points.append(
            np.array((top_z - 16.0 + 18.0 * np.sin(angle), front_y + (back_y - front_y) * share, -8.0 + 26.0 * share))
        )
    points.append(np.array((20.0, thorax.spine_y - 28.0, 16.0)))
    points.append(np.array((-80.0, thorax.spine_y - 30.0, 6.0)))
    return dense_path(np.array(points), 3.0)


def _paint_pulmonary_arteries(canvas: Canvas, thorax: Thorax, hila: tuple[Point, Point]) -> None:
    patient, heart = thorax.patient, thorax.heart_centre
    trunk = np.array((0.57 * patient.lung_height, patient.middle_y - 0.24 * patient.cavity_half_depth, 16.0))
    behind_aorta = np.array((trunk[0] - 4.0, patient.middle_y - 0.06 * patient.cavity_half_depth, -12.0))
    root = np.array((heart[0] + 16.0, heart[1] - 6.0, 18.0))
    blood_hu = patient.blood_hu + (15.0 if patient.has_contrast else 0.0)
    for corners, radius in (
        ((root, trunk), 12.0),
        ((trunk, behind_aorta, hila[0] + (0.0, -6.0, 4.0)), 8.5),
        ((trunk, hila[1] + (2.0, -6.0, -6.0)), 9.0),
    ):
        _paint_tube(canvas, thorax, dense_path(np.array(corners), 2.5), radius, blood_hu)


def _paint_airways(canvas: Canvas, thorax: Thorax, carina: Point, hila: tuple[Point, Point]) -> None:
    """Paints trachea, main bronchi and proximal lobar bronchi, air in a thin wall."""
    top = np.array((thorax.patient.lung_height + 40.0, carina[1] - 6.0, 0.0))
    pieces = [(carina, top, 8.0)]
    for hilum, side in zip(hila, (-1.0, 1.0), strict=True):
        pieces.append((carina, hilum, 5.8))
        for direction in ((24.0, -6.0, 14.0 * side), (-26.0, -10.0, 8.0 * side), (-30.0, 14.0, 8.0 * side)):
            pieces.append((hilum, hilum + np.array(direction), 3.4))
    for start, end, radius in pieces:
        _paint_tube(canvas, thorax, dense_path(np.array((start, end)), 2.0), radius + 1.6, 15.0)
    for start, end, radius in pieces:
        _paint_tube(canvas, thorax, dense_path(np.array((start, end)), 2.0), radius, AIR_HU + 15.0)


def _paint_lung_vessels(
    canvas: Canvas, generator: np.random.Generator, thorax: Thorax, hila: tuple[Point, Point]
) -> None:
    """Paints a branching tree from each hilum, thinner towards the periphery."""
    patient = thorax.patient
    voxel = float(np.prod(canvas.spacing_mm))
    step_mm = min(2.0, 0.8 * min(canvas.spacing_mm))
    within = thorax.lobes > 0
    for hilum, side in zip(hila, (-1.0, 1.0), strict=True):
        starts = np.repeat(hilum[None], 14, axis=0)
        directions = _unit(generator.normal(size=(14, 3)) * (1.1, 0.9, 0.7) + (0.0, 0.0, 0.5 * side))
        radii = np.full(14, 3.9 * patient.vessel_scale)
        for generation in range(6):
            lengths = generator.uniform(14.0, 30.0, len(starts)) * 0.88**generation
            # Several lines of points fill wide branches on fine grids; a single line is enough for thin ones.
            lines = max(1, round(6.0 * float(radii[0]) ** 2 / canvas.spacing_mm[1] ** 2))
            count = int(30.0 / step_mm)
            along = directions[:, None, None] * (lengths[:, None] * (np.arange(count) + 0.5) / count)[:, :, None, None]
            points = starts[:, None, None] + np.broadcast_to(along, (len(starts), count, lines, 3))
            if lines > 1:
                points = points + _in_ball(generator, points.shape) * radii[0]
            volumes = np.pi * radii**2 * lengths / (count * lines)
            amounts = np.broadcast_to(
                (volumes / voxel * (patient.blood_hu - patient.lung_hu))[:, None, None], points.shape[:3]
            )
            canvas.splat(points.reshape(-1, 3), amounts.reshape(-1), patient.blood_hu, within)
            starts = np.repeat(starts + directions * lengths[:, None], 2, axis=0)
            directions = _unit(np.repeat(directions, 2, axis=0) + 0.5 * generator.normal(size=(len(starts), 3)))
            radii = np.repeat(radii, 2) * 0.74


def _bronchi(generator: np.random.Generator, thorax: Thorax, lobe: int, hilum: Point) -> tuple[Points, ...]:
    """Returns paths of a lobe's segmental bronchi from the hilum to distant points of the lobe."""
    ends = thorax.lobe_points[lobe - 1]
    if not len(ends):
        return ()
    lengths = np.linalg.norm(ends - hilum, axis=1)
    far = ends[np.argsort(lengths, kind="stable")[len(ends) // 2 :]]
    paths = []
    for end in far[generator.integers(len(far), size=8)]:
        bend = generator.normal(size=3) * 0.10 * np.linalg.norm(end - hilum)
        share = np.linspace(0.0, 1.0, max(8, int(np.linalg.norm(end - hilum) / 2.0)))[:, None]
        paths.append(hilum + (end - hilum) * share + bend * 4.0 * share * (1.0 - share))
    return tuple(paths)


def _unit(vectors: Points) -> Points:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def _in_ball(generator: np.random.Generator, shape: tuple[int, ...]) -> Points:
    return _unit(generator.normal(size=shape)) * np.cbrt(generator.random(size=(*shape[:-1], 1)))
