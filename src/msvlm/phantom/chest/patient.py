"""Patient: body measures and tissue HU of a synthetic patient, all lengths in mm."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Patient:
    """Body measures and tissue HU of one patient.

    Attributes:
        cavity_half_width, cavity_half_depth: of the inner chest at its widest.
        wall: muscle and bone between the cavity and the fat under the skin.
        lung_height: from the diaphragm's edge to the apex.
        dome_height: of the diaphragm above its edge.
        cardiothoracic_ratio: transverse width of the heart over that of the inner chest.
        body_half_width, body_half_depth: to the skin, arms raised.
        middle_y: where the middle of the cavity lies in the field.
    """

    cavity_half_width: float
    cavity_half_depth: float
    wall: float
    fat: float
    lung_height: float
    dome_height: float
    cardiothoracic_ratio: float
    mediastinum_half_width: float
    vessel_scale: float
    lung_hu: float
    blood_hu: float
    bone_hu: float
    noise_hu: float
    has_breasts: bool
    middle_y: float

    @property
    def body_half_width(self) -> float:
        return self.cavity_half_width + self.wall + self.fat

    @property
    def body_half_depth(self) -> float:
        return self.cavity_half_depth + 0.85 * self.wall + 0.8 * self.fat

    @property
    def has_contrast(self) -> bool:
        return self.blood_hu > 80.0


def sample_patient(generator: np.random.Generator, heart_is_enlarged: bool) -> Patient:
    """Samples a patient; the cardiothoracic ratio is clearly normal or clearly enlarged."""
    half_width = generator.uniform(122.0, 146.0)
    has_contrast = generator.random() < 0.5
    return Patient(
        cavity_half_width=half_width,
        cavity_half_depth=half_width * generator.uniform(0.66, 0.76),
        wall=generator.uniform(20.0, 26.0),
        fat=generator.uniform(6.0, 22.0),
        lung_height=generator.uniform(205.0, 255.0),
        dome_height=generator.uniform(36.0, 58.0),
        cardiothoracic_ratio=generator.uniform(0.57, 0.70) if heart_is_enlarged else generator.uniform(0.39, 0.48),
        mediastinum_half_width=generator.uniform(20.0, 27.0),
        vessel_scale=generator.uniform(0.85, 1.1),
        lung_hu=generator.uniform(-875.0, -835.0),
        blood_hu=generator.uniform(110.0, 200.0) if has_contrast else generator.uniform(36.0, 46.0),
        bone_hu=generator.uniform(170.0, 290.0),
        noise_hu=generator.uniform(8.0, 20.0),
        has_breasts=bool(generator.random() < 0.5),
        middle_y=generator.uniform(-22.0, -10.0),
    )
