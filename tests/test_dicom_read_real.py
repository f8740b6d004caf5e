"""Reading real DICOM files of many scanners and converters, compared with what other readers read."""

import gzip
import re
import shutil
import zipfile
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import set_values
from numpy.typing import NDArray

from msvlm.errors import StudyError
from msvlm.imaging.nifti import read_nifti
from msvlm.imaging.preprocess import InputConfig, prepare_series, to_display_orientation
from msvlm.imaging.read import read_study
from msvlm.imaging.source_files import SourceFile
from msvlm.study import Modality, Plane, Series, Weighting

nibabel = pytest.importorskip("nibabel")

GREY_FOLDERS = [
    "failing_slicecount_001",
    "ge_anatomical_001",
    "generic_anatomical_002_non_isotropic",
    "generic_compressed_j2k_001",
    "generic_compressed_jpeg_001",
    "generic_compressed_jpegls_001",
    "generic_compressed_rle_001",
    "siemens_anatomical_001",
]

LOSSLESS = ["1.2.1.99", "1.2.4.90", "1.2.4.80", "1.2.4.70", "1.2.4.57", "1.2.1", "1.2", "1.2.5", "1.2.2"]
LOSSY_WORST_MEAN_HU = {"1.2.4.91": 1.0, "1.2.4.81": 2.0, "1.2.4.50": 21.0, "1.2.4.51": 4.0}
"""Largest mean difference in HU between each lossy file and the original, due to quantisation."""


def placed_voxels(voxels: NDArray[np.generic], affine_ras: NDArray[np.float64]) -> tuple[NDArray[np.generic], object]:
    """Returns voxels and affine reordered to the closest RAS order."""
    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(voxels, affine_ras))
    return np.asarray(image.dataobj), image.affine


@pytest.mark.parametrize("name", GREY_FOLDERS)
def test_voxels_and_places_equal_those_of_dicom2nifti(real_data: Path, name: str) -> None:
    series = read_study(real_data / "dicom2nifti" / name).series[0]
    truth = nibabel.load(real_data / "dicom2nifti" / f"{name}_ground_truth.nii.gz")
    expected, expected_affine = placed_voxels(truth.get_fdata(dtype=np.float32), truth.affine)
    read, affine = placed_voxels(series.voxels.astype(np.float32), series.affine_ras)
    np.testing.assert_allclose(affine, expected_affine, atol=1e-3)
    np.testing.assert_allclose(read, expected, rtol=1e-5)


def test_a_colour_series_is_left_out_by_name(real_data: Path) -> None:
    with pytest.raises(
        StudyError, match=r"no readable series in 4 files: s\d+: 4 files: secondary capture in colour \(RGB\)"
    ):
        read_study(real_data / "dicom2nifti" / "generic_rgb_001")


def test_the_tilted_ge_series_keeps_its_tilt_and_its_three_gaps(real_data: Path) -> None:
    folder = real_data / "dcm_qa_ct" / "ge_tilted_variable_spacing"
    series = read_study(folder).series[0]
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in sorted(folder.iterdir())]
    expected = np.array([header.ImagePositionPatient for header in headers], dtype=float) * (-1, -1, 1)
    expected = expected[np.argsort(expected[:, 2])]
    np.testing.assert_allclose(series.positions_ras_mm, expected, atol=1e-3)
    assert series.voxels.shape == (28, 512, 512)
    assert series.tilt_degrees == pytest.approx(18.5, abs=0.01)
    assert series.plane is Plane.AXIAL
    along_table_mm = np.diff(series.positions_ras_mm[:, 2])
    np.testing.assert_allclose(along_table_mm * np.cos(np.radians(18.5)), series.slice_gaps_mm, atol=1e-3)
    assert {round(gap, 2) for gap in series.slice_gaps_mm} == {1.08, 4.0, 7.0}
    assert any("unevenly spaced: gaps of 1.08, 4.00, 7.00 mm" in note for note in series.notes)


def test_the_philips_study_is_sorted_into_slices_and_the_rest(real_data: Path) -> None:
    folder = real_data / "dcm_qa_ct" / "philips_tilted_study"
    study = read_study(folder)
    assert [series.key for series in study.series] == ["s201"]
    series = study.series[0]
    headers = [pydicom.dcmread(path, stop_before_pixels=True) for path in (folder / "S2010").iterdir()]
    headers = [header for header in headers if "ImagePositionPatient" in header]
    expected = np.array([header.ImagePositionPatient for header in headers], dtype=float) * (-1, -1, 1)
    np.testing.assert_allclose(series.positions_ras_mm, expected[np.argsort(expected[:, 2])], atol=1e-3)
    assert len(series.voxels) == 54
    assert series.tilt_degrees == pytest.approx(18.5, abs=0.01)
    assert series.body_part == "brain"
    left_out = [f"{item.name}: {item.reason}" for item in study.left_out]
    assert any(line == "s100: localiser" for line in left_out)
    assert any(line == "s401: 2 files: secondary capture" for line in left_out)
    assert any(re.match(r"s401: secondary capture in colour \(RGB\): dose sheet", line) for line in left_out)
    assert any(re.match(r"files? [\d, ]+: no pixel data", line) for line in left_out)


def test_the_chest_ct_in_its_zip_has_100_slices_and_its_padding_becomes_air(real_data: Path) -> None:
    study = read_study(real_data / "cmb_crc" / "cmb_crc_lung_nodule.zip")
    series = study.series[0]
    assert series.voxels.shape == (100, 512, 512)
    assert series.voxels.dtype == np.int16
    assert series.instance_numbers is not None
    assert list(series.instance_numbers) == list(range(100, 0, -1)), "scanned from the head down"
    assert series.padding_value == -3024.0
    assert (series.voxels == -3024).mean() > 0.1
    np.testing.assert_allclose(series.slice_gaps_mm, 2.5, atol=1e-3)
    assert series.pixel_spacing_mm == pytest.approx((0.898, 0.898), abs=1e-3)
    assert not study.left_out
    prepared = prepare_series(replace(series, voxels=series.voxels[::20], **_every(series, 20)), InputConfig())
    assert prepared.intensities.min() == -1024
    assert (prepared.intensities[:, 0, 0] == -1024).all(), "the corner outside the field of view is air"


def _every(series: Series, step: int) -> dict[str, NDArray[np.float64]]:
    names = ("positions_ras_mm", "row_steps_ras_mm", "column_steps_ras_mm", "instance_numbers")
    return {name: getattr(series, name)[::step] for name in names}


def test_the_pelvic_study_has_seven_series_and_three_b_values(real_data: Path) -> None:
    study = read_study(real_data / "prostatex_0000")
    found = {series.key: (series.plane, series.weighting, series.b_value_s_mm2) for series in study.series}
    assert found == {
        "s3": (Plane.SAGITTAL, Weighting.T2, None),
        "s4": (Plane.AXIAL, Weighting.T2, None),
        "s5": (Plane.CORONAL, Weighting.T2, None),
        "s6-b50": (Plane.AXIAL, Weighting.DWI, 50.0),
        "s6-b400": (Plane.AXIAL, Weighting.DWI, 400.0),
        "s6-b800": (Plane.AXIAL, Weighting.DWI, 800.0),
        "s7": (Plane.AXIAL, Weighting.ADC, None),
        "s8": (Plane.AXIAL, Weighting.DWI, 1000.0),
        "s9": (Plane.AXIAL, Weighting.PD, None),
    }
    low, middle, high = (series for series in study.series if series.key.startswith("s6"))
    np.testing.assert_array_equal(low.positions_ras_mm, high.positions_ras_mm)
    assert low.voxels.mean() > middle.voxels.mean() > high.voxels.mean(), "diffusion weighting takes signal away"
    oblique = next(series for series in study.series if series.key == "s4")
    assert np.degrees(np.arccos(abs(oblique.normals_ras[0, 2]))) == pytest.approx(18.6, abs=0.2)
    assert oblique.tilt_degrees == pytest.approx(0.0, abs=0.01), "oblique, but stacked along its normal"
    assert not study.left_out
    assert {series.body_part for series in study.series} == {"prostate"}


def read_one(file: Path) -> Series:
    return read_study(file).series[0]


def file_in(folder: Path, syntax: str) -> Path:
    return next(path for path in folder.iterdir() if path.name.endswith(f"_1.2.840.10008.{syntax}.dcm"))


@pytest.mark.parametrize("syntax", LOSSLESS)
def test_every_lossless_transfer_syntax_gives_the_same_voxels(real_data: Path, syntax: str) -> None:
    folder = real_data / "transfer_syntaxes"
    original = read_one(folder / "CTImage.dcm")
    read = read_one(file_in(folder, syntax))
    assert original.voxels.min() == -3024
    np.testing.assert_array_equal(read.voxels, original.voxels)
    np.testing.assert_array_equal(read.positions_ras_mm, original.positions_ras_mm)


@pytest.mark.parametrize("syntax", LOSSY_WORST_MEAN_HU)
def test_lossy_transfer_syntaxes_give_similar_voxels(real_data: Path, syntax: str) -> None:
    folder = real_data / "transfer_syntaxes"
    difference_hu = np.abs(
        read_one(file_in(folder, syntax)).voxels - read_one(folder / "CTImage.dcm").voxels.astype(float)
    )
    assert difference_hu.mean() < LOSSY_WORST_MEAN_HU[syntax]


@pytest.mark.parametrize(("syntax", "name"), [("1.2.4.53", "Spectral Selection"), ("1.2.4.55", "Full Progression")])
def test_retired_transfer_syntaxes_are_refused_by_name(real_data: Path, syntax: str, name: str) -> None:
    with pytest.raises(
        StudyError, match=rf"pixel data in JPEG {name}.* \(1\.2\.840\.10008\.{syntax}\), which no installed"
    ):
        read_study(file_in(real_data / "transfer_syntaxes", syntax))


@pytest.mark.parametrize("name", ["MR_small_RLE.dcm", "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm"])
def test_corrupt_compressed_pixels_are_read_or_refused_but_never_end_the_process(tmp_path: Path, name: str) -> None:
    content = (pydicom_files() / name).read_bytes()
    start = content.index(bytes.fromhex("e07f1000")) + 30
    refused = 0
    for place in range(start, min(start + 3000, len(content)), 60):
        broken = bytearray(content)
        broken[place] = 0x7F
        (tmp_path / "broken").write_bytes(broken)
        try:
            read_study(tmp_path / "broken")
        except StudyError:
            refused += 1
    assert refused > 0


def test_a_jpeg_stream_of_another_size_than_its_header_is_refused(real_data: Path, tmp_path: Path) -> None:
    content = bytearray(next((real_data / "dicom2nifti" / "generic_compressed_jpeg_001").iterdir()).read_bytes())
    frame = content.index(b"\xff\xc3")
    content[frame + 5 : frame + 7] = (4096).to_bytes(2)
    (tmp_path / "larger").write_bytes(content)
    with pytest.raises(StudyError, match=r"pixel data in JPEG Lossless.* are corrupt"):
        read_study(tmp_path / "larger")


def test_slices_in_different_transfer_syntaxes_make_one_series(real_data: Path, tmp_path: Path) -> None:
    for index, syntax in enumerate(LOSSLESS):
        path = tmp_path / str(index)
        shutil.copy(file_in(real_data / "transfer_syntaxes", syntax), path)
        path.chmod(0o644)
        position = [float(value) for value in pydicom.dcmread(path).ImagePositionPatient]
        set_values(path, ImagePositionPatient=[*position[:2], position[2] + 2.5 * index])
    series = read_study(tmp_path).series[0]
    assert len(series.voxels) == len(LOSSLESS)
    assert (series.voxels == series.voxels[0]).all()
    np.testing.assert_allclose(series.slice_gaps_mm, 2.5)


def test_jpeg_2000_slices_with_empty_ids_are_one_series(real_data: Path) -> None:
    study = read_study(real_data / "totalsegmentator" / "example_ct_dicom")
    series = study.series[0]
    assert len(study.series) == 1
    assert not study.left_out
    assert series.voxels.shape == (20, 512, 512)
    assert series.weighting is Weighting.CT_CONTRAST
    assert -1024 <= series.voxels.min() < -900
    assert study.key.startswith("study-")


def test_the_chest_ct_folder_equals_its_nrrd(real_data: Path) -> None:
    folder = real_data / "cip_chest_ct"
    series = read_study(folder / "ct-64Dicom").series[0]
    header, _, content = (folder / "ct-64.nrrd").read_bytes().partition(b"\n\n")
    fields = dict(line.split(": ", 1) for line in header.decode().splitlines() if ": " in line)
    raw = gzip.decompress(content) if fields["encoding"].startswith("gz") else content
    order = "<" if fields.get("endian", "little") == "little" else ">"
    kind = {"short": "i2", "int": "i4", "float": "f4"}[fields["type"]]
    shape = [int(size) for size in fields["sizes"].split()][::-1]
    expected = np.frombuffer(raw, order + kind).reshape(shape)
    np.testing.assert_array_equal(series.voxels, expected)


@pytest.mark.parametrize(
    ("name", "modality", "shape"),
    [("example_ct.nii.gz", Modality.CT, (112, 101, 122)), ("example_mr_sm.nii.gz", Modality.MR, (20, 91, 117))],
)
def test_totalsegmentator_volumes_are_read_as_nibabel_places_them(
    real_data: Path, name: str, modality: Modality, shape: tuple[int, int, int]
) -> None:
    file = real_data / "totalsegmentator" / name
    series = read_nifti(SourceFile(1, file), "n1")
    image = nibabel.load(file)
    expected, expected_affine = placed_voxels(np.asarray(image.dataobj), image.affine)
    read, affine = placed_voxels(series.voxels, series.affine_ras)
    assert series.modality is modality
    assert series.voxels.shape == shape
    np.testing.assert_array_equal(read, expected)
    np.testing.assert_allclose(affine, expected_affine, atol=1e-3)


# The files inside pydicom


def pydicom_files() -> Path:
    return Path(pydicom.__file__).parent / "data" / "test_files"


@pytest.mark.parametrize(
    "name",
    [
        "MR_small_RLE.dcm", "MR_small_bigendian.dcm", "MR_small_expb.dcm", "MR_small_implicit.dcm",
        "MR_small_jp2klossless.dcm", "MR_small_jpeg_ls_lossless.dcm", "MR_small_padded.dcm",
    ],
)  # fmt: skip
def test_one_mr_slice_is_the_same_in_all_its_encodings(name: str) -> None:
    read, original = read_one(pydicom_files() / name), read_one(pydicom_files() / "MR_small.dcm")
    np.testing.assert_array_equal(read.voxels, original.voxels)
    assert read.weighting is original.weighting


@pytest.mark.parametrize("name", ["ExplVR_BigEndNoMeta.dcm", "ExplVR_LitEndNoMeta.dcm"])
def test_files_without_meta_information_are_recognised(name: str) -> None:
    """They are radiotherapy plans and are refused as such, not as unreadable files."""
    with pytest.raises(StudyError, match=r"no pixel data \(RT Ion Plan Storage\)"):
        read_study(pydicom_files() / name)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("MR_truncated.dcm", "corrupt or truncated"),
        ("rtplan.dcm", r"no pixel data \(RT Plan Storage\)"),
        ("rtstruct.dcm", r"no pixel data \(RT Structure Set Storage\)"),
        ("reportsi.dcm", r"no pixel data \(Basic Text SR Storage\)"),
        ("SC_rgb_rle.dcm", r"secondary capture in colour \(RGB\)"),
        ("examples_palette.dcm", r"in colour \(PALETTE COLOR\)"),
        ("waveform_ecg.dcm", "no pixel data"),
        ("README.txt", "neither DICOM nor NIfTI"),
        ("rtplan_truncated.dcm", "no pixel data|not readable"),
        ("badVR.dcm", "no pixel data|not readable|secondary|modality"),
    ],
)
def test_files_of_pydicom_that_are_no_slices_are_refused_with_their_reason(name: str, reason: str) -> None:
    with pytest.raises(StudyError, match=f"no readable series in 1 file: .*{reason}"):
        read_study(pydicom_files() / name)


def test_no_file_of_pydicom_raises_another_error() -> None:
    """Each is read or refused with StudyError; any other exception fails this test."""
    for path in sorted(pydicom_files().glob("*")):
        if path.is_file():
            with suppress(StudyError):
                assert read_study(path).series


def test_patients_of_the_dicomdir_tests_are_read_study_by_study() -> None:
    root = pydicom_files() / "dicomdirtests"
    assert [series.voxels.shape for series in read_study(root / "77654033" / "CT2").series] == [(4, 16, 16)]
    assert [series.voxels.shape for series in read_study(root / "98892001" / "CT5N").series] == [(5, 16, 16)]
    for folder, reason in (
        ("77654033/CR1", "modality CR; msvlm reads CT and MR"),
        ("98892001/CT2N", "s4: 2 files: localiser"),
        ("98892003/MR1", "s1: localiser"),
        ("98892003/MR700", "a single image"),
        ("TINY_ALPHA", r"no pixel data \(Media Storage Directory Storage\)"),
        ("98892003/MR2", "images of 2 studies"),
        (".", r"images of \d studies"),
    ):
        with pytest.raises(StudyError, match=reason):
            read_study(root / folder)


def test_a_zip_of_the_folder_gives_the_same_study(real_data: Path, tmp_path: Path) -> None:
    folder = real_data / "dcm_qa_ct" / "ge_tilted_variable_spacing"
    with zipfile.ZipFile(tmp_path / "study.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        for path in folder.iterdir():
            archive.write(path, f"deep/er/{path.name}")
    zipped, plain = read_study(tmp_path / "study.zip"), read_study(folder)
    assert zipped.key == plain.key
    np.testing.assert_array_equal(zipped.series[0].voxels, plain.series[0].voxels)
    np.testing.assert_array_equal(zipped.series[0].positions_ras_mm, plain.series[0].positions_ras_mm)


def test_a_chest_is_displayed_with_anterior_up_and_right_on_the_left(real_data: Path) -> None:
    """The table is at the bottom of the image and the aortic arch on its right."""
    series = read_study(real_data / "cmb_crc" / "cmb_crc_lung_nodule.zip").series[0]
    shown, _ = to_display_orientation(series)
    solid = shown.voxels[:5] > -300
    assert not solid[:, :75].any()
    assert solid[:, -75:].any()
    arch = shown.voxels[66, 215:285] > 180
    assert arch[:, 255:295].mean() > 0.5, (
        "the aortic arch, on the patient's left, is right of the trachea at column 242"
    )
    assert arch[:, 190:230].mean() < 0.1
    lung = (shown.voxels < -600) & (shown.voxels > -1000)
    assert lung[-20:, 200:300, 150:350].mean() > lung[:5, 200:300, 150:350].mean(), "slices ascend"
