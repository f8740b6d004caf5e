"""Writes a study as DICOM files of a synthetic patient, one per slice; `read_study` reads the same study back.

CT Image Storage and MR Image Storage, DICOM PS3.3 A.3 and A.4.
"""

import hashlib
import uuid
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRLittleEndian, MRImageStorage

from msvlm.errors import StudyError
from msvlm.imaging.geometry import LPS_TO_RAS, median_gap_mm
from msvlm.study import Modality, Plane, Series, Study, Weighting

_NO_DATE, _NO_TIME = "20000101", "120000"
"""Fixed date and time, so that the files depend on the study alone."""

_LOCALISER_NUMBER = 1
_FIRST_SERIES_NUMBER = 2
_LONGEST_DECIMAL = 16

_DESCRIPTIONS = {
    Weighting.CT: "CT native",
    Weighting.CT_CONTRAST: "CT with contrast",
    Weighting.CT_ARTERIAL: "CT arterial phase",
    Weighting.CT_VENOUS: "CT venous phase",
    Weighting.MR: "MR",
    Weighting.T1: "T1",
    Weighting.T1_CONTRAST: "T1 post contrast",
    Weighting.T2: "T2",
    Weighting.PD: "PD",
    Weighting.DWI: "DWI",
    Weighting.ADC: "ADC",
}
_WITH_AGENT = {Weighting.CT_CONTRAST, Weighting.CT_ARTERIAL, Weighting.CT_VENOUS, Weighting.T1_CONTRAST}


@dataclass(frozen=True)
class _Placed:
    """One image to write: its voxels and its geometry in LPS, mm."""

    voxels: NDArray[np.int16]
    position_lps_mm: NDArray[np.float64]
    row_step_lps_mm: NDArray[np.float64]
    column_step_lps_mm: NDArray[np.float64]
    thickness_mm: float
    instance: int


def write_dicom(study: Study, folder: Path, with_localiser: bool = False) -> tuple[Path, ...]:
    """Writes each series into a folder named by its key, one file per slice; all UIDs are derived from the study's key.

    With a localiser, a coronal projection of the first CT series is written too, as scanners store one.
    Reading restores the same order for slices that ascend along their normal; others are returned in that order.
    Slices without instance numbers are numbered from 1.

    Raises:
        StudyError: voxels that are not int16; DICOM would round them.
    """
    written: list[Path] = []
    for index, series in enumerate(study.series):
        number = _series_number(series, _FIRST_SERIES_NUMBER + index)
        written += _write_series(study.key, series, number, folder / series.key)
    ct = [series for series in study.series if series.modality is Modality.CT]
    if with_localiser and ct:
        written.append(_write_localiser(study.key, ct[0], folder / "localiser"))
    return tuple(written)


def _series_number(series: Series, otherwise: int) -> int:
    """Returns the number in the key, so that reading restores the key."""
    digits = series.key.removeprefix("s")
    return int(digits) if digits.isdecimal() and digits.isascii() else otherwise


def _write_series(study_key: str, series: Series, number: int, folder: Path) -> list[Path]:
    if series.voxels.dtype != np.int16:
        raise StudyError(
            f"{series.key}: voxels of type {series.voxels.dtype}; round them to int16 before writing DICOM"
        )
    folder.mkdir(parents=True, exist_ok=True)
    template = _series_dataset(study_key, series, number)
    thickness_mm = median_gap_mm(series.slice_gaps_mm) or 1.0
    paths = []
    for index, voxels in enumerate(series.voxels):
        placed = _Placed(
            voxels=voxels,
            position_lps_mm=series.positions_ras_mm[index] * LPS_TO_RAS,
            row_step_lps_mm=series.row_steps_ras_mm[index] * LPS_TO_RAS,
            column_step_lps_mm=series.column_steps_ras_mm[index] * LPS_TO_RAS,
            thickness_mm=thickness_mm,
            instance=index + 1 if series.instance_numbers is None else int(series.instance_numbers[index]),
        )
        paths.append(folder / f"{index + 1:04d}.dcm")
        _write_image(template, placed, _uid(study_key, series.key, str(index)), paths[-1])
    return paths


def _write_localiser(study_key: str, series: Series, folder: Path) -> Path:
    """Writes a coronal projection, the mean over the rows of each slice, head at the top; pixels may not be square."""
    top_first = bool(series.positions_ras_mm[-1, 2] < series.positions_ras_mm[0, 2])
    projection = np.rint(np.clip(series.voxels, -1024, None).mean(axis=1)).astype(np.int16)
    last = 0 if top_first else len(projection) - 1
    middle_row = series.voxels.shape[1] // 2
    gap_mm = median_gap_mm(series.slice_gaps_mm) or 1.0
    folder.mkdir(parents=True, exist_ok=True)
    template = _series_dataset(study_key, series, _LOCALISER_NUMBER)
    template.ImageType = ["ORIGINAL", "PRIMARY", "LOCALIZER"]
    template.SeriesDescription = "Localiser"
    template.SeriesInstanceUID = _uid(study_key, "localiser")
    template.pop("ContrastBolusAgent", None)
    template.pop("RescaleType", None)  # the standard does not allow HU in localisers
    placed = _Placed(
        voxels=projection if top_first else projection[::-1],
        position_lps_mm=(series.positions_ras_mm[last] + series.row_steps_ras_mm[last] * middle_row) * LPS_TO_RAS,
        row_step_lps_mm=np.array((0.0, 0.0, -gap_mm)),
        column_step_lps_mm=series.column_steps_ras_mm[last] * LPS_TO_RAS * (1.0, 1.0, 0.0),
        thickness_mm=gap_mm,
        instance=1,
    )
    path = folder / "0001.dcm"
    _write_image(template, placed, _uid(study_key, "localiser", "0"), path)
    return path


def _write_image(template: Dataset, placed: _Placed, instance_uid: UID, path: Path) -> None:
    image = template.copy()
    image.SOPInstanceUID = instance_uid
    image.InstanceNumber = placed.instance
    image.ContentDate, image.ContentTime = _NO_DATE, _NO_TIME
    row_mm, column_mm = np.linalg.norm(placed.row_step_lps_mm), np.linalg.norm(placed.column_step_lps_mm)
    image.ImagePositionPatient = [_decimal(value) for value in placed.position_lps_mm]
    directions = np.concatenate((placed.column_step_lps_mm / column_mm, placed.row_step_lps_mm / row_mm))
    image.ImageOrientationPatient = [_decimal(value) for value in directions]
    image.PixelSpacing = [_decimal(float(row_mm)), _decimal(float(column_mm))]
    image.SliceThickness = _decimal(placed.thickness_mm)
    image.Rows, image.Columns = placed.voxels.shape
    image.PixelData = np.ascontiguousarray(placed.voxels, dtype="<i2").tobytes()
    image.file_meta = FileMetaDataset()
    image.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
    image.file_meta.MediaStorageSOPClassUID = image.SOPClassUID
    image.file_meta.MediaStorageSOPInstanceUID = instance_uid
    image.file_meta.ImplementationClassUID = _uid("implementation")
    image.file_meta.ImplementationVersionName = "MSVLM"
    image.save_as(path, enforce_file_format=True)


def _series_dataset(study_key: str, series: Series, number: int) -> Dataset:
    """Returns the elements that all images of a series share."""
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.Modality = series.modality.value
    dataset.Manufacturer = "msvlm (synthetic)"
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = _NO_DATE
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = _NO_TIME
    dataset.AccessionNumber = dataset.ReferringPhysicianName = ""
    dataset.StudyDescription = "Synthetic study, not a patient"
    dataset.SeriesDescription = f"{_DESCRIPTIONS[series.weighting]} {series.plane.value}"
    dataset.PatientName = "SYNTHETIC^PATIENT"
    dataset.PatientID = hashlib.sha256(study_key.encode()).hexdigest()[:16]
    dataset.PatientBirthDate = dataset.PatientSex = ""
    dataset.StudyInstanceUID = _uid(study_key)
    dataset.SeriesInstanceUID = _uid(study_key, series.key)
    dataset.FrameOfReferenceUID = _uid(study_key, "frame of reference")
    dataset.PositionReferenceIndicator = ""
    dataset.StudyID = "1"
    dataset.SeriesNumber = number
    dataset.AcquisitionNumber = 1
    dataset.PatientPosition = "HFS"
    if series.body_part:
        dataset.BodyPartExamined = series.body_part.upper()
    if series.weighting in _WITH_AGENT:
        dataset.ContrastBolusAgent = "SYNTHETIC AGENT"
    _describe_pixels(dataset, series)
    _describe_acquisition(dataset, series)
    return dataset


def _describe_pixels(dataset: Dataset, series: Series) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.BitsAllocated = dataset.BitsStored = 16
    dataset.HighBit = 15
    dataset.PixelRepresentation = 1
    if series.padding_value is not None:
        dataset.PixelPaddingValue = int(series.padding_value)


def _describe_acquisition(dataset: Dataset, series: Series) -> None:
    """Sets the elements that the CT and MR image modules require; empty where a synthetic study has no value."""
    if series.modality is Modality.CT:
        dataset.SOPClassUID = CTImageStorage
        dataset.ImageType = ["DERIVED", "PRIMARY", "AXIAL" if series.plane is Plane.AXIAL else "OTHER"]
        dataset.RescaleIntercept, dataset.RescaleSlope, dataset.RescaleType = "0", "1", "HU"
        dataset.KVP = None
        return
    dataset.SOPClassUID = MRImageStorage
    dataset.ImageType = ["DERIVED", "PRIMARY", "ADC" if series.weighting is Weighting.ADC else "OTHER"]
    dataset.ScanningSequence, dataset.SequenceVariant, dataset.ScanOptions = "RM", "NONE", ""
    dataset.MRAcquisitionType = "2D"
    dataset.RepetitionTime = dataset.EchoTime = dataset.EchoTrainLength = None
    if series.b_value_s_mm2 is not None:
        dataset.DiffusionBValue = float(series.b_value_s_mm2)


def _uid(*parts: str) -> UID:
    """Returns a UUID-derived UID (DICOM PS3.5 B.2), the same for the same parts."""
    return UID(f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, '/'.join(('msvlm', *parts))).int}")


def _decimal(value: float) -> str:
    """Formats a DICOM decimal string of at most 16 characters, exact to 1e-9 mm within a body."""
    for digits in range(12, 0, -1):
        text = f"{value:.{digits}f}"
        if len(text) <= _LONGEST_DECIMAL:
            return text
    return f"{value:.8g}"
