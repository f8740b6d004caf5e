"""Series -> NIfTI: what is written is read back the same, here and by nibabel."""

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_files import ct_series, mr_series

from msvlm.errors import GeometryError, StudyError
from msvlm.imaging.preprocess import to_display_orientation
from msvlm.imaging.read import read_study
from msvlm.imaging.write_nifti import write_nifti
from msvlm.study import Series


def thin_slices() -> Series:
    """Spacings that alone would not tell the slice axis."""
    series = mr_series()
    positions = series.positions_ras_mm * (0.1, 1.0, 1.0)
    return replace(series, positions_ras_mm=positions)


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("series", [ct_series(), mr_series(), thin_slices()], ids=["axial", "sagittal", "thin"])
def test_what_is_written_is_read_back_the_same(tmp_path: Path, name: str, series: Series) -> None:
    series, _ = to_display_orientation(series)
    for voxels in (series.voxels, series.voxels.astype(np.float32) + np.float32(0.25)):
        write_nifti(replace(series, voxels=voxels), tmp_path / name)
        read = read_study(tmp_path / name).series[0]
        np.testing.assert_array_equal(read.voxels, voxels)
        assert read.voxels.dtype == voxels.dtype
        for attribute in ("positions_ras_mm", "row_steps_ras_mm", "column_steps_ras_mm"):
            np.testing.assert_allclose(getattr(read, attribute), getattr(series, attribute), atol=1e-3)


def test_nibabel_reads_the_same_voxels_at_the_same_places(tmp_path: Path) -> None:
    series = ct_series()
    write_nifti(series, tmp_path / "a.nii.gz")
    image = nibabel.load(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(np.asarray(image.dataobj), series.voxels.transpose(2, 1, 0))
    np.testing.assert_allclose(image.affine, series.affine_ras[:, (2, 1, 0, 3)], atol=1e-4)
    assert image.header.get_zooms() == pytest.approx((0.7, 0.8, 2.5))


def test_the_same_series_gives_the_same_bytes(tmp_path: Path) -> None:
    for name in ("a.nii.gz", "b.nii.gz"):
        write_nifti(ct_series(), tmp_path / name)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_uneven_slices_are_refused(tmp_path: Path) -> None:
    series = ct_series()
    positions = series.positions_ras_mm.copy()
    positions[4:, 2] += 2.5
    with pytest.raises(GeometryError, match=r"5\.00 mm apart between slices 4 and 5"):
        write_nifti(replace(series, positions_ras_mm=positions), tmp_path / "a.nii")


def test_another_ending_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"ends in \.nii or \.nii\.gz"):
        write_nifti(ct_series(), tmp_path / "a.mha")
