"""Reading DICOM files: grouping, order, rescaling, positions, and the reasons for what is left out."""

from collections.abc import Callable
from dataclasses import replace
from itertools import permutations
from pathlib import Path

import numpy as np
import pydicom
import pytest
from dicom_files import assert_same_series, copied, ct_series, edit, mr_series, set_values, written
from pydicom.dataset import FileDataset
from pydicom.uid import generate_uid

from msvlm.errors import StudyError
from msvlm.imaging.inspect import describe_study
from msvlm.imaging.read import read_study
from msvlm.study import Plane, Series, Study, Weighting


def only(study: Study) -> Series:
    assert len(study.series) == 1
    return study.series[0]


def reasons(study: Study) -> str:
    return "\n".join(f"{item.name}: {item.reason}" for item in study.left_out)


@pytest.mark.parametrize("order", list(permutations(range(4)))[::5])
def test_slices_are_ordered_by_position_whatever_the_files_are_called(tmp_path: Path, order: tuple[int, ...]) -> None:
    expected = ct_series(slices=4)
    for place, path in zip(order, written(tmp_path, expected), strict=True):
        set_values(path, InstanceNumber=10 - place)
        path.rename(tmp_path / f"{place}")
    assert_same_series(only(read_study(tmp_path)), expected)


def test_slices_keep_the_image_numbers_that_viewers_show(tmp_path: Path) -> None:
    """Scanners number slices from head to foot; series are ordered from foot to head."""
    expected = replace(ct_series(slices=4), instance_numbers=np.array([100, 99, 97, 98]))
    for number, path in enumerate(written(tmp_path, expected)):
        assert pydicom.dcmread(path).InstanceNumber == expected.instance_numbers[number]
    read = only(read_study(tmp_path))
    assert_same_series(read, expected)
    assert "slice 1 is image 100, slice 4 is image 98" in describe_study(read_study(tmp_path)).to_text()


def test_a_series_keeps_its_dicom_identity_slice_by_slice(tmp_path: Path) -> None:
    paths = written(tmp_path)
    for path in paths:
        set_values(path, AcquisitionDate="20200102", AcquisitionTime="030405.5")
    series = only(read_study(tmp_path))
    by_height = sorted(map(pydicom.dcmread, paths), key=lambda dataset: dataset.ImagePositionPatient[2])
    assert series.dicom.sop_instance_uids == tuple(dataset.SOPInstanceUID for dataset in by_height)
    assert series.dicom.series_instance_uid == by_height[0].SeriesInstanceUID
    assert series.dicom.study_instance_uid == by_height[0].StudyInstanceUID
    assert series.dicom.acquisition_time == "20200102030405.5"
    assert "2020" not in repr(series)


def test_what_is_no_uid_or_no_time_is_not_kept(tmp_path: Path) -> None:
    for path in written(tmp_path):
        set_values(path, StudyInstanceUID="2.25.DOE^JANE", AcquisitionDate="20200102", AcquisitionTime="")
    series = only(read_study(tmp_path))
    assert (series.dicom.study_instance_uid, series.dicom.acquisition_time) == ("", "")


@pytest.mark.parametrize("number", [b"\x00\x00", b"\x02\x002 ", b"\x02\x00x ", b"\x0e\x001099511627776 "])
def test_instance_numbers_that_are_missing_repeated_or_malformed_are_dropped(tmp_path: Path, number: bytes) -> None:
    path = written(tmp_path)[4]
    content = path.read_bytes()
    assert content.count(b"IS\x02\x005 ") == 1
    path.write_bytes(content.replace(b"IS\x02\x005 ", b"IS" + number))
    assert only(read_study(tmp_path)).instance_numbers is None


def test_a_missing_slice_is_named_with_its_gap(tmp_path: Path) -> None:
    written(tmp_path, ct_series(slices=10))[4].unlink()
    read = only(read_study(tmp_path))
    assert len(read.voxels) == 9
    assert (
        "gaps of 2.50 mm, but of 5.00 mm between slices 4 and 5 (images 4 and 6): 1 slice is missing" in read.notes[0]
    )


def test_uneven_slices_keep_their_positions(tmp_path: Path) -> None:
    expected = ct_series(slices=6)
    positions = expected.positions_ras_mm.copy()
    positions[3:, 2] += 1.1
    expected = replace(expected, positions_ras_mm=positions)
    written(tmp_path, expected)
    read = only(read_study(tmp_path))
    assert_same_series(read, expected)
    assert any("unevenly spaced: gaps of 2.50, 3.60 mm" in note for note in read.notes)


def test_a_tilted_series_keeps_its_slices_and_has_a_note(tmp_path: Path) -> None:
    angle = np.radians(15.0)
    tilted = replace(ct_series(), row_steps_ras_mm=np.tile((0.0, -0.8 * np.cos(angle), 0.8 * np.sin(angle)), (8, 1)))
    written(tmp_path, tilted)
    read = only(read_study(tmp_path))
    assert_same_series(read, tilted)
    assert read.tilt_degrees == pytest.approx(15.0, abs=1e-3)
    assert any("tilted by 15.0 degrees" in note for note in read.notes)


def test_duplicate_slices_are_dropped_and_counted(tmp_path: Path) -> None:
    paths = written(tmp_path)
    copied(paths[2], "again")
    copied(paths[5], "and again")
    read = only(read_study(tmp_path))
    assert_same_series(read, ct_series())
    assert "2 duplicate slices dropped" in read.notes


def test_slices_at_one_position_that_differ_leave_the_series_out(tmp_path: Path) -> None:
    paths = written(tmp_path)
    pixels = pydicom.dcmread(paths[2]).PixelData
    copied(paths[2], "other", PixelData=pixels[::-1])
    with pytest.raises(StudyError, match=r"slices 3 and 4 of 9 have the same position but different voxels"):
        read_study(tmp_path)


@pytest.mark.parametrize(
    ("keyword", "value", "label"),
    [("AcquisitionNumber", 2, "s2-a2"), ("ConvolutionKernel", "B70f", "s2-k2"), ("KVP", "80", "s2-t2")],
)
def test_two_volumes_in_one_series_are_split(tmp_path: Path, keyword: str, value: object, label: str) -> None:
    other = replace(ct_series(seed=5), key="s2")
    for path in written(tmp_path / "two", other):
        instance = pydicom.dcmread(path).InstanceNumber
        set_values(path, **{keyword: value}, InstanceNumber=instance + 100, SOPInstanceUID=generate_uid())
    written(tmp_path / "one", ct_series())
    first, second = read_study(tmp_path).series
    assert second.key == label
    assert_same_series(first, ct_series())
    assert_same_series(second, other)
    assert "split from the rest of s2" in first.notes[0]


def test_interleaved_ct_acquisitions_are_two_stacks(tmp_path: Path) -> None:
    for index, path in enumerate(written(tmp_path)):
        set_values(path, AcquisitionNumber=1 + index % 2)
    first, second = read_study(tmp_path).series
    np.testing.assert_array_equal(first.voxels, ct_series().voxels[::2])
    np.testing.assert_array_equal(second.voxels, ct_series().voxels[1::2])


def test_acquisitions_that_follow_one_another_are_one_stack(tmp_path: Path) -> None:
    for index, path in enumerate(written(tmp_path)):
        set_values(path, AcquisitionNumber=1 + index // 2)
    assert_same_series(only(read_study(tmp_path)), ct_series())


def test_b_values_at_the_same_positions_are_split(tmp_path: Path) -> None:
    for place, b_value in enumerate((0.0, 400.0, 800.0)):
        series = mr_series("s6", Weighting.DWI, b_value)
        for path in written(tmp_path / str(place), series):
            set_values(path, SOPInstanceUID=generate_uid())
    study = read_study(tmp_path)
    assert [series.key for series in study.series] == ["s6-b0", "s6-b400", "s6-b800"]
    assert [series.b_value_s_mm2 for series in study.series] == [0.0, 400.0, 800.0]
    assert {series.weighting for series in study.series} == {Weighting.DWI}


def test_b_value_0_without_diffusion_is_dropped(tmp_path: Path) -> None:
    for path in written(tmp_path, mr_series()):
        set_values(path, DiffusionBValue=0.0)
    read = only(read_study(tmp_path))
    assert read.b_value_s_mm2 is None
    assert read.weighting is Weighting.T2


def test_slices_of_another_matrix_or_orientation_are_another_stack(tmp_path: Path) -> None:
    expected = [ct_series("s2", rows=12), ct_series("s2", rows=14), replace(mr_series("s2"), body_part="chest")]
    for number, series in enumerate(expected):
        for path in written(tmp_path / str(number), series):
            set_values(path, SOPInstanceUID=generate_uid(), SeriesInstanceUID="2.25.7")
    study = read_study(tmp_path)
    assert sorted(series.voxels.shape for series in study.series) == sorted(each.voxels.shape for each in expected)
    assert len({series.key for series in study.series}) == 3
    assert {series.plane for series in study.series} == {Plane.AXIAL, Plane.SAGITTAL}


def without_rescale(dataset: FileDataset) -> None:
    del dataset.RescaleSlope, dataset.RescaleIntercept, dataset.RescaleType


def as_secondary_capture(dataset: FileDataset) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.7"


def as_enhanced(dataset: FileDataset) -> None:
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = "1.2.840.10008.5.1.4.1.1.2.1"


def in_colour(dataset: FileDataset) -> None:
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0


def without_pixels(dataset: FileDataset) -> None:
    del dataset.PixelData


def as_localiser(dataset: FileDataset) -> None:
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]


def as_ultrasound(dataset: FileDataset) -> None:
    dataset.Modality = "US"


def without_position(dataset: FileDataset) -> None:
    del dataset.ImagePositionPatient


def flat_orientation(dataset: FileDataset) -> None:
    dataset.ImageOrientationPatient = [1, 0, 0, 1, 0, 0]


def electron_density(dataset: FileDataset) -> None:
    dataset.RescaleType = "ED"


def truncated(dataset: FileDataset) -> None:
    dataset.PixelData = dataset.PixelData[:20]


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (without_rescale, "CT without Rescale Slope and Intercept, so not in HU; export it again with both"),
        (as_secondary_capture, "secondary capture"),
        (as_enhanced, r"Enhanced CT \(multi-frame\) is not supported yet"),
        (in_colour, r"image in colour \(RGB\)"),
        (without_pixels, r"no pixel data \(CT Image Storage\)"),
        (as_localiser, "localiser"),
        (as_ultrasound, "modality US; msvlm reads CT and MR"),
        (without_position, "no position in the patient: Image Position missing or malformed"),
        (flat_orientation, "not two orthogonal unit vectors"),
        (electron_density, "CT whose Rescale Type is not HU"),
        (truncated, "corrupt or truncated"),
    ],
)
def test_a_file_that_is_no_slice_is_left_out_with_its_reason(
    tmp_path: Path, change: Callable[[FileDataset], None], reason: str
) -> None:
    good = mr_series()
    paths = written(tmp_path, good, ct_series("s7", slices=3))
    for path in paths[len(good.voxels) :]:
        edit(path, change)
    study = read_study(tmp_path)
    assert_same_series(only(study), good)
    assert [item.name for item in study.left_out] == ["s7"]
    with pytest.raises(StudyError, match=rf"no readable series in 3 files: s7: 3 .*{reason}"):
        read_study(paths[len(good.voxels) :])


@pytest.mark.parametrize("description", ["Skeletal Survey low dose", "CT loc. staging", "scout view"])
def test_the_description_of_a_ct_does_not_make_it_a_localiser(tmp_path: Path, description: str) -> None:
    for path in written(tmp_path):
        set_values(path, SeriesDescription=description)
    assert_same_series(only(read_study(tmp_path)), ct_series())


@pytest.mark.parametrize("description", ["survey", "3-plane loc", "Scout"])
def test_an_mr_localiser_is_known_by_its_description(tmp_path: Path, description: str) -> None:
    for path in written(tmp_path, mr_series()):
        set_values(path, SeriesDescription=description)
    with pytest.raises(StudyError, match="s3: 5 files: localiser"):
        read_study(tmp_path)


def test_one_corrupt_slice_is_left_out_and_its_gap_is_noted(tmp_path: Path) -> None:
    edit(written(tmp_path)[3], truncated)
    study = read_study(tmp_path)
    assert "s2: 1 of 8 slices: pixel data in Explicit VR Little Endian are corrupt or truncated" in reasons(study)
    assert "1 slice is missing" in only(study).notes[0]


def test_a_single_image_is_read_only_if_its_file_is_passed(tmp_path: Path) -> None:
    path = written(tmp_path)[3]
    (tmp_path / "alone").mkdir()
    alone = path.rename(tmp_path / "alone" / "image")
    assert only(read_study(alone)).notes == ("a single image",)
    with pytest.raises(StudyError, match="a single image; to read it anyway, pass its file on its own"):
        read_study(alone.parent)


def test_a_series_in_another_frame_of_reference_has_a_note(tmp_path: Path) -> None:
    paths = written(tmp_path, ct_series("s2"), ct_series("s3"), mr_series("s4"))
    for path in paths:
        if path.parent.name == "s4":
            set_values(path, FrameOfReferenceUID="2.25.4711")
    noted = [series.key for series in read_study(tmp_path).series if "frame of reference" in "".join(series.notes)]
    assert noted == ["s4"]


def test_two_studies_are_not_mixed(tmp_path: Path) -> None:
    written(tmp_path / "a", key="one")
    written(tmp_path / "b", key="two")
    with pytest.raises(StudyError, match=r"images of 2 studies \(1, 1 series\), expected one study"):
        read_study(tmp_path)
