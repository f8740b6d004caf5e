"""Preparation of series for a model: orientation, grid, windows."""

from dataclasses import replace
from itertools import permutations, product

import numpy as np
import pytest
from test_study import axial_series

from msvlm.errors import ConfigError, GeometryError
from msvlm.imaging.preprocess import (
    AIR_HU,
    MR_FULL_SCALE,
    InputConfig,
    mask_regions,
    prepare_series,
    to_channels,
    to_display_orientation,
)
from msvlm.study import Modality, Series, Weighting

CONFIG = InputConfig(rows=16, columns=16, pixel_spacing_mm=2.0)


def textured_series(slices: int = 5, rows: int = 24, columns: int = 20) -> Series:
    voxels = np.random.default_rng(0).integers(-900, 900, (slices, rows, columns)).astype(np.int16)
    return replace(
        axial_series(slices),
        voxels=voxels,
        row_steps_ras_mm=np.tile((0.0, -1.0, 0.0), (slices, 1)),
        column_steps_ras_mm=np.tile((-1.0, 0.0, 0.0), (slices, 1)),
    )


def flipped(series: Series, flips: tuple[bool, bool, bool], transposed: bool) -> Series:
    """Returns the same voxels at the same positions, stored in another order."""
    if flips[0]:
        series = replace(series, voxels=series.voxels[::-1], positions_ras_mm=series.positions_ras_mm[::-1])
    if flips[1]:
        positions = series.positions_ras_mm + series.row_steps_ras_mm * (series.voxels.shape[1] - 1)
        series = replace(
            series,
            voxels=series.voxels[:, ::-1],
            positions_ras_mm=positions,
            row_steps_ras_mm=-series.row_steps_ras_mm,
        )
    if flips[2]:
        positions = series.positions_ras_mm + series.column_steps_ras_mm * (series.voxels.shape[2] - 1)
        series = replace(
            series,
            voxels=series.voxels[:, :, ::-1],
            positions_ras_mm=positions,
            column_steps_ras_mm=-series.column_steps_ras_mm,
        )
    if transposed:
        series = replace(
            series,
            voxels=series.voxels.transpose(0, 2, 1),
            row_steps_ras_mm=series.column_steps_ras_mm,
            column_steps_ras_mm=series.row_steps_ras_mm,
        )
    return series


@pytest.mark.parametrize("flips", list(product((False, True), repeat=3)))
@pytest.mark.parametrize("transposed", [False, True])
def test_the_order_in_which_voxels_are_stored_does_not_matter(flips: tuple[bool, bool, bool], transposed: bool) -> None:
    series = textured_series()
    stored_otherwise = flipped(series, flips, transposed)
    expected, found = prepare_series(series, CONFIG), prepare_series(stored_otherwise, CONFIG)
    np.testing.assert_array_equal(found.intensities, expected.intensities)
    np.testing.assert_allclose(found.centres_ras_mm, expected.centres_ras_mm, atol=1e-4)
    np.testing.assert_allclose(found.normals_ras, expected.normals_ras, atol=1e-6)
    assert list(found.slice_indices) == (list(range(5))[::-1] if flips[0] else list(range(5)))


def test_display_orientation_moves_no_voxel_in_the_patient() -> None:
    series = textured_series()
    for flips, axes in product(product((False, True), repeat=3), permutations((0, 1))):
        oriented, _ = to_display_orientation(flipped(series, flips, axes == (1, 0)))
        np.testing.assert_array_equal(oriented.voxels, series.voxels)
        np.testing.assert_allclose(oriented.affine_ras, series.affine_ras, atol=1e-9)


def test_display_orientation_keeps_each_slices_image_number() -> None:
    series = replace(textured_series(), instance_numbers=np.arange(105, 100, -1))
    turned = replace(
        series,
        voxels=series.voxels[::-1],
        positions_ras_mm=series.positions_ras_mm[::-1],
        instance_numbers=np.arange(101, 106),
    )
    for given in (series, turned):
        oriented, _ = to_display_orientation(given)
        np.testing.assert_array_equal(oriented.voxels, series.voxels)
        np.testing.assert_array_equal(oriented.instance_numbers, series.instance_numbers)


def test_mean_is_kept_when_the_grid_is_coarser() -> None:
    series = textured_series(rows=32, columns=32)
    prepared = prepare_series(series, CONFIG)
    assert prepared.intensities.mean() == pytest.approx(series.voxels.mean(), abs=1.0)


def test_the_grid_outside_the_slice_is_air() -> None:
    series = replace(textured_series(rows=4, columns=4), voxels=np.full((5, 4, 4), 500, dtype=np.int16))
    prepared = prepare_series(series, CONFIG)
    assert (prepared.intensities[:, 0] == AIR_HU).all()
    assert (prepared.intensities[:, 7:9, 7:9] == 500).all()


def test_padding_becomes_air() -> None:
    series = textured_series()
    padded = series.voxels.copy()
    padded[:, :6] = 3000
    prepared = prepare_series(replace(series, voxels=padded, padding_value=3000.0), CONFIG)
    assert (prepared.intensities[:, 2:4, 3:13] == AIR_HU).all()


def test_padding_does_not_affect_the_scale_of_an_mr_volume() -> None:
    series = replace(textured_series(), modality=Modality.MR, weighting=Weighting.T2)
    padded = series.voxels.copy()
    padded[:, :12] = -9999
    clean = replace(series, voxels=series.voxels[:, 12:])
    expected = np.percentile(clean.voxels, CONFIG.mr_percentiles)
    prepared = prepare_series(
        replace(series, voxels=padded, padding_value=-9999.0), replace(CONFIG, pixel_spacing_mm=1.0)
    )
    # Rows 12 to 15 of the grid are the first four below the padding.
    tissue = padded[:, 16:20, 2:18].astype(np.float32)
    wanted = (tissue - expected[0]) * (MR_FULL_SCALE / (expected[1] - expected[0]))
    np.testing.assert_allclose(prepared.intensities[:, 12:16], wanted, atol=1.0)


def test_an_mr_volume_of_padding_alone_is_prepared() -> None:
    series = replace(textured_series(), modality=Modality.MR, weighting=Weighting.T2, padding_value=7.0)
    prepared = prepare_series(replace(series, voxels=np.full_like(series.voxels, 7)), CONFIG)
    assert (prepared.intensities == 0).all()


def test_windows_are_scaled_to_minus_one_to_one() -> None:
    voxels = np.tile(np.array([-1350, -600, 150, 3000], dtype=np.int16), (5, 32, 8))
    config = replace(CONFIG, windows_hu=((-1350.0, 150.0),), windows_mr=((0.0, 1000.0),), pixel_spacing_mm=1.0)
    channels = to_channels(prepare_series(replace(textured_series(), voxels=voxels), config), config)
    assert channels.shape == (5, 1, 16, 16)
    # The grid stands between voxel centres here or on them; only the extremes and the middle are checked.
    assert channels.min() >= -1.0 and channels.max() == 1.0
    assert channels[0, 0, 0, :4].tolist() == pytest.approx([AIR_HU * 2 / 1500 + 1350 * 2 / 1500 - 1, 0.0, 1.0, 1.0])


def test_mr_intensities_do_not_depend_on_the_scanners_scale() -> None:
    series = replace(textured_series(), modality=Modality.MR, weighting=Weighting.T2)
    scaled = replace(series, voxels=(series.voxels.astype(np.float32) * 3.0 + 4000.0).astype(np.float32))
    first, second = prepare_series(series, CONFIG), prepare_series(scaled, CONFIG)
    np.testing.assert_allclose(first.intensities[:, 4:12, 4:12], second.intensities[:, 4:12, 4:12], atol=1.0)
    assert 0 < np.median(first.intensities[:, 4:12, 4:12]) < MR_FULL_SCALE


def test_a_mask_marks_the_cell_that_contains_it() -> None:
    series = textured_series(rows=32, columns=32)
    mask = np.zeros(series.voxels.shape, dtype=bool)
    mask[2, 9:12, 25:28] = True
    regions = mask_regions(series, mask, CONFIG, (4, 4))
    assert regions.shape == (5, 4, 4)
    assert list(zip(*np.nonzero(regions), strict=True)) == [(2, 1, 3)]


def test_a_mask_of_another_shape_is_refused() -> None:
    with pytest.raises(GeometryError, match="mask of shape"):
        mask_regions(textured_series(), np.zeros((5, 3, 3), dtype=bool), CONFIG, (4, 4))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"rows": 4}, "minimum 8 x 8"),
        ({"windows_hu": ((10.0, 10.0),) * 3}, "low must be below high"),
        ({"windows_hu": ((0.0, 10.0),)}, "1 CT channels and 3 MR channels"),
    ],
)
def test_an_invalid_input_config_is_refused(change: dict, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        InputConfig(**change)
