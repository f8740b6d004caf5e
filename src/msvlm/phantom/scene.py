"""Scene: one healthy patient on a canvas, ready for lesions to be painted on."""

from dataclasses import dataclass

import numpy as np

from msvlm.phantom.canvas import Box, Canvas, Mask, Point, Points, Volume, smooth_field
from msvlm.phantom.patient import ScanShape, base_of_lungs, draw_patient, draw_scan_shape
from msvlm.phantom.skeleton import paint_skeleton, paint_table
from msvlm.phantom.thorax import Thorax, paint_thorax
from msvlm.phantom.vessels import Tubes, paint_tubes


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
    shape = scan or draw_scan_shape(generator, patient)
    base_z = base_of_lungs(generator, patient, shape)
    canvas = Canvas((shape.slices, shape.rows, shape.columns), shape.spacing_mm, base_z)
    thorax = paint_thorax(canvas, generator, patient)
    tubes = paint_tubes(canvas, generator, thorax)
    paint_skeleton(canvas, generator, thorax)
    paint_table(canvas, generator, thorax)
    return Scene(canvas, generator, thorax, tubes)
