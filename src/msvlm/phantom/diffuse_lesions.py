"""Painters of lesions that go through a lobe or a lung; each paints one lesion."""

import numpy as np

from msvlm.phantom.canvas import Box, Volume, smooth_field
from msvlm.phantom.scene import Scene


def paint_emphysema(scene: Scene, lesion: int, lobe: int, share: float) -> None:
    """Black holes without walls that take up the given share of a lobe."""
    box = _box_of_lobe(scene, lobe)
    inside = scene.in_lobe(box, lobe)
    holes = smooth_field(box, scene.generator, scene.generator.uniform(24.0, 34.0), terms=7)
    if not inside.any():
        return
    limit = np.quantile(holes[inside], 1.0 - share)
    level = np.float32(scene.generator.uniform(-990.0, -970.0))
    scene.canvas.paint(box, inside & (holes > limit), level + np.zeros_like(holes), lesion)


def paint_mosaic_attenuation(scene: Scene, lesion: int, is_right: bool) -> None:
    """A patchwork of lighter and darker lobules through one lung, sharp at their borders."""
    generator = scene.generator
    box = scene.canvas.whole
    middle = scene.canvas.shape[2] // 2
    columns = slice(0, middle + 1) if is_right else slice(middle, scene.canvas.shape[2])
    box = Box((box.index[0], box.index[1], columns), box.z, box.y, box.x[:, :, columns])
    lobes = scene.thorax.lobes[box.index]
    inside = ((lobes >= 1) & (lobes <= 3)) if is_right else (lobes >= 4)
    size = generator.uniform(26.0, 36.0)
    cells = np.floor(np.stack(_warped(scene, box, size))).astype(np.int16)
    # A third of the lobules is dark at random, by a table that the cell's place looks up.
    table = generator.random(997) < 0.45
    number = (cells[0] * np.int32(131) + cells[1] * np.int32(37) + cells[2] * np.int32(11)) % 997
    step = np.where(table[number], np.float32(-50.0), np.float32(75.0))
    scene.canvas.paint(box, inside, scene.canvas.hu[box.index] + step, lesion)


def paint_septal_thickening(scene: Scene, lesion: int, lobe: int) -> None:
    """Fine lines around the lobules under the pleura of a lobe."""
    box = _box_of_lobe(scene, lobe)
    depth = np.float32(1.0 - 34.0 / scene.thorax.patient.cavity_half_width)
    rim = scene.in_lobe(box, lobe) & (scene.thorax.wall_share(box) > depth)
    size = scene.generator.uniform(15.0, 20.0)
    thick = max(1.2, 0.62 * scene.thinnest_mm) / size
    lines = np.zeros(box.shape, dtype=bool)
    for cells in _warped(scene, box, size)[1:]:
        lines |= np.abs(cells - np.rint(cells)) < thick / 2
    level = np.float32(scene.generator.uniform(-420.0, -300.0))
    scene.canvas.paint(box, rim & lines, np.maximum(level, scene.canvas.hu[box.index]), lesion)


def _warped(scene: Scene, box: Box, size_mm: float) -> tuple[Volume, Volume, Volume]:
    """Coordinates in units of lobules, bent so that their borders look grown."""
    bend = [smooth_field(box, scene.generator, 2.6 * size_mm, terms=2) * np.float32(0.34) for _ in range(2)]
    z = box.z / np.float32(1.2 * size_mm) + bend[0]
    # Every second layer and row is moved by half a lobule, as bricks are.
    y = box.y / np.float32(size_mm) + bend[1] + np.float32(0.5) * (np.floor(z) % 2)
    x = box.x / np.float32(size_mm) + bend[0] + np.float32(0.5) * (np.floor(y) % 2)
    return z, y, x


def _box_of_lobe(scene: Scene, lobe: int) -> Box:
    """A box around a lobe with some margin, from the places known in it."""
    places = scene.places_in(lobe)
    return scene.canvas.box(places.min(axis=0) - 12.0, places.max(axis=0) + 12.0)
