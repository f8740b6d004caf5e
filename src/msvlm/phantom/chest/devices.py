"""Painters of devices and other foreign material."""

import numpy as np

from msvlm.phantom.canvas import Box, Mask, Points, dense_path
from msvlm.phantom.chest.scene import Scene

METAL_HU = 2600.0


def paint_device(scene: Scene, lesion: int) -> str:
    """Samples and paints one device; returns its kind."""
    painters = {
        "pacemaker": _paint_pacemaker,
        "port catheter": _paint_port,
        "central venous catheter": _paint_central_line,
        "sternal wires": _paint_sternal_wires,
        "aortic stent graft": _paint_stent,
        "gastric tube": _paint_gastric_tube,
    }
    kind = tuple(painters)[scene.generator.integers(len(painters))]
    painters[kind](scene, lesion)
    return kind


def _paint_pacemaker(scene: Scene, lesion: int) -> None:
    """Paints a flat generator in front of a pectoral muscle, and a lead into the heart."""
    side = 1.0 if scene.generator.random() < 0.75 else -1.0
    patient, heart = scene.thorax.patient, scene.thorax.heart_centre
    front = patient.middle_y - 0.75 * patient.body_half_depth
    position = np.array((0.90 * patient.lung_height, front, side * 0.52 * patient.body_half_width))
    box, can = scene.canvas.ellipsoid(position, np.array((23.0, 7.0, 21.0)))
    scene.canvas.paint(box, can, METAL_HU, lesion)
    entry = scene.tubes.vena_cava[0] + (-40.0, 0.0, 0.0)
    lead = [
        position,
        np.array((patient.lung_height + 4.0, entry[1] - 14.0, side * 70.0)),
        np.array((entry[0], entry[1], -24.0)),
    ]
    lead += [scene.tubes.vena_cava[-1], heart + scene.thorax.heart_radii * (-0.35, -0.35, 0.15)]
    _paint_wire(scene, lesion, np.array(lead), 1.6)


def _paint_port(scene: Scene, lesion: int) -> None:
    """Paints a small chamber under the skin, and a catheter into the superior vena cava."""
    side = -1.0 if scene.generator.random() < 0.7 else 1.0
    patient = scene.thorax.patient
    front = patient.middle_y - 0.77 * patient.body_half_depth
    position = np.array((0.84 * patient.lung_height, front, side * 0.46 * patient.body_half_width))
    box, chamber = scene.canvas.ellipsoid(position, np.array((13.0, 7.5, 13.0)))
    scene.canvas.paint(box, chamber, METAL_HU, lesion)
    cava = scene.tubes.vena_cava
    lead = [
        position,
        np.array((patient.lung_height + 6.0, patient.middle_y - 30.0, side * 55.0)),
        cava[len(cava) // 4],
        cava[-8],
    ]
    _paint_wire(scene, lesion, np.array(lead), 1.5, hu=1500.0)


def _paint_central_line(scene: Scene, lesion: int) -> None:
    cava = scene.tubes.vena_cava
    _paint_wire(scene, lesion, cava[: int(scene.generator.uniform(0.7, 1.0) * len(cava))], 1.7, hu=1500.0)


def _paint_gastric_tube(scene: Scene, lesion: int) -> None:
    patient = scene.thorax.patient
    stomach = np.array((-8.0, patient.middle_y - 0.1 * patient.cavity_half_depth, 0.4 * patient.cavity_half_width))
    _paint_wire(scene, lesion, np.concatenate((scene.tubes.oesophagus, stomach[None])), 1.8, hu=1300.0)


def _paint_sternal_wires(scene: Scene, lesion: int) -> None:
    """Paints five loops around the sternum, as after a sternotomy."""
    patient = scene.thorax.patient
    depths = scene.thorax.cavity_half_depth.ravel()
    for height in np.linspace(0.38, 0.86, 5) * patient.lung_height:
        nearest = int(np.argmin(np.abs(scene.canvas.z.ravel() - height)))
        front = patient.middle_y - float(depths[nearest]) - 8.0
        angles = np.linspace(0.0, 2 * np.pi, 13)
        loop = np.stack((np.full(13, height), front + 9.0 * np.sin(angles), 13.0 * np.cos(angles)), axis=1)
        _paint_wire(scene, lesion, loop, 1.3)


def _paint_stent(scene: Scene, lesion: int) -> None:
    """Paints a metal mesh in the wall of the descending aorta."""
    path = scene.tubes.aorta[len(scene.tubes.aorta) // 2 :]
    path = path[(path[:, 0] > 25.0)]
    if len(path) < 4:
        return
    radius = scene.tubes.aorta_radius
    thick = max(1.2, 0.55 * scene.thinnest_mm)
    box, outer = scene.canvas.tube(path, np.full(len(path), radius + 0.6))
    inner = _tube_in_box(scene, box, path, radius + 0.6 - 1.6 * thick)
    rings = np.mod(box.z, 14.0) < np.float32(max(6.0, scene.canvas.spacing_mm[0]))
    scene.canvas.paint(box, outer & ~inner & rings, METAL_HU, lesion)


def _tube_in_box(scene: Scene, box: Box, path: Points, radius: float) -> Mask:
    """Returns the mask of a tube within the box of a wider tube."""
    narrow, mask = scene.canvas.tube(path, np.full(len(path), radius))
    whole = np.zeros(box.shape, dtype=bool)
    part = tuple(
        slice(own.start - wide.start, own.stop - wide.start) for own, wide in zip(narrow.index, box.index, strict=True)
    )
    whole[part] = mask
    return whole


def _paint_wire(scene: Scene, lesion: int, corners: Points, radius_mm: float, hu: float = METAL_HU) -> None:
    """Paints a line through corners, at least as thick as a voxel since metal blooms."""
    path = dense_path(corners, 1.0)
    reach = max(radius_mm, 0.75 * scene.thinnest_mm)
    box, inside = scene.canvas.tube(path, np.full(len(path), reach))
    scene.canvas.paint(box, inside, hu, lesion)
