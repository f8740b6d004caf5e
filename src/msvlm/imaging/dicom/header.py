"""One DICOM file's header -> the facts that decide how it is read. Odd values become None, never an error."""

import re
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pydicom
from pydicom.dataset import Dataset, FileDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.tag import BaseTag, Tag

from msvlm.imaging.dicom.b_value import B_VALUE_TAGS, private_b_value
from msvlm.imaging.dicom.body_parts import known_body_part
from msvlm.imaging.dicom.weighting import AcquisitionFacts, weighting_of
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
"""What pydicom raises on broken files; its texts can quote a patient's data, so they are never passed on."""

_KEYWORDS = (
    "AcquisitionNumber", "BitsAllocated", "BodyPartExamined", "Columns", "ContrastBolusAgent", "ConvolutionKernel",
    "DiffusionBValue", "EchoNumbers", "EchoTime", "FrameOfReferenceUID", "ImageOrientationPatient",
    "ImagePositionPatient", "ImageType", "InstanceNumber", "InversionTime", "KVP", "Modality", "NumberOfFrames",
    "PhotometricInterpretation", "PixelPaddingRangeLimit", "PixelPaddingValue", "PixelRepresentation", "PixelSpacing",
    "ProtocolName", "RepetitionTime", "RescaleIntercept", "RescaleSlope", "RescaleType", "Rows", "SOPClassUID",
    "SOPInstanceUID", "SamplesPerPixel", "ScanningSequence", "SequenceName", "SeriesDescription", "SeriesInstanceUID",
    "SeriesNumber", "SpecificCharacterSet", "StudyInstanceUID", "TemporalPositionIdentifier", "TriggerTime",
)  # fmt: skip
_TAG_OF = {keyword: Tag(keyword) for keyword in (*_KEYWORDS, "MediaStorageSOPClassUID")}
_TAGS = [*_TAG_OF.values(), *B_VALUE_TAGS]


@dataclass(frozen=True)
class DicomHeader:
    """What msvlm needs of one DICOM file, pixels aside. Values that are absent or malformed are None or empty.

    Attributes:
        position_lps_mm: centre of the first voxel.
        orientation_lps: unit vectors along which the column index, then the row index, grows.
        pixel_spacing_mm: between rows, between columns.
        padding_stored: lowest and highest stored value that mean "no voxel", before rescaling.
        tell_apart: values that tell slices at one position apart, by what to call them.
        has_pixels: something follows the header.
    """

    source: SourceFile
    study_uid: str
    series_uid: str
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
    tell_apart: tuple[tuple[str, str], ...]
    has_pixels: bool


def read_header(source: SourceFile) -> DicomHeader | None:
    """The facts of one file; None where it is not readable as DICOM. Reads nothing of the pixels."""
    try:
        with source.open_for_header() as stream:
            dataset = pydicom.dcmread(stream, stop_before_pixels=True, force=True, specific_tags=_TAGS)
            has_pixels = _is_deflated(dataset) or bool(stream.read(1))
    except UNREADABLE_DICOM:
        return None
    if not len(dataset) and "MediaStorageSOPClassUID" not in dataset.file_meta:
        return None
    header = _header_of(dataset, source, has_pixels)
    weighting = _weighting(dataset, header)
    # An ADC map is made of several b-values and has none of its own, whatever its header repeats.
    return replace(
        header, weighting=weighting, b_value_s_mm2=None if weighting is Weighting.ADC else header.b_value_s_mm2
    )


def _header_of(dataset: FileDataset, source: SourceFile, has_pixels: bool) -> DicomHeader:
    return DicomHeader(
        source=source,
        study_uid=_text(dataset, "StudyInstanceUID"),
        series_uid=_text(dataset, "SeriesInstanceUID"),
        frame_of_reference_uid=_text(dataset, "FrameOfReferenceUID"),
        sop_class_uid=_text(dataset, "SOPClassUID") or _text(dataset.file_meta, "MediaStorageSOPClassUID"),
        modality=_text(dataset, "Modality").upper(),
        series_number=_whole(dataset, "SeriesNumber"),
        instance_number=_instance_number(dataset),
        acquisition_number=_whole(dataset, "AcquisitionNumber"),
        image_type=tuple(value.strip().upper() for value in _texts(dataset, "ImageType")),
        rows=_whole(dataset, "Rows") or 0,
        columns=_whole(dataset, "Columns") or 0,
        samples_per_pixel=_whole(dataset, "SamplesPerPixel") or 1,
        frames=_whole(dataset, "NumberOfFrames") or 1,
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
        body_part=known_body_part(_text(dataset, "BodyPartExamined")),
        is_localiser=_is_localiser(dataset),
        tell_apart=_tell_apart(dataset),
        has_pixels=has_pixels,
    )


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
    return weighting_of(facts)


def _description(dataset: Dataset) -> str:
    return f"{_text(dataset, 'SeriesDescription')} {_text(dataset, 'ProtocolName')}".lower()


def _is_localiser(dataset: Dataset) -> bool:
    """By its image type, or for MR, where scanners write no such type, by its description.

    A CT's description does not decide: a skeletal survey is a whole CT, and scouts carry the image type.
    """
    if any("LOCALI" in value.upper() for value in _texts(dataset, "ImageType")):
        return True
    if _text(dataset, "Modality").upper() != "MR":
        return False
    words = r"locali[sz]er|\bloc\b|scout|survey|surview|topogram|scanogram"
    return re.search(words, _text(dataset, "SeriesDescription").lower()) is not None


def _padding(dataset: Dataset) -> tuple[int, int] | None:
    lowest, limit = _whole(dataset, "PixelPaddingValue"), _whole(dataset, "PixelPaddingRangeLimit")
    if lowest is None:
        return None
    bits = _whole(dataset, "BitsAllocated") or 16
    signed = _whole(dataset, "PixelRepresentation") == 1
    ends = [lowest, lowest if limit is None else limit]
    # The value's own type often contradicts Pixel Representation: 63536 then stands for -2000.
    ends = [_as_stored(end, bits, signed) for end in ends]
    return min(ends), max(ends)


def _as_stored(value: int, bits: int, signed: bool) -> int:
    if signed and value >= 1 << (bits - 1):
        return value - (1 << bits)
    if not signed and value < 0:
        return value + (1 << bits)
    return value


def _b_value(dataset: Dataset) -> float | None:
    """Standard tag first, then the vendors' own, then Siemens' sequence name; of MR alone."""
    if _text(dataset, "Modality").upper() != "MR":
        return None
    standard = _number(dataset, "DiffusionBValue")
    if standard is not None:
        return standard
    private = private_b_value(lambda tag: _value(dataset, tag))
    if private is not None:
        return private
    named = re.search(r"ep_b(\d+)(?:[t#]|$)", _text(dataset, "SequenceName"))
    return float(named.group(1)) if named else None


def _tell_apart(dataset: Dataset) -> tuple[tuple[str, str], ...]:
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
    """The element's value, None where it is absent, empty or cannot be converted."""
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


def _whole(dataset: Dataset, keyword: str) -> int | None:
    number = _number(dataset, keyword)
    return None if number is None else int(number)


def _instance_number(dataset: Dataset) -> int | None:
    """Within the range of an integer string (DICOM PS3.5 6.2); what lies beyond is no image's number."""
    number = _whole(dataset, "InstanceNumber")
    return number if number is not None and abs(number) < 1 << 31 else None
