"""Scene: one healthy patient painted on the grid of a scan, ready for lesions; ScanShape: that grid."""

from dataclasses import dataclass

import numpy as np

from msvlm.errors import GeometryError
from msvlm.phantom.canvas import Box, Canvas, Mask, Point, Points, Volume, smooth_field
from msvlm.phantom.chest.patient import Patient, draw_patient
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
    """A patient being painted; painters draw from its generator and paint on its canvas."""

    canvas: Canvas
    generator: np.random.Generator
    thorax: Thorax
    tubes: Tubes

    @property
    def thinnest_mm(self) -> float:
        """The least thickness that no pixel of a slice can miss."""
        return 1.05 * max(self.canvas.spacing_mm[1:])

    def in_lobe(self, box: Box, lobe: int) -> Mask:
        return self.thorax.lobes[box.index] == lobe

    def places_in(self, lobe: int) -> Points:
        return self.thorax.lobe_points[lobe - 1]

    def place_in(self, lobe: int, order: Volume | Points | None = None, share: float = 1.0) -> Point:
        """A place in a lobe, at random, or among the first `share` of its places by a given order."""
        places = self.places_in(lobe)
        if order is not None:
            places = places[np.argsort(order, kind="stable")[: max(1, int(share * len(places)))]]
        return places[self.generator.integers(len(places))]

    def around(self, centre: Point, reach_mm: Point) -> Box:
        return self.canvas.box(centre - reach_mm, centre + reach_mm)

    def bumpy(self, box: Box, wavelength_mm: float, height: float) -> Volume:
        """A smooth random field of the given height, to roughen outlines and textures."""
        return smooth_field(box, self.generator, wavelength_mm) * np.float32(height)


def draw_scene(generator: np.random.Generator, scan: ScanShape | None, heart_is_enlarged: bool) -> Scene:
    """A healthy patient, the heart aside; a scan that fits the patient where none is given."""
    patient = draw_patient(generator, heart_is_enlarged)
    shape = scan or _draw_scan_shape(generator, patient)
    base_z = _base_of_lungs(generator, patient, shape)
    canvas = Canvas((shape.slices, shape.rows, shape.columns), shape.spacing_mm, base_z)
    thorax = paint_thorax(canvas, generator, patient)
    tubes = paint_tubes(canvas, generator, thorax)
    paint_skeleton(canvas, generator, thorax)
    paint_table(canvas, generator, thorax)
    return Scene(canvas, generator, thorax, tubes)


def _draw_scan_shape(generator: np.random.Generator, patient: Patient) -> ScanShape:
    """A scan that covers the lungs and some of the abdomen, in a field that the body fills."""
    field_mm = float(np.clip(2.0 * patient.body_half_width * generator.uniform(1.05, 1.16), 360.0, 400.0))
    gap_mm = float(generator.choice((4.0, 4.5, 5.0, 5.5, 6.0, 6.5, 7.0)))
    slices = int(np.clip(round((patient.lung_height + generator.uniform(50.0, 85.0)) / gap_mm), 40, 70))
    pixels = int(generator.choice((112, 128, 144, 160)))
    return ScanShape(slices, pixels, pixels, (gap_mm, field_mm / pixels, field_mm / pixels))


def _base_of_lungs(generator: np.random.Generator, patient: Patient, scan: ScanShape) -> float:
    """Height in mm of the lungs' base over the lowest slice; below 0 where the scan is too short to hold the lungs."""
    spare = (scan.slices - 1) * scan.spacing_mm[0] - patient.lung_height
    return spare * generator.uniform(0.5, 0.65)
