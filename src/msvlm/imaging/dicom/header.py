"""Reads the header elements of a DICOM file that msvlm uses. Malformed values become None, never an error."""

import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import BaseTag, Tag

from msvlm.imaging.dicom.b_value import B_VALUE_TAGS, read_private_b_value
from msvlm.imaging.dicom.body_parts import normalise_body_part
from msvlm.imaging.dicom.weighting import AcquisitionFacts, infer_weighting
from msvlm.imaging.source_files import UNREADABLE_ARCHIVE, SourceFile
from msvlm.study import Modality, Weighting

UNREADABLE_DICOM = (
    *UNREADABLE_ARCHIVE,
    BytesLengthException,
    InvalidDicomError,
    AttributeError,
    KeyError,
    IndexError,
    OverflowError,
    MemoryError,
    RecursionError,
    SystemError,
    TypeError,
    ValueError,
    struct.error,
    zlib.error,
)
"""Exceptions that pydicom raises on corrupt files; their messages may quote patient data and are never passed on."""

_KEYWORDS = (
    "AcquisitionDate", "AcquisitionDateTime", "AcquisitionNumber", "AcquisitionTime", "BitsAllocated",
    "BodyPartExamined", "Columns", "ContrastBolusAgent", "ConvolutionKernel", "DiffusionBValue", "EchoNumbers",
    "EchoTime", "FrameOfReferenceUID", "ImageOrientationPatient", "ImagePositionPatient", "ImageType",
    "InstanceNumber", "InversionTime", "KVP", "Modality", "NumberOfFrames", "PhotometricInterpretation",
    "PixelPaddingRangeLimit", "PixelPaddingValue", "PixelRepresentation", "PixelSpacing", "ProtocolName",
    "RepetitionTime", "RescaleIntercept", "RescaleSlope", "RescaleType", "Rows", "SOPClassUID", "SOPInstanceUID",
    "SamplesPerPixel", "ScanningSequence", "SequenceName", "SeriesDescription", "SeriesInstanceUID", "SeriesNumber",
    "SpecificCharacterSet", "StudyInstanceUID", "TemporalPositionIdentifier", "TriggerTime",
)  # fmt: skip
_TAG_OF = {keyword: Tag(keyword) for keyword in (*_KEYWORDS, "MediaStorageSOPClassUID")}
_TAGS = [*_TAG_OF.values(), *B_VALUE_TAGS]


@dataclass(frozen=True)
class DicomHeader:
    """The header of one DICOM file, as far as msvlm uses it. Absent or malformed values are None or empty.

    Attributes:
        position_lps_mm: centre of the first voxel.
        orientation_lps: unit vectors of increasing column index, then of increasing row index.
        pixel_spacing_mm: between rows, between columns.
        padding_stored: lowest and highest stored value that mark padding, before rescaling.
        distinguishing_values: pairs of a name and a value that can distinguish slices at the same position.
        acquisition_time: `YYYYMMDDHHMMSS.FFFFFF`.
        has_pixels: whether any data follow the header.
    """

    source: SourceFile
    study_uid: str
    series_uid: str
    sop_instance_uid: str
    acquisition_time: str
    frame_of_reference_uid: str
    sop_class_uid: str
    modality: str
    series_number: int | None
    instance_number: int | None
    acquisition_number: int | None
    image_type: tuple[str, ...]
    rows: int
    columns: int
    samples_per_pixel: int
    frames: int
    photometric: str
    position_lps_mm: tuple[float, ...] | None
    orientation_lps: tuple[float, ...] | None
    pixel_spacing_mm: tuple[float, ...] | None
    rescale_slope: float | None
    rescale_intercept: float | None
    rescale_type: str
    padding_stored: tuple[int, int] | None
    b_value_s_mm2: float | None
    weighting: Weighting
    body_part: str
    is_localiser: bool
    distinguishing_values: tuple[tuple[str, str], ...]
    has_pixels: bool


def read_header(source: SourceFile) -> DicomHeader | None:
    """Reads the header of one file, without pixel data; returns None if the file is not readable as DICOM."""
    try:
        with source.open_for_header() as stream:
            dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=_TAGS)
            has_pixels = _is_deflated(dataset) or bool(stream.read(1))
    except UNREADABLE_DICOM:
        return None
    if not len(dataset) and "MediaStorageSOPClassUID" not in dataset.file_meta:
        return None
    header = _parse_header(dataset, source, has_pixels)
    weighting = _weighting(dataset, header)
    # An ADC map is computed from several b-values, so a b-value in its header is not its own.
    return replace(
        header, weighting=weighting, b_value_s_mm2=None if weighting is Weighting.ADC else header.b_value_s_mm2
    )


def _parse_header(dataset: FileDataset, source: SourceFile, has_pixels: bool) -> DicomHeader:
    return DicomHeader(
        source=source,
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        sop_instance_uid=_text(dataset, "SOPInstanceUID"),
        acquisition_time=_acquisition_time(dataset),
        frame_of_reference_uid=_text(dataset, "FrameOfReferenceUID"),
        sop_class_uid=_text(dataset, "SOPClassUID") or _text(dataset.file_meta, "MediaStorageSOPClassUID"),
        modality=_text(dataset, "Modality").upper(),
        series_number=_integer(dataset, "SeriesNumber"),
        instance_number=_instance_number(dataset),
        acquisition_number=_integer(dataset, "AcquisitionNumber"),
        image_type=tuple(value.strip().upper() for value in _texts(dataset, "ImageType")),
        rows=_integer(dataset, "Rows") or 0,
        columns=_integer(dataset, "Columns") or 0,
        samples_per_pixel=_integer(dataset, "SamplesPerPixel") or 1,
        frames=_integer(dataset, "NumberOfFrames") or 1,
        photometric=_text(dataset, "PhotometricInterpretation").upper(),
        position_lps_mm=_vector(dataset, "ImagePositionPatient", 3),
        orientation_lps=_vector(dataset, "ImageOrientationPatient", 6),
        pixel_spacing_mm=_vector(dataset, "PixelSpacing", 2),
        rescale_slope=_number(dataset, "RescaleSlope"),
        rescale_intercept=_number(dataset, "RescaleIntercept"),
        rescale_type=_text(dataset, "RescaleType").upper(),
        padding_stored=_padding(dataset),
        b_value_s_mm2=_b_value(dataset),
        weighting=Weighting.MR,
        body_part=normalise_body_part(_text(dataset, "BodyPartExamined")),
        is_localiser=_is_localiser(dataset),
        distinguishing_values=_distinguishing_values(dataset),
        has_pixels=has_pixels,
    )


def _acquisition_time(dataset: Dataset) -> str:
    joined = _text(dataset, "AcquisitionDateTime") or (
        _text(dataset, "AcquisitionDate") + _text(dataset, "AcquisitionTime")
    )
    return joined if re.fullmatch(r"\d{14}(\.\d{1,6})?([+-]\d{4})?", joined) else ""


def _is_deflated(dataset: FileDataset) -> bool:
    return str(dataset.file_meta.get("TransferSyntaxUID", "")) == "1.2.840.10008.1.2.1.99"


def _weighting(dataset: Dataset, header: DicomHeader) -> Weighting:
    facts = AcquisitionFacts(
        modality=Modality.CT if header.modality == "CT" else Modality.MR,
        description=_description(dataset),
        image_type=header.image_type,
        contrast_agent=_text(dataset, "ContrastBolusAgent"),
        sequence_name=_text(dataset, "SequenceName"),
        scanning_sequence=_texts(dataset, "ScanningSequence"),
        echo_time_ms=_number(dataset, "EchoTime"),
        repetition_time_ms=_number(dataset, "RepetitionTime"),
        b_value_s_mm2=header.b_value_s_mm2,
    )
    return infer_weighting(facts)


def _description(dataset: Dataset) -> str:
    return f"{_text(dataset, 'SeriesDescription')} {_text(dataset, 'ProtocolName')}".lower()


def _is_localiser(dataset: Dataset) -> bool:
    """Whether the image is a localiser by its Image Type or, for MR, by its Series Description.

    The description of a CT is not used: a skeletal survey is a full CT, and CT scouts have the image type.
    """
    if any("LOCALI" in value.upper() for value in _texts(dataset, "ImageType")):
        return True
    if _text(dataset, "Modality").upper() != "MR":
        return False
    words = r"locali[sz]er|\bloc\b|scout|survey|surview|topogram|scanogram"
    return re.search(words, _text(dataset, "SeriesDescription").lower()) is not None


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    lowest, limit = _integer(dataset, "PixelPaddingValue"), _integer(dataset, "PixelPaddingRangeLimit")
    if lowest is None:
        return None
    bits = _integer(dataset, "BitsAllocated") or 16
    signed = _integer(dataset, "PixelRepresentation") == 1
    ends = [lowest, lowest if limit is None else limit]
    # The VR of the value often contradicts Pixel Representation: 63536 then means -2000.
    ends = [_as_stored(end, bits, signed) for end in ends]
    return min(ends), max(ends)


def _as_stored(value: int, bits: int, signed: bool) -> int:
    if signed and value >= 1 << (bits - 1):
        return value - (1 << bits)
    if not signed and value < 0:
        return value + (1 << bits)
    return value


def _b_value(dataset: Dataset) -> float | None:
    """Returns the b-value of an MR image: standard element, else private element, else Siemens' sequence name."""
    if _text(dataset, "Modality").upper() != "MR":
        return None
    standard = _number(dataset, "DiffusionBValue")
    if standard is not None:
        return standard
    private = read_private_b_value(lambda tag: _value(dataset, tag))
    if private is not None:
        return private
    named = re.search(r"ep_b(\d+)(?:[t#]|$)", _text(dataset, "SequenceName"))
    return float(named.group(1)) if named else None


def _distinguishing_values(dataset: Dataset) -> tuple[tuple[str, str], ...]:
    named = (
        ("echo", "EchoNumbers"),
        ("echo time", "EchoTime"),
        ("inversion time", "InversionTime"),
        ("acquisition", "AcquisitionNumber"),
        ("temporal position", "TemporalPositionIdentifier"),
        ("trigger time", "TriggerTime"),
        ("contrast agent", "ContrastBolusAgent"),
        ("tube voltage", "KVP"),
        ("kernel", "ConvolutionKernel"),
        ("sequence", "SequenceName"),
    )
    return tuple((name, "/".join(_texts(dataset, keyword))) for name, keyword in named)


def _value(dataset: Dataset, tag: BaseTag) -> object:
    """Returns the value of an element, None where it is absent, empty or cannot be converted."""
    try:
        return dataset[tag].value if tag in dataset else None
    except UNREADABLE_DICOM:
        return None


def _texts(dataset: Dataset, keyword: str) -> tuple[str, ...]:
    value = _value(dataset, _TAG_OF[keyword])
    if value is None:
        return ()
    parts = value if isinstance(value, Sequence) and not isinstance(value, str | bytes) else [value]
    return tuple(str(part).strip(" \0") for part in parts)


def _text(dataset: Dataset, keyword: str) -> str:
    return " ".join(_texts(dataset, keyword))


def _numbers(values: Sequence[str]) -> tuple[float, ...] | None:
    try:
        numbers = tuple(float(value) for value in values)
    except ValueError:
        return None
    return numbers if all(abs(number) < float("inf") for number in numbers) else None


def _vector(dataset: Dataset, keyword: str, length: int) -> tuple[float, ...] | None:
    numbers = _numbers(_texts(dataset, keyword))
    return numbers if numbers is not None and len(numbers) == length else None


def _number(dataset: Dataset, keyword: str) -> float | None:
    numbers = _numbers(_texts(dataset, keyword)[:1])
    return numbers[0] if numbers else None


def _integer(dataset: Dataset, keyword: str) -> int | None:
    number = _number(dataset, keyword)
    return None if number is None else int(number)


def _instance_number(dataset: Dataset) -> int | None:
    """Returns Instance Number, None where it exceeds the range of an integer string (DICOM PS3.5 6.2)."""
    number = _integer(dataset, "InstanceNumber")
    return number if number is not None and abs(number) < 1 << 31 else None
