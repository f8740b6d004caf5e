"""The fraction of the body outside the pixel grid of the model."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from test_preprocess import textured_series

from msvlm.imaging.field_of_view import fraction_outside_field
from msvlm.imaging.preprocess import InputConfig
from msvlm.imaging.read import read_study
from msvlm.study import Modality, Series

CONFIG = InputConfig(rows=48, columns=64, pixel_spacing_mm=4.0)
"""A grid 192 mm high and 256 mm wide."""


def block(rows: int, columns: int, body: float = 40.0, around: float = -1000.0, margin: int = 0) -> Series:
    """An axial series of 2 mm voxels, solid but for a margin on all sides."""
    voxels = np.full((5, rows, columns), around, dtype=np.int16)
    voxels[:, margin : rows - margin, margin : columns - margin] = body
    return replace(
        textured_series(5),
        voxels=voxels,
        positions_ras_mm=np.arange(5.0)[:, None] * (0.0, 0.0, 5.0),
        row_steps_ras_mm=np.tile((0.0, -2.0, 0.0), (5, 1)),
        column_steps_ras_mm=np.tile((-2.0, 0.0, 0.0), (5, 1)),
        padding_value=None,
    )


@pytest.mark.parametrize(
    "rows, columns, margin, fraction",
    [
        (96, 128, 0, 0.0),
        (192, 128, 0, 0.5),
        (96, 256, 0, 0.5),
        (192, 256, 0, 0.75),
        (192, 256, 64, 0.0),
    ],
)
def test_the_fraction_is_that_of_solid_voxels_outside_the_grid(
    rows: int, columns: int, margin: int, fraction: float
) -> None:
    series = block(rows, columns, margin=margin)
    assert fraction_outside_field(series, CONFIG) == pytest.approx(fraction, abs=0.02)
    turned = replace(
        series,
        voxels=series.voxels.transpose(0, 2, 1)[::-1],
        positions_ras_mm=series.positions_ras_mm[::-1],
        row_steps_ras_mm=series.column_steps_ras_mm,
        column_steps_ras_mm=series.row_steps_ras_mm,
    )
    assert fraction_outside_field(turned, CONFIG) == pytest.approx(fraction, abs=0.02)


def test_air_padding_and_noise_around_the_body_do_not_count() -> None:
    assert fraction_outside_field(block(200, 300, body=-1000.0), CONFIG) == 0.0
    padded = replace(block(192, 256, around=3000.0, margin=64), padding_value=3000.0)
    assert fraction_outside_field(padded, CONFIG) == 0.0
    noisy = replace(block(192, 256, body=500.0, around=20.0, margin=64), modality=Modality.MR)
    assert fraction_outside_field(noisy, CONFIG) == 0.0
    assert fraction_outside_field(replace(block(192, 128, 500.0), modality=Modality.MR), CONFIG) == 0.0
    assert fraction_outside_field(replace(block(192, 256, 500.0, 20.0, 20), modality=Modality.MR), CONFIG) > 0.3


def test_a_twentieth_of_the_real_chest_lies_outside_the_usual_grid(real_data: Path) -> None:
    series = read_study(real_data / "cmb_crc" / "cmb_crc_lung_nodule.zip").series[0]
    solid = series.voxels > -300
    rows, columns = (
        np.abs(np.arange(length) - (length - 1) / 2) * spacing <= half
        for length, spacing, half in zip(series.voxels.shape[1:], series.pixel_spacing_mm, (144, 192), strict=True)
    )
    exact = 1 - solid[:, rows][:, :, columns].sum() / solid.sum()
    assert 0.03 < exact < 0.08
    assert fraction_outside_field(series, InputConfig()) == pytest.approx(exact, abs=0.005)
