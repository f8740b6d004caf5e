"""Painters of lesions of the lungs, the airways and the pleura; each paints one lesion in a lobe or on a side."""

import numpy as np

from msvlm.phantom.canvas import Box, Points, Volume, dense_path, ellipsoid_distance, smooth_field
from msvlm.phantom.chest.scene import Scene


def paint_nodule(scene: Scene, lesion: int, lobe: int) -> None:
    """Paints a solid, slightly lobulated ball of 6 to 30 mm, mostly 9 to 24 mm."""
    generator = scene.generator
    radius = 0.5 * float(np.clip(np.exp(generator.normal(np.log(14.0), 0.38)), 6.5, 26.0))
    centre = scene.point_in(lobe)
    radii = radius * generator.uniform(0.9, 1.1, size=3)
    box = scene.box_around(centre, radii * 1.3)
    outline = ellipsoid_distance(box, centre, radii) + scene.smooth_noise(box, 1.6 * radius, 0.09)
    scene.canvas.paint(box, (outline <= 1.0) & scene.in_lobe(box, lobe), generator.uniform(20.0, 60.0), lesion)


def paint_consolidation(scene: Scene, lesion: int, lobe: int) -> None:
    """Paints a dense, irregular area with air bronchograms."""
    generator = scene.generator
    points = scene.points_in(lobe)
    # Near the lateral or the posterior chest wall, where pneumonia is frequent.
    centre = scene.point_in(lobe, -np.abs(points[:, 2]) - 0.6 * points[:, 1], 0.5)
    radii = generator.uniform(20.0, 36.0, size=3)
    box = scene.box_around(centre, radii * 1.35)
    outline = ellipsoid_distance(box, centre, radii) + scene.smooth_noise(box, 26.0, 0.22)
    inside = (outline <= 1.0) & scene.in_lobe(box, lobe)
    scene.canvas.paint(
        box, inside, np.float32(generator.uniform(20.0, 42.0)) + scene.smooth_noise(box, 18.0, 7.0), lesion
    )
    hilum = scene.tubes.hila[0 if lobe <= 3 else 1]
    radius = max(2.0, 0.75 * scene.thinnest_mm)
    for _ in range(4):
        end = centre + radii * generator.uniform(-0.75, 0.75, size=3)
        start = centre + (hilum - centre) / np.linalg.norm(hilum - centre) * 0.85 * radii.min()
        path = dense_path(np.array((start, end)), 1.5)
        tube, lumen = scene.canvas.tube(path, np.full(len(path), radius))
        lumen &= scene.canvas.labels[tube.index] == lesion
        scene.canvas.paint(tube, lumen, -820.0, lesion)


def paint_opacity(scene: Scene, lesion: int, lobe: int) -> None:
    """Paints two or three patches of ground glass in which vessels stay visible."""
    generator = scene.generator
    level = generator.uniform(-640.0, -540.0)
    for _ in range(int(generator.integers(2, 4))):
        centre = scene.point_in(lobe)
        radii = generator.uniform(14.0, 30.0, size=3)
        box = scene.box_around(centre, radii * 1.35)
        share = ellipsoid_distance(box, centre, radii) + scene.smooth_noise(box, 24.0, 0.2)
        inside = (share <= 1.0) & scene.in_lobe(box, lobe)
        haze = (
            np.float32(level) + scene.smooth_noise(box, 14.0, 22.0) - np.float32(110.0) * np.clip(share, 0.0, 1.0) ** 2
        )
        scene.canvas.paint(box, inside, np.maximum(haze, scene.canvas.hu[box.index]), lesion)


def paint_atelectasis(scene: Scene, lesion: int, lobe: int) -> None:
    """Paints a plate or a wedge of airless lung with straight edges, without air bronchograms."""
    generator = scene.generator
    points = scene.points_in(lobe)
    hilum = scene.tubes.hila[0 if lobe <= 3 else 1]
    hu = generator.uniform(45.0, 75.0)
    if generator.random() < 0.5:
        centre = scene.point_in(lobe, points[:, 0], 0.6)
        normal = np.array((generator.uniform(-0.5, 0.5), 1.0, generator.uniform(-0.5, 0.5)))
        normal /= np.linalg.norm(normal)
        reach = generator.uniform(26.0, 42.0)
        box = scene.box_around(centre, np.full(3, reach))
        across = (box.z - centre[0]) * normal[0] + (box.y - centre[1]) * normal[1] + (box.x - centre[2]) * normal[2]
        thick = max(generator.uniform(3.5, 5.5), 0.9 * scene.thinnest_mm)
        inside = (np.abs(across) < thick) & (ellipsoid_distance(box, centre, np.full(3, reach)) <= 1.0)
    else:
        far = scene.point_in(lobe, -np.abs(points[:, 2]) - 0.5 * points[:, 1] + 0.3 * points[:, 0], 0.15)
        axis = (far - hilum) * (0.0, 1.0, 1.0)
        apex = far - 0.55 * axis
        axis /= np.linalg.norm(axis)
        box = scene.box_around(far, np.array((generator.uniform(13.0, 20.0), 60.0, 60.0)))
        along = (box.y - apex[1]) * axis[1] + (box.x - apex[2]) * axis[2]
        across = np.abs((box.y - apex[1]) * axis[2] - (box.x - apex[2]) * axis[1])
        inside = np.broadcast_to((along > 0.0) & (across < generator.uniform(0.35, 0.5) * along), box.shape)
    scene.canvas.paint(box, inside & scene.in_lobe(box, lobe), hu, lesion)


def paint_fibrotic_sequela(scene: Scene, lesion: int, lobe: int) -> None:
    """Paints dense streaks from one point with specks of calcium, next to a widened airspace."""
    generator = scene.generator
    points = scene.points_in(lobe)
    centre = scene.point_in(lobe, -points[:, 0] - 0.4 * np.abs(points[:, 2]), 0.45)
    thick = max(1.6, 0.62 * scene.thinnest_mm)
    box, wide = scene.canvas.ellipsoid(centre + generator.normal(size=3) * 4.0, np.array((9.0, 9.0, 9.0)))
    scene.canvas.paint(box, wide & scene.in_lobe(box, lobe), -965.0, lesion)
    for _ in range(int(generator.integers(6, 9))):
        direction = generator.normal(size=3) * (0.35, 1.0, 1.0)
        end = centre + direction / np.linalg.norm(direction) * generator.uniform(18.0, 38.0)
        _streak(
            scene, lesion, lobe, np.array((centre, (centre + end) / 2 + generator.normal(size=3) * 4.0, end)), thick
        )
    for _ in range(4):
        spot = centre + generator.normal(size=3) * 7.0
        box, speck = scene.canvas.ellipsoid(spot, np.maximum(2.0, 0.55 * np.array(scene.canvas.spacing_mm)))
        scene.canvas.paint(box, speck & scene.in_lobe(box, lobe), generator.uniform(250.0, 450.0), lesion)


def paint_emphysema(scene: Scene, lesion: int, lobe: int, share: float) -> None:
    """Paints holes without walls that occupy the given share of a lobe."""
    box = _box_of_lobe(scene, lobe)
    inside = scene.in_lobe(box, lobe)
    holes = smooth_field(box, scene.generator, scene.generator.uniform(24.0, 34.0), terms=7)
    if not inside.any():
        return
    limit = np.quantile(holes[inside], 1.0 - share)
    level = np.float32(scene.generator.uniform(-990.0, -970.0))
    scene.canvas.paint(box, inside & (holes > limit), level + np.zeros_like(holes), lesion)


def paint_mosaic_attenuation(scene: Scene, lesion: int, is_right: bool) -> None:
    """Paints a sharply bordered mosaic of lighter and darker lobules through one lung."""
    generator = scene.generator
    box = scene.canvas.whole
    middle = scene.canvas.shape[2] // 2
    columns = slice(0, middle + 1) if is_right else slice(middle, scene.canvas.shape[2])
    box = Box((box.index[0], box.index[1], columns), box.z, box.y, box.x[:, :, columns])
    lobes = scene.thorax.lobes[box.index]
    inside = ((lobes >= 1) & (lobes <= 3)) if is_right else (lobes >= 4)
    size = generator.uniform(26.0, 36.0)
    cells = np.floor(np.stack(_warped(scene, box, size))).astype(np.int16)
    # 45 % of the lobules are dark at random, by a table indexed with a hash of the cell.
    table = generator.random(997) < 0.45
    number = (cells[0] * np.int32(131) + cells[1] * np.int32(37) + cells[2] * np.int32(11)) % 997
    step = np.where(table[number], np.float32(-50.0), np.float32(75.0))
    scene.canvas.paint(box, inside, scene.canvas.hu[box.index] + step, lesion)


def paint_septal_thickening(scene: Scene, lesion: int, lobe: int) -> None:
    """Paints fine lines around the subpleural lobules of a lobe."""
    box = _box_of_lobe(scene, lobe)
    depth = np.float32(1.0 - 34.0 / scene.thorax.patient.cavity_half_width)
    rim = scene.in_lobe(box, lobe) & (scene.thorax.wall_distance(box) > depth)
    size = scene.generator.uniform(15.0, 20.0)
    thick = max(1.2, 0.62 * scene.thinnest_mm) / size
    lines = np.zeros(box.shape, dtype=bool)
    for cells in _warped(scene, box, size)[1:]:
        lines |= np.abs(cells - np.rint(cells)) < thick / 2
    level = np.float32(scene.generator.uniform(-420.0, -300.0))
    scene.canvas.paint(box, rim & lines, np.maximum(level, scene.canvas.hu[box.index]), lesion)


def paint_peribronchial_thickening(scene: Scene, lesion: int, lobe: int) -> None:
    """Paints bright, thick walls around narrow airways near the hilum."""
    lumen = max(1.5, 0.55 * scene.thinnest_mm)
    for path in scene.tubes.bronchi[lobe - 1][:5]:
        part = path[int(0.22 * len(path)) : int(0.72 * len(path))]
        _paint_airway(scene, lesion, lobe, part, lumen, lumen + 3.8, scene.generator.uniform(15.0, 50.0))


def paint_bronchiectasis(scene: Scene, lesion: int, lobe: int) -> None:
    """Paints wide, thin-walled airways that reach the periphery."""
    lumen = scene.generator.uniform(4.5, 6.5)
    wall = max(1.6, 0.7 * scene.thinnest_mm)
    for path in scene.tubes.bronchi[lobe - 1][3:8]:
        part = path[int(0.40 * len(path)) : int(0.97 * len(path))]
        _paint_airway(scene, lesion, lobe, part, lumen, lumen + wall, scene.generator.uniform(-120.0, 0.0))


def paint_pleural_effusion(scene: Scene, lesion: int, is_right: bool, depth_mm: float) -> None:
    """Paints fluid posterior to one lung, deepest at the base, rising along the lateral wall."""
    thorax, patient = scene.thorax, scene.thorax.patient
    side = -1.0 if is_right else 1.0
    low, high = sorted((0.0, side * 1e6))
    box = scene.canvas.box(
        np.array((-1e6, -1e6, low)), np.array((0.30 * patient.lung_height + 2.2 * depth_mm, 1e6, high))
    )
    lungs = thorax.lobes[box.index] > 0
    reach = 0.30 * patient.lung_height + 2.2 * depth_mm
    thinning = np.clip(1.0 - np.maximum(box.z, 0.0) / reach, 0.0, 1.0) ** 0.5
    back = patient.middle_y + 0.90 * patient.cavity_half_depth
    climb = 0.45 * np.maximum(np.abs(box.x) - 0.55 * patient.cavity_half_width, 0.0)
    fluid = box.y + climb > back - depth_mm * thinning
    scene.canvas.paint(box, lungs & fluid, scene.generator.uniform(2.0, 14.0), lesion)


def _streak(scene: Scene, lesion: int, lobe: int, corners: Points, thick: float) -> None:
    path = dense_path(corners, 1.5)
    box, inside = scene.canvas.tube(path, np.linspace(1.3, 0.9, len(path)) * thick)
    scene.canvas.paint(box, inside & scene.in_lobe(box, lobe), scene.generator.uniform(40.0, 110.0), lesion)


def _paint_airway(
    scene: Scene, lesion: int, lobe: int, path: Points, lumen: float, outer: float, wall_hu: float
) -> None:
    if len(path) < 3:
        return
    path = dense_path(path, 1.5)
    box, wall = scene.canvas.tube(path, np.full(len(path), outer))
    scene.canvas.paint(box, wall & scene.in_lobe(box, lobe), wall_hu, lesion)
    box, inside = scene.canvas.tube(path, np.full(len(path), lumen))
    scene.canvas.paint(box, inside & scene.in_lobe(box, lobe), -985.0, lesion)


def _warped(scene: Scene, box: Box, size_mm: float) -> tuple[Volume, Volume, Volume]:
    """Returns coordinates in units of lobules, warped for irregular borders."""
    bend = [smooth_field(box, scene.generator, 2.6 * size_mm, terms=2) * np.float32(0.34) for _ in range(2)]
    z = box.z / np.float32(1.2 * size_mm) + bend[0]
    # Every second layer and row is shifted by half a lobule, as in a brick wall.
    y = box.y / np.float32(size_mm) + bend[1] + np.float32(0.5) * (np.floor(z) % 2)
    x = box.x / np.float32(size_mm) + bend[0] + np.float32(0.5) * (np.floor(y) % 2)
    return z, y, x


def _box_of_lobe(scene: Scene, lobe: int) -> Box:
    """Returns a box around the sampled points of a lobe, with a margin of 12 mm."""
    points = scene.points_in(lobe)
    return scene.canvas.box(points.min(axis=0) - 12.0, points.max(axis=0) + 12.0)
