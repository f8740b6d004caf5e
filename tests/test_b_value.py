"""b-values in private elements: read in every encoding, only from MR, only under the right private creator."""

import struct
from dataclasses import replace
from pathlib import Path

import pydicom
import pytest
from dicom_files import ct_series, mr_series, set_values, written
from pydicom.dataset import FileDataset
from pydicom.uid import ExplicitVRLittleEndian, ImplicitVRLittleEndian, generate_uid

from msvlm.imaging.read import read_study
from msvlm.study import Series, Weighting

PHILIPS = (0x2001, "Philips Imaging DD 001", 0x03)
SIEMENS = (0x0019, "SIEMENS MR HEADER", 0x0C)
GE = (0x0043, "GEMS_PARM_01", 0x39)


def as_number(b_value: float) -> float:
    return b_value


def as_raw_float(b_value: float) -> bytes:
    return struct.pack("<f", b_value)


def as_text(b_value: float) -> str:
    return f"{b_value:g}"


def as_raw_text(b_value: float) -> bytes:
    text = f"{b_value:g}".encode()
    return text + b" " * (len(text) % 2)


def as_offset(b_value: float) -> list[int]:
    return [1_000_000_000 + int(b_value), 8, 0, 0]


def as_raw_list(b_value: float) -> bytes:
    return f"{b_value:04g}\\8\\0\\0".encode()


def save(path: Path, syntax: str, series: Series, where: tuple[int, str, int], vr: str, value: object) -> None:
    """Rewrites a slice in a transfer syntax, with a private element instead of the standard one."""
    dataset: FileDataset = pydicom.dcmread(path)
    if "DiffusionBValue" in dataset:
        del dataset.DiffusionBValue
    group, creator, element = where
    dataset.private_block(group, creator, create=True).add_new(element, vr, value)
    dataset.SOPInstanceUID = generate_uid()
    dataset.SeriesDescription = series.key
    dataset.file_meta.TransferSyntaxUID = syntax
    dataset.save_as(path, implicit_vr=syntax == ImplicitVRLittleEndian, little_endian=True)


@pytest.mark.parametrize(
    ("where", "vr", "written_as", "syntax"),
    [
        (PHILIPS, "FL", as_number, ImplicitVRLittleEndian),
        (PHILIPS, "FL", as_number, ExplicitVRLittleEndian),
        (PHILIPS, "UN", as_raw_float, ExplicitVRLittleEndian),
        (PHILIPS, "UN", as_raw_float, ImplicitVRLittleEndian),
        (SIEMENS, "IS", as_text, ImplicitVRLittleEndian),
        (SIEMENS, "IS", as_text, ExplicitVRLittleEndian),
        (SIEMENS, "UN", as_raw_text, ExplicitVRLittleEndian),
        (GE, "IS", as_offset, ImplicitVRLittleEndian),
        (GE, "IS", as_offset, ExplicitVRLittleEndian),
        (GE, "UN", as_raw_list, ExplicitVRLittleEndian),
    ],
)  # fmt: skip
def test_b_values_of_each_vendor_are_read(
    tmp_path: Path, where: tuple[int, str, int], vr: str, written_as: object, syntax: str
) -> None:
    assert callable(written_as)
    for b_value in (0.0, 50.0, 1000.0):
        series = mr_series("s6", Weighting.DWI, b_value)
        for path in written(tmp_path / f"{b_value:g}", series):
            save(path, syntax, series, where, vr, written_as(b_value))
    study = read_study(tmp_path)
    assert not study.left_out
    found = {series.key: series.b_value_s_mm2 for series in study.series}
    assert found == {"s6-b0": 0.0, "s6-b50": 50.0, "s6-b1000": 1000.0}


@pytest.mark.parametrize(
    ("series", "where", "vr", "value"),
    [
        (mr_series(), (0x2001, "SOMEBODY ELSE", 0x03), "FL", 800.0),
        (mr_series(), (0x0019, "GEMS_ACQU_01", 0x0C), "IS", "800"),
        (ct_series("s3"), PHILIPS, "FL", 800.0),
        (mr_series(), PHILIPS, "FL", float("nan")),
        (mr_series(), PHILIPS, "FL", -1.0),
        (mr_series(), SIEMENS, "LO", "many"),
    ],
)
def test_invalid_or_foreign_elements_give_no_b_value(
    tmp_path: Path, series: Series, where: tuple[int, str, int], vr: str, value: object
) -> None:
    for path in written(tmp_path, series):
        save(path, ExplicitVRLittleEndian, series, where, vr, value)
    assert read_study(tmp_path).series[0].b_value_s_mm2 is None


def test_the_element_is_found_in_another_private_block(tmp_path: Path) -> None:
    series = mr_series("s6", Weighting.T2)
    for path in written(tmp_path, series):
        save(path, ImplicitVRLittleEndian, series, (0x2001, "SOMEBODY ELSE", 0x03), "FL", 3.0)
        save(path, ImplicitVRLittleEndian, series, PHILIPS, "FL", 800.0)
        assert (0x2001, 0x1103) in pydicom.dcmread(path)
    assert read_study(tmp_path).series[0].b_value_s_mm2 == 800.0


def test_the_standard_element_takes_precedence(tmp_path: Path) -> None:
    series = replace(mr_series("s6", Weighting.DWI, 800.0))
    for path in written(tmp_path, series):
        save(path, ExplicitVRLittleEndian, series, PHILIPS, "FL", 700.0)
        set_values(path, DiffusionBValue=800.0)
    assert read_study(tmp_path).series[0].b_value_s_mm2 == 800.0
