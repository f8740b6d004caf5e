"""Rescaling of stored values: slice by slice, with padding, without integer overflow."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from dicom_files import assert_same_series, ct_series, edit, mr_series, set_values, written
from pydicom.dataset import FileDataset

from msvlm.imaging.read import read_study
from msvlm.study import Series, Study


def only(study: Study) -> Series:
    assert len(study.series) == 1
    return study.series[0]


def reasons(study: Study) -> str:
    return "\n".join(f"{item.name}: {item.reason}" for item in study.left_out)


def test_each_slice_is_rescaled_by_its_own_slope_and_intercept(tmp_path: Path) -> None:
    series = mr_series()
    for index, path in enumerate(written(tmp_path, series)):
        set_values(path, RescaleSlope=str(0.5 + index), RescaleIntercept=str(-index))
    factors = np.arange(5)[:, None, None]
    read = only(read_study(tmp_path))
    np.testing.assert_allclose(read.voxels, series.voxels * (0.5 + factors) - factors, rtol=1e-6)
    assert read.voxels.dtype == np.float32
    assert any("stored as float32" in note for note in read.notes)


def test_whole_hounsfield_units_stay_int16(tmp_path: Path) -> None:
    for path in written(tmp_path):
        set_values(path, RescaleIntercept="-24", RescaleSlope="2")
    read = only(read_study(tmp_path))
    np.testing.assert_array_equal(read.voxels, ct_series().voxels * 2 - 24)
    assert read.voxels.dtype == np.int16


def test_padding_is_given_in_hu_whatever_its_vr(tmp_path: Path) -> None:
    """63536 in an unsigned element means -2000, as in real exports."""
    series = ct_series()
    voxels = series.voxels.copy()
    voxels[:, :2] = -2000
    for path in written(tmp_path, replace(series, voxels=voxels, padding_value=-2000)):

        def change(dataset: FileDataset) -> None:
            del dataset.PixelPaddingValue
            dataset.add_new("PixelPaddingValue", "US", 63536)
            dataset.RescaleIntercept = "-1024"

        edit(path, change)
    read = only(read_study(tmp_path))
    assert read.padding_value == -3024.0
    assert (read.voxels[:, :2] == -3024).all()
    np.testing.assert_array_equal(read.voxels[:, 2:], series.voxels[:, 2:] - 1024)


def test_a_range_of_padding_becomes_one_value(tmp_path: Path) -> None:
    series = ct_series()
    voxels = series.voxels.copy()
    voxels[:, 0], voxels[:, 1] = -2000, -1990
    for path in written(tmp_path, replace(series, voxels=voxels, padding_value=-2000)):
        edit(path, lambda dataset: dataset.add_new("PixelPaddingRangeLimit", "SS", -1990))
    read = only(read_study(tmp_path))
    assert (read.voxels[:, :2] == -2000).all()
    np.testing.assert_array_equal(read.voxels[:, 2:], series.voxels[:, 2:])


@pytest.mark.parametrize(("slope", "intercept"), [("1e10", "0"), ("1", "1e10"), ("1e300", "0")])
def test_a_rescale_beyond_integers_gives_float32(tmp_path: Path, slope: str, intercept: str) -> None:
    series = ct_series()
    voxels = np.zeros_like(series.voxels)
    for path in written(tmp_path, replace(series, voxels=voxels)):
        set_values(path, RescaleSlope=slope, RescaleIntercept=intercept)
    read = only(read_study(tmp_path))
    assert read.voxels.dtype == np.float32
    assert (read.voxels == np.float32(intercept)).all()


def test_a_rescale_beyond_float32_leaves_the_series_out_with_its_reason(tmp_path: Path) -> None:
    paths = written(tmp_path, mr_series(), ct_series("s7"))
    for path in paths[len(mr_series().voxels) :]:
        set_values(path, RescaleSlope="1e300")
    study = read_study(tmp_path)
    assert_same_series(only(study), mr_series())
    assert "s7: values rescaled with slope 1e+300 and intercept 0 exceed float32; export it again" in reasons(study)


def test_padding_that_only_a_later_slice_defines_is_applied(tmp_path: Path) -> None:
    series = ct_series()
    voxels = series.voxels.copy()
    voxels[3, :2] = -20000
    for index, path in enumerate(written(tmp_path, replace(series, voxels=voxels))):
        set_values(path, RescaleSlope="2")
        if index == 3:
            edit(path, lambda dataset: dataset.add_new("PixelPaddingValue", "SS", -20000))
    read = only(read_study(tmp_path))
    assert read.padding_value == np.iinfo(np.int16).min
    assert (read.voxels[3, :2] == read.padding_value).all()
    np.testing.assert_array_equal(read.voxels[3, 2:], series.voxels[3, 2:] * 2)
    np.testing.assert_array_equal(np.delete(read.voxels, 3, 0), np.delete(series.voxels, 3, 0) * 2)


def test_padding_above_int16_is_clipped(tmp_path: Path) -> None:
    series = ct_series()
    voxels = series.voxels.copy()
    voxels[:, 0] = 30000
    for path in written(tmp_path, replace(series, voxels=voxels, padding_value=30000)):
        set_values(path, RescaleSlope="2")
    read = only(read_study(tmp_path))
    assert read.padding_value == np.iinfo(np.int16).max
    assert (read.voxels[:, 0] == read.padding_value).all()
