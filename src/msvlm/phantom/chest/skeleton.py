"""Spine, ribs, sternum, scapulae, clavicles, and the scanner's table."""

import numpy as np

from msvlm.phantom.canvas import Box, Canvas, Mask, Volume, dense_path
from msvlm.phantom.chest.thorax import Thorax

_RIB_FALL_MM = 70.0
"""How much lower a rib ends anteriorly than it begins posteriorly."""


def paint_skeleton(canvas: Canvas, generator: np.random.Generator, thorax: Thorax) -> None:
    """Paints the bones around a thorax, and marks the spine as spared."""
    _paint_spine(canvas, generator, thorax)
    _paint_ribs(canvas, generator, thorax)
    _paint_sternum(canvas, thorax)
    _paint_shoulders(canvas, thorax)


def paint_table(canvas: Canvas, generator: np.random.Generator, thorax: Thorax) -> None:
    """Paints a curved table just behind the back."""
    back = thorax.patient.middle_y + 2.0 + thorax.patient.body_half_depth + generator.uniform(4.0, 10.0)
    box = canvas.box(np.array((-1e6, back - 30.0, -1e6)), np.array((1e6, 1e6, 1e6)))
    curve = np.float32(back) - np.float32(0.0011) * box.x**2
    thick = max(2.0, 0.55 * canvas.spacing_mm[1])
    for offset, hu in ((0.0, -250.0), (24.0, -350.0)):
        sheet = (np.abs(box.y - curve - offset) < thick) & (np.abs(box.x) < 210.0)
        canvas.paint(box, np.broadcast_to(sheet, box.shape) & (canvas.hu[box.index] < -900.0), hu)


def _paint_spine(canvas: Canvas, generator: np.random.Generator, thorax: Thorax) -> None:
    period, bone_hu, middle = generator.uniform(21.0, 26.0), thorax.patient.bone_hu, thorax.spine_y
    box = canvas.box(np.array((-1e6, middle - 20.0, -40.0)), np.array((1e6, middle + 55.0, 40.0)))
    disc = np.mod(box.z + generator.uniform(0.0, period), period) < 4.5
    body = (box.x / 18.0) ** 2 + ((box.y - middle) / 15.0) ** 2 <= 1.0
    core = (box.x / 14.5) ** 2 + ((box.y - middle) / 11.5) ** 2 <= 1.0
    thorax.spared[box.index] |= body
    canvas.paint(box, body & ~disc, bone_hu + 200.0)
    canvas.paint(box, core & ~disc, bone_hu)
    canvas.paint(box, body & disc, 80.0)
    arch = np.abs(np.hypot(box.x, box.y - middle - 22.0) - 11.5) < 3.0
    process = (np.abs(box.x) < 3.5) & (box.y > middle + 32.0) & (box.y < middle + 48.0)
    wings = (np.abs(box.y - middle - 20.0) < 4.0) & (np.abs(box.x) < 33.0) & (np.abs(box.x) > 11.0)
    canvas.paint(box, (arch | process | wings) & ~disc, bone_hu + 150.0)
    canal = (np.hypot(box.x, box.y - middle - 22.0) < 8.5) & np.ones(box.shape, dtype=bool)
    canvas.paint(box, canal, 30.0)


def _paint_ribs(canvas: Canvas, generator: np.random.Generator, thorax: Thorax) -> None:
    """Paints twelve oblique rings in the shell around the chest; anteriorly they have the HU of cartilage."""
    patient, box = thorax.patient, canvas.whole
    shell = _shell(box, thorax, 10.0) & ~_shell(box, thorax, 1.5) & (box.z < patient.lung_height + 14.0)
    slices, rows, columns = np.nonzero(shell)
    x = box.x.ravel()[columns]
    y = box.y.ravel()[rows] - np.float32(patient.middle_y)
    angle = np.arctan2(np.abs(x), y)
    period = (patient.lung_height + 50.0) / 11.0
    phase = generator.uniform(0.0, period)
    fall = np.float32(_RIB_FALL_MM) * np.sin(np.minimum(angle, np.float32(2.6)) / 2) ** 2
    height = np.mod(box.z.ravel()[slices] + fall + np.float32(phase), np.float32(period))
    is_rib = (height < 9.5) & (angle > 0.28) & (angle < 2.95)
    is_core = (height > 2.5) & (height < 7.0)
    hu = np.where(is_core, patient.bone_hu - 30.0, patient.bone_hu + 260.0)
    hu = np.where(angle > 2.35, 95.0, hu)
    canvas.hu[slices[is_rib], rows[is_rib], columns[is_rib]] = hu[is_rib]


def _shell(box: Box, thorax: Thorax, margin_mm: float) -> Mask:
    width, depth = thorax.cavity_half_width + margin_mm, thorax.cavity_half_depth + margin_mm
    power = np.float32(2.3)
    across: Volume = (np.abs(box.x) / width) ** power
    along: Volume = (np.abs(box.y - np.float32(thorax.patient.middle_y)) / depth) ** power
    return across + along <= 1.0


def _paint_sternum(canvas: Canvas, thorax: Thorax) -> None:
    patient = thorax.patient
    box = canvas.box(
        np.array((0.30 * patient.lung_height, -1e6, -22.0)), np.array((0.93 * patient.lung_height, 1e6, 22.0))
    )
    front = patient.middle_y - thorax.cavity_half_depth[box.index[0]] - 8.0
    half_width = 12.0 + 8.0 * (box.z > 0.78 * patient.lung_height)
    share = (box.x / half_width) ** 4 + ((box.y - front) / 7.0) ** 4
    canvas.paint(box, share <= 1.0, patient.bone_hu + 160.0)
    canvas.paint(box, share <= 0.35, patient.bone_hu - 40.0)


def _paint_shoulders(canvas: Canvas, thorax: Thorax) -> None:
    patient = thorax.patient
    top, width = patient.lung_height, patient.cavity_half_width
    depth = patient.middle_y + patient.cavity_half_depth
    for side in (-1.0, 1.0):
        ends = (
            (top - 12.0, patient.middle_y - 0.6 * patient.cavity_half_depth, 22.0 * side),
            (top + 18.0, patient.middle_y - 0.1 * patient.cavity_half_depth, side * width * 1.05),
        )
        path = dense_path(np.array(ends), 2.5)
        tube, inside = canvas.tube(path, np.full(len(path), 5.0))
        canvas.paint(tube, inside, patient.bone_hu + 180.0)
        box = canvas.box(
            np.array((top - 115.0, -1e6, min(0.45 * side * width, 1.2 * side * width))),
            np.array((top + 15.0, 1e6, max(0.45 * side * width, 1.2 * side * width))),
        )
        # A thin blade along the back of the chest, wider at the top.
        share = np.clip((top - box.z) / 115.0, 0.0, 1.0)
        plane = np.abs(box.x) * 0.62 + (box.y - depth) * 1.0 - 0.42 * width - 6.0
        blade = (np.abs(plane) < 3.2) & (np.abs(box.x) < width * (1.12 - 0.30 * share)) & (np.abs(box.x) > width * 0.52)
        canvas.paint(box, blade & (canvas.hu[box.index] > -150.0), patient.bone_hu + 170.0)
