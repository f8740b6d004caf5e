"""Painters of lesions of the airways; each paints one lesion in one lobe of a scene."""

import numpy as np

from msvlm.phantom.canvas import Points, dense_path
from msvlm.phantom.scene import Scene


def paint_peribronchial_thickening(scene: Scene, lesion: int, lobe: int) -> None:
    """Bright, thick walls around narrow airways near the hilum."""
    lumen = max(1.5, 0.55 * scene.thinnest_mm)
    for path in scene.tubes.bronchi[lobe - 1][:5]:
        part = path[int(0.22 * len(path)) : int(0.72 * len(path))]
        _paint_airway(scene, lesion, lobe, part, lumen, lumen + 3.8, scene.generator.uniform(15.0, 50.0))


def paint_bronchiectasis(scene: Scene, lesion: int, lobe: int) -> None:
    """Wide airways with a thin wall that run far to the periphery."""
    lumen = scene.generator.uniform(4.5, 6.5)
    wall = max(1.6, 0.7 * scene.thinnest_mm)
    for path in scene.tubes.bronchi[lobe - 1][3:8]:
        part = path[int(0.40 * len(path)) : int(0.97 * len(path))]
        _paint_airway(scene, lesion, lobe, part, lumen, lumen + wall, scene.generator.uniform(-120.0, 0.0))


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
