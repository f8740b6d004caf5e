"""Scene: a healthy patient painted on the grid of a scan, before lesions; and ScanShape, the grid."""

from dataclasses import dataclass

import numpy as np

from msvlm.errors import GeometryError
from msvlm.phantom.canvas import Box, Canvas, Mask, Point, Points, Volume, smooth_field
from msvlm.phantom.chest.patient import Patient, sample_patient
from msvlm.phantom.chest.skeleton import paint_skeleton, paint_table
from msvlm.phantom.chest.thorax import Thorax, paint_thorax
from msvlm.phantom.chest.vessels import Tubes, paint_tubes


@dataclass(frozen=True)
class ScanShape:
    """The grid of an axial scan.

    Attributes:
        spacing_mm: (slice gap, row spacing, column spacing).
    """

    slices: int
    rows: int
    columns: int
    spacing_mm: tuple[float, float, float]

    def __post_init__(self) -> None:
        if min(self.slices, self.rows, self.columns) < 2 or min(self.spacing_mm) <= 0:
            raise GeometryError(
                f"a scan of {self.slices} x {self.rows} x {self.columns} voxels of {self.spacing_mm} mm; "
                "give at least 2 voxels along each axis and spacings above 0"
            )


@dataclass(frozen=True)
class Scene:
    """A patient on a canvas; lesion painters sample from its generator and paint on its canvas."""

    canvas: Canvas
    generator: np.random.Generator
    thorax: Thorax
    tubes: Tubes

    @property
    def thinnest_mm(self) -> float:
        """The least thickness that covers at least one pixel everywhere."""
        return 1.05 * max(self.canvas.spacing_mm[1:])

    def in_lobe(self, box: Box, lobe: int) -> Mask:
        return self.thorax.lobes[box.index] == lobe

    def points_in(self, lobe: int) -> Points:
        return self.thorax.lobe_points[lobe - 1]

    def point_in(self, lobe: int, order: Volume | Points | None = None, share: float = 1.0) -> Point:
        """Samples a point of a lobe; with `order`, among the first `share` of its points in that order."""
        points = self.points_in(lobe)
        if order is not None:
            points = points[np.argsort(order, kind="stable")[: max(1, int(share * len(points)))]]
        return points[self.generator.integers(len(points))]

    def box_around(self, centre: Point, reach_mm: Point) -> Box:
        return self.canvas.box(centre - reach_mm, centre + reach_mm)

    def smooth_noise(self, box: Box, wavelength_mm: float, height: float) -> Volume:
        """Returns a smooth random field of the given standard deviation, to roughen outlines and textures."""
        return smooth_field(box, self.generator, wavelength_mm) * np.float32(height)


def draw_scene(generator: np.random.Generator, scan: ScanShape | None, heart_is_enlarged: bool) -> Scene:
    """Paints a healthy patient, except for an enlarged heart; without `scan`, samples a grid that fits the patient."""
    patient = sample_patient(generator, heart_is_enlarged)
    shape = scan or _sample_scan_shape(generator, patient)
    base_z = _sample_lung_base(generator, patient, shape)
    canvas = Canvas((shape.slices, shape.rows, shape.columns), shape.spacing_mm, base_z)
    thorax = paint_thorax(canvas, generator, patient)
    tubes = paint_tubes(canvas, generator, thorax)
    paint_skeleton(canvas, generator, thorax)
    paint_table(canvas, generator, thorax)
    return Scene(canvas, generator, thorax, tubes)


def _sample_scan_shape(generator: np.random.Generator, patient: Patient) -> ScanShape:
    """Samples a grid that covers the lungs and the upper abdomen, with a field of view that fits the body."""
    field_mm = float(np.clip(2.0 * patient.body_half_width * generator.uniform(1.05, 1.16), 360.0, 400.0))
    gap_mm = float(generator.choice((4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0)))
    slices = int(np.clip(round((patient.lung_height + generator.uniform(50.0, 85.0)) / gap_mm), 40, 70))
    pixels = int(generator.choice((112, 128, 144, 160)))
    return ScanShape(slices, pixels, pixels, (gap_mm, field_mm / pixels, field_mm / pixels))


def _sample_lung_base(generator: np.random.Generator, patient: Patient, scan: ScanShape) -> float:
    """Samples the height in mm of the lung base above the lowest slice; negative in a scan shorter than the lungs."""
    spare = (scan.slices - 1) * scan.spacing_mm[0] - patient.lung_height
    return spare * generator.uniform(0.5, 0.65)
