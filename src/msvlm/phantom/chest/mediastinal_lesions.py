"""Painters of lesions of the mediastinum, the heart and the great vessels; each paints one lesion."""

import numpy as np

from msvlm.phantom.canvas import Point, Points, ellipsoid_distance
from msvlm.phantom.chest.scene import Scene

_SOFT_LIMIT_HU = -30.0
"""Upper limit of what masses and fluid replace: fat and lung, but not vessels and muscle."""


def paint_pericardial_effusion(scene: Scene, lesion: int, thickness_mm: float) -> None:
    """Paints a rim of fluid around the heart."""
    thorax = scene.thorax
    box = scene.box_around(thorax.heart_centre, thorax.heart_radii + thickness_mm)
    rim = (
        (thorax.heart_distance(box, thickness_mm) <= 1.0) & (thorax.heart_distance(box) > 1.0) & thorax.above[box.index]
    )
    rim &= ~thorax.spared[box.index] & (scene.canvas.hu[box.index] < _SOFT_LIMIT_HU)
    rim &= thorax.wall_distance(box) < 1.0
    scene.canvas.paint(box, rim, scene.generator.uniform(2.0, 14.0), lesion)


def paint_hiatal_hernia(scene: Scene, lesion: int, radius_mm: float) -> None:
    """Paints a pouch of stomach behind the heart: wall, fluid, and gas above the fluid."""
    generator, thorax = scene.generator, scene.thorax
    height = 0.45 * thorax.patient.dome_height + 0.5 * radius_mm
    centre = np.array((height, thorax.spine_y - 28.0 - 0.55 * radius_mm, generator.uniform(-8.0, 6.0)))
    radii = radius_mm * np.array((0.95, 0.78, 1.0))
    box, mass = scene.canvas.ellipsoid(centre, radii)
    mass &= ~thorax.spared[box.index]
    scene.canvas.paint(box, mass, 45.0, lesion)
    wall = max(4.0, scene.thinnest_mm)
    lumen = (ellipsoid_distance(box, centre, radii - wall) <= 1.0) & mass
    level = centre[1] + generator.uniform(-0.25, 0.25) * radius_mm
    content = np.where(box.y < level, np.float32(-930.0), np.float32(15.0))
    scene.canvas.paint(box, lumen, content, lesion)


def paint_lymph_node(scene: Scene, lesion: int) -> None:
    """Paints a soft-tissue node of 13 to 28 mm at a nodal station of the mediastinum or the hila."""
    generator, tubes, patient = scene.generator, scene.tubes, scene.thorax.patient
    carina, half_width = tubes.carina, patient.mediastinum_half_width
    stations = (
        carina + (26.0, -4.0, -17.0),
        carina + (-16.0, 10.0, 4.0),
        carina + (6.0, -16.0, 25.0),
        carina + (24.0, -0.42 * patient.cavity_half_depth, 6.0),
        carina + (38.0, -6.0, 20.0),
        tubes.hila[0] + (-8.0, 6.0, -9.0),
        tubes.hila[1] + (-8.0, 6.0, 9.0),
        carina + (2.0, -14.0, -half_width - 2.0),
    )
    radii = generator.uniform(7.5, 14.0) * generator.uniform(0.88, 1.1, size=3)
    # Of three stations the one with the most free voxels, so that vessels do not cut the node into slivers.
    candidates = []
    for station in generator.choice(len(stations), size=3, replace=False):
        box, node = scene.canvas.ellipsoid(stations[station] + generator.normal(size=3) * 2.5, radii)
        node &= ~scene.thorax.spared[box.index] & (scene.canvas.hu[box.index] < _SOFT_LIMIT_HU)
        candidates.append((box, node))
    box, node = max(candidates, key=lambda candidate: np.count_nonzero(candidate[1]))
    scene.canvas.paint(box, node, generator.uniform(35.0, 55.0), lesion)


def paint_arterial_calcification(scene: Scene, lesion: int, plaques: int) -> None:
    """Paints curved plaques in the wall of the aorta."""
    generator, path, heart = scene.generator, scene.tubes.aorta, scene.thorax.heart_centre
    # Outside the aortic root, where plaques would be mistaken for coronary calcification.
    beyond_root = (path[:, 0] > heart[0] + scene.thorax.heart_radii[0]) | (path[:, 1] > scene.thorax.spine_y - 45.0)
    in_scan = path[beyond_root & (path[:, 0] > scene.canvas.z.min()) & (path[:, 0] < scene.canvas.z.max())]
    if len(in_scan) < 8:
        return
    for _ in range(plaques):
        start = int(generator.integers(2, len(in_scan) - 2))
        axis = in_scan[start + 1] - in_scan[start - 1] + 1e-6
        angle = generator.uniform(0.0, 2 * np.pi)
        for step in np.linspace(0.0, generator.uniform(0.5, 1.3), 6):
            outward = _across(axis / np.linalg.norm(axis), angle + step)
            spot = in_scan[start] + outward * (scene.tubes.aorta_radius - 0.8)
            _paint_speck(scene, lesion, spot, generator.uniform(1.5, 2.6), generator.uniform(550.0, 1000.0))


def paint_coronary_calcification(scene: Scene, lesion: int, plaques: int) -> None:
    """Paints bright beads along the coronary arteries."""
    generator = scene.generator
    courses = _coronary_courses(scene.thorax.heart_centre, scene.thorax.heart_radii)
    for _ in range(plaques):
        course = courses[generator.integers(len(courses))]
        share = generator.uniform(0.0, 0.85)
        for step in np.linspace(0.0, generator.uniform(0.08, 0.22), 4):
            position = (share + step) * (len(course) - 1)
            low = min(int(position), len(course) - 2)
            spot = course[low] + (course[low + 1] - course[low]) * (position - low)
            _paint_speck(scene, lesion, spot, generator.uniform(1.5, 2.4), generator.uniform(550.0, 1000.0))


def _coronary_courses(centre: Point, radii: Point) -> tuple[Points, ...]:
    """Returns the courses of the left anterior descending, circumflex and right coronary artery."""
    descending = ((0.62, -0.30, 0.10), (0.45, -0.62, 0.28), (0.10, -0.74, 0.46), (-0.30, -0.66, 0.62))
    circumflex = ((0.62, -0.05, 0.20), (0.50, 0.15, 0.50), (0.20, 0.28, 0.66), (-0.20, 0.25, 0.72))
    right = ((0.58, -0.35, -0.15), (0.30, -0.45, -0.52), (-0.10, -0.20, -0.74), (-0.45, 0.10, -0.62))
    return tuple(centre + np.array(course) * radii for course in (descending, circumflex, right))


def _across(axis: Point, angle: float) -> Point:
    """Returns a unit vector perpendicular to an axis, at an angle around it."""
    helper = np.array((0.0, 0.0, 1.0)) if abs(axis[2]) < 0.8 else np.array((0.0, 1.0, 0.0))
    first = np.cross(axis, helper)
    first /= np.linalg.norm(first)
    return first * np.cos(angle) + np.cross(axis, first) * np.sin(angle)


def _paint_speck(scene: Scene, lesion: int, spot: Point, radius_mm: float, hu: float) -> None:
    """Paints a bright spot, at least as large as a voxel since calcium blooms."""
    radii = np.maximum(radius_mm, 0.56 * np.array(scene.canvas.spacing_mm))
    box, speck = scene.canvas.ellipsoid(spot, radii)
    scene.canvas.paint(box, speck, hu, lesion)
