"""NIfTI files: the same series whatever order the axes are stored in; refusals; writing and reading back."""

import gzip
import struct
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from itertools import permutations, product
from pathlib import Path

import nibabel
import numpy as np
import pytest
from dicom_files import ct_series, mr_series
from numpy.typing import NDArray

from msvlm.errors import GeometryError, StudyError
from msvlm.imaging.nifti import write_nifti
from msvlm.imaging.preprocess import to_display_orientation
from msvlm.imaging.read import read_study
from msvlm.study import Modality, Plane, Series, Weighting

OBLIQUE = np.array([[0.9, 0.1, -0.2], [-0.1, 0.95, 0.15], [0.2, -0.1, 0.9]])
ORIENTATIONS = list(product(permutations(range(3)), product((1, -1), repeat=3)))


def stored(folder: Path, voxels: NDArray[np.generic], affine_ras: NDArray[np.float64], **header: object) -> Path:
    image = nibabel.Nifti1Image(voxels, affine_ras)
    image.header.set_xyzt_units("mm")
    for name, value in header.items():
        image.header[name] = value
    path = folder / "volume.nii"
    nibabel.save(image, path)
    return path


def volume(
    spacing_mm: tuple[float, float, float], lowest: int = -1000
) -> tuple[NDArray[np.int16], NDArray[np.float64]]:
    voxels = np.random.default_rng(0).integers(lowest, 900, (7, 6, 5)).astype(np.int16)
    voxels[0, 0, 0] = lowest
    rotation, _ = np.linalg.qr(OBLIQUE)
    affine_ras = np.eye(4)
    affine_ras[:3, :3] = rotation * np.sign(np.diag(rotation)) * spacing_mm
    affine_ras[:3, 3] = (-40.0, 12.5, 300.0)
    return voxels, affine_ras


def only(path: Path) -> Series:
    study = read_study(path)
    assert len(study.series) == 1
    return study.series[0]


@pytest.mark.parametrize(
    ("spacing_mm", "plane"),
    [
        ((0.8, 0.7, 2.5), Plane.AXIAL),
        ((4.0, 0.7, 0.7), Plane.SAGITTAL),
        ((0.7, 4.0, 0.7), Plane.CORONAL),
        ((1.0, 1.0, 1.0), Plane.AXIAL),
    ],
)
def test_all_48_ways_to_store_the_axes_give_the_same_study(
    tmp_path: Path, spacing_mm: tuple[float, float, float], plane: Plane
) -> None:
    voxels, affine_ras = volume(spacing_mm)
    expected = only(stored(tmp_path, voxels, affine_ras))
    assert expected.plane is plane
    image = nibabel.Nifti1Image(voxels, affine_ras)
    assert len(ORIENTATIONS) == 48
    for order, flips in ORIENTATIONS:
        turned = image.as_reoriented(np.array(list(zip(order, flips, strict=True)), dtype=float))
        read = only(stored(tmp_path, np.asarray(turned.dataobj), turned.affine))
        np.testing.assert_array_equal(read.voxels, expected.voxels)
        for name in ("positions_ras_mm", "row_steps_ras_mm", "column_steps_ras_mm"):
            np.testing.assert_allclose(getattr(read, name), getattr(expected, name), atol=1e-3)
        assert (read.plane, read.modality, read.notes) == (plane, expected.modality, expected.notes)


def test_every_voxel_lies_where_nibabel_places_it(tmp_path: Path) -> None:
    voxels, affine_ras = volume((0.8, 0.7, 2.5))
    series = only(stored(tmp_path, voxels, affine_ras))
    indices = np.argwhere(np.ones(voxels.shape, dtype=bool))
    expected = {tuple(np.round(affine_ras[:3] @ (*index, 1), 2)): voxels[tuple(index)] for index in indices}
    for index in np.argwhere(np.ones(series.voxels.shape, dtype=bool)):
        place = tuple(np.round(series.affine_ras[:3] @ (*index, 1), 2))
        assert expected[place] == series.voxels[tuple(index)]


def test_a_series_is_read_in_display_orientation(tmp_path: Path) -> None:
    series = only(stored(tmp_path, *volume((0.8, 0.7, 2.5))))
    shown, order = to_display_orientation(series)
    np.testing.assert_array_equal(shown.voxels, series.voxels)
    np.testing.assert_array_equal(order, np.arange(len(series.voxels)))


@pytest.mark.parametrize(("lowest", "modality"), [(-1000, Modality.CT), (-901, Modality.CT), (-100, Modality.MR)])
def test_a_volume_with_air_in_hu_is_assumed_to_be_ct_with_a_note(
    tmp_path: Path, lowest: int, modality: Modality
) -> None:
    series = only(stored(tmp_path, *volume((1.0, 1.0, 3.0), lowest)))
    assert series.modality is modality
    assert series.weighting is (Weighting.CT if modality is Modality.CT else Weighting.MR)
    assert f"{modality} assumed" in series.notes[0]


def test_the_slice_axis_of_the_header_is_used(tmp_path: Path) -> None:
    voxels, affine_ras = volume((1.0, 1.0, 3.0))
    image = nibabel.Nifti1Image(voxels, affine_ras)
    image.header.set_dim_info(slice=0)
    nibabel.save(image, tmp_path / "a.nii")
    assert only(tmp_path / "a.nii").plane is Plane.SAGITTAL


def test_voxels_are_scaled_by_slope_and_intercept(tmp_path: Path) -> None:
    voxels, affine_ras = volume((1.0, 1.0, 3.0), 0)
    path = stored(tmp_path, voxels, affine_ras)
    content = bytearray(path.read_bytes())
    struct.pack_into("<2f", content, 112, 2.0, -1024.0)
    path.write_bytes(content)
    whole = only(path)
    assert whole.voxels.dtype == np.int16
    assert whole.voxels.min() == -1024
    struct.pack_into("<2f", content, 112, 0.5, 0.25)
    path.write_bytes(content)
    assert only(path).voxels.dtype == np.float32
    np.testing.assert_allclose(np.sort(only(path).voxels.ravel()), np.sort(voxels.ravel() * 0.5 + 0.25))


@pytest.mark.parametrize("kind", ["u1", "i1", "u2", "i4", "u4", "i8", "f4", "f8", ">i2", ">f4"])
def test_every_type_of_number_is_read(tmp_path: Path, kind: str) -> None:
    voxels = np.arange(7 * 6 * 5).reshape(7, 6, 5) % 120
    image = nibabel.Nifti1Image(voxels.astype(kind), np.diag((1.0, 1.0, 3.0, 1.0)), dtype=kind)
    if kind.startswith(">"):
        image = nibabel.Nifti1Image(voxels.astype(kind), image.affine, nibabel.Nifti1Header(endianness=">"))
    nibabel.save(image, tmp_path / "a.nii")
    np.testing.assert_array_equal(only(tmp_path / "a.nii").voxels, voxels[::-1, ::-1].transpose(2, 1, 0))


def test_nifti_2_and_gzip_give_the_same(tmp_path: Path) -> None:
    voxels, affine_ras = volume((0.8, 0.7, 2.5))
    expected = only(stored(tmp_path, voxels, affine_ras))
    nibabel.save(nibabel.Nifti2Image(voxels, affine_ras), tmp_path / "two.nii.gz")
    read = only(tmp_path / "two.nii.gz")
    np.testing.assert_array_equal(read.voxels, expected.voxels)
    np.testing.assert_allclose(read.affine_ras, expected.affine_ras, atol=1e-3)


def test_the_qform_is_used_where_there_is_no_sform(tmp_path: Path) -> None:
    voxels, affine_ras = volume((0.8, 0.7, 2.5))
    expected = only(stored(tmp_path, voxels, affine_ras))
    image = nibabel.Nifti1Image(voxels, None)
    image.set_qform(affine_ras * (-1, 1, 1, 1), code=1)
    image.set_sform(None, code=0)
    nibabel.save(image, tmp_path / "q.nii")
    mirrored = only(tmp_path / "q.nii")
    np.testing.assert_array_equal(mirrored.voxels, expected.voxels[:, :, ::-1])


@pytest.mark.parametrize("above_1", [0.0, 1e-6])
def test_a_qform_is_read_without_handedness_and_with_a_quaternion_rounded_above_1(
    tmp_path: Path, above_1: float
) -> None:
    voxels, _ = volume((0.8, 0.7, 2.5))
    image = nibabel.Nifti1Image(voxels, None)
    image.set_qform(np.diag((-0.8, -0.7, 2.5, 1.0)), code=1)
    image.set_sform(None, code=0)
    nibabel.save(image, tmp_path / "q.nii")
    expected = only(tmp_path / "q.nii")
    content = bytearray((tmp_path / "q.nii").read_bytes())
    struct.pack_into("<f", content, 76, 0.0)
    struct.pack_into("<3f", content, 256, 0.0, 0.0, 1.0 + above_1)
    (tmp_path / "q.nii").write_bytes(content)
    np.testing.assert_allclose(only(tmp_path / "q.nii").affine_ras, expected.affine_ras, atol=1e-5)


def test_disagreeing_sform_and_qform_are_noted(tmp_path: Path) -> None:
    voxels, affine_ras = volume((0.8, 0.7, 2.5))
    image = nibabel.Nifti1Image(voxels, affine_ras)
    moved = affine_ras.copy()
    moved[0, 3] += 5.0
    image.set_qform(moved, code=1)
    nibabel.save(image, tmp_path / "a.nii")
    assert any("sform and qform differ by up to 5.0 mm" in note for note in only(tmp_path / "a.nii").notes)


def test_metres_are_converted_to_millimetres(tmp_path: Path) -> None:
    voxels, affine_ras = volume((0.8, 0.7, 2.5))
    image = nibabel.Nifti1Image(voxels, np.diag((1e-3, 1e-3, 1e-3, 1.0)) @ affine_ras)
    image.header.set_xyzt_units("meter")
    nibabel.save(image, tmp_path / "a.nii")
    series = only(tmp_path / "a.nii")
    assert series.slice_gaps_mm == pytest.approx(np.full(4, 2.5), abs=1e-3)
    assert any("header states metres; converted to mm" in note for note in series.notes)


def test_voxels_that_are_not_finite_are_counted(tmp_path: Path) -> None:
    voxels, affine_ras = volume((1.0, 1.0, 3.0))
    broken = voxels.astype(np.float32)
    broken[1, 1, :3] = (np.nan, np.inf, -np.inf)
    series = only(stored(tmp_path, broken, affine_ras))
    assert any("3 voxels are not finite" in note for note in series.notes)
    assert series.voxels.min() == -1000


def no_orientation(content: bytearray) -> None:
    struct.pack_into("<2h", content, 252, 0, 0)


def four_axes(content: bytearray) -> None:
    struct.pack_into("<5h", content, 40, 4, 7, 6, 1, 5)


def complex_numbers(content: bytearray) -> None:
    struct.pack_into("<2h", content, 70, 32, 64)


def truncated(content: bytearray) -> None:
    del content[-10:]


def states_70_terabytes(content: bytearray) -> None:
    struct.pack_into("<4h", content, 40, 3, 32767, 32767, 32767)


def of_another_size(content: bytearray) -> None:
    struct.pack_into("<i", content, 0, 349)


def no_voxels_start(content: bytearray) -> None:
    struct.pack_into("<f", content, 108, np.nan)


def singular(content: bytearray) -> None:
    struct.pack_into("<12f", content, 280, *(0.0,) * 12)


def sheared(content: bytearray) -> None:
    struct.pack_into("<12f", content, 280, 1, 0.3, 0.3, 0, 0.3, 1, 0.3, 0, 0.3, 0.3, 1, 0)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (no_orientation, "sform and qform codes are both 0, so left and right are unknown; set one of them"),
        (four_axes, "4D, 5 volumes in one file; split it"),
        (complex_numbers, "voxels of type complex64; msvlm reads one grey-scale number per voxel"),
        (truncated, "410 bytes of voxels, but the header states 420"),
        (states_70_terabytes, "(?:the file is corrupt or truncated|420 bytes of voxels, but the header states 70)"),
        (of_another_size, "the NIfTI header is corrupt or truncated"),
        (no_voxels_start, "the file is corrupt or truncated"),
        (singular, "the orientation matrix is singular or not finite"),
        (sheared, r"no two axes are orthogonal \(sheared\)"),
    ],
)
def test_a_file_that_is_not_one_placed_volume_is_refused_with_its_reason(
    tmp_path: Path, change: Callable[[bytearray], None], reason: str
) -> None:
    path = stored(tmp_path, *volume((1.0, 1.0, 3.0)))
    content = bytearray(path.read_bytes())
    change(content)
    path.write_bytes(content)
    with pytest.raises(StudyError, match=f"no readable series in 1 file: n1: {reason}"):
        read_study(path)


def test_a_wrong_checksum_is_refused(tmp_path: Path) -> None:
    content = bytearray(gzip.compress(stored(tmp_path, *volume((1.0, 1.0, 3.0))).read_bytes()))
    content[-6] ^= 0xFF
    (tmp_path / "a.nii.gz").write_bytes(content)
    with pytest.raises(StudyError, match="n1: the file is corrupt or truncated"):
        read_study(tmp_path / "a.nii.gz")


def test_several_volumes_are_one_study_and_unreadable_ones_are_listed(tmp_path: Path) -> None:
    write_nifti(ct_series(), tmp_path / "b.nii.gz")
    write_nifti(to_display_orientation(mr_series())[0], tmp_path / "c.nii")
    nibabel.save(nibabel.Nifti1Image(np.zeros((3, 3, 3, 2), np.int16), np.eye(4)), tmp_path / "a.nii")
    for given in (tmp_path, [tmp_path / name for name in ("a.nii", "b.nii.gz", "c.nii")]):
        study = read_study(given, key="many")
        assert [(series.key, series.modality) for series in study.series] == [("n2", "CT"), ("n3", "MR")]
        assert [(item.name, item.reason[:13]) for item in study.left_out] == [("n1", "4D, 2 volumes")]


def test_the_test_volumes_of_nibabel_are_read_or_refused_with_their_reason() -> None:
    folder = Path(nibabel.__file__).parent / "tests" / "data"
    with pytest.raises(StudyError, match="4D, 2 volumes in one file"):
        read_study(folder / "example4d.nii.gz")
    with pytest.raises(StudyError, match=r"NIfTI in two files \(.hdr and .img\)"):
        read_study(folder / "nifti1.hdr")
    for name in ("anatomical.nii", "reoriented_anat_moved.nii", "standard.nii.gz"):
        series, image = only(folder / name), nibabel.as_closest_canonical(nibabel.load(folder / name))
        back = nibabel.as_closest_canonical(nibabel.Nifti1Image(series.voxels.astype(np.float32), series.affine_ras))
        np.testing.assert_allclose(back.affine, image.affine, atol=1e-3)
        np.testing.assert_allclose(back.get_fdata(), image.get_fdata(), rtol=1e-5)


def test_a_volume_of_int16_takes_no_more_than_its_file_and_its_copy_in_slice_order(tmp_path: Path) -> None:
    write_nifti(ct_series(slices=64, rows=128, columns=128), tmp_path / "a.nii")
    read_study(tmp_path / "a.nii")
    tracemalloc.start()
    series = only(tmp_path / "a.nii")
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak_bytes < 2.3 * series.voxels.nbytes


def thin_slices() -> Series:
    """A series whose spacings alone do not determine the slice axis."""
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


def test_another_file_extension_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"must end in \.nii or \.nii\.gz"):
        write_nifti(ct_series(), tmp_path / "a.mha")
