"""Decodes DICOM pixel data of any transfer syntax with an installed decoder, and rescales it slice by slice."""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import gdcm
import numpy as np
import pydicom
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.encaps import get_frame
from pydicom.pixels.decoders.base import get_decoder
from pydicom.tag import Tag
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from msvlm.errors import StudyError
from msvlm.imaging.dicom.header import UNREADABLE_DICOM, DicomHeader

_PIXEL_TAGS = [
    Tag(keyword)
    for keyword in (
        "BitsAllocated", "BitsStored", "Columns", "DoubleFloatPixelData", "ExtendedOffsetTable",
        "ExtendedOffsetTableLengths", "FloatPixelData", "HighBit", "NumberOfFrames", "PhotometricInterpretation",
        "PixelData", "PixelRepresentation", "PlanarConfiguration", "Rows", "SamplesPerPixel",
    )
]  # fmt: skip
_DECODERS = {
    JPEGBaseline8Bit: "pillow",
    JPEGExtended12Bit: "pillow",
    JPEGLSLossless: "pyjpegls",
    JPEGLSNearLossless: "pyjpegls",
    JPEG2000Lossless: "pylibjpeg",
    JPEG2000: "pylibjpeg",
    RLELossless: "pydicom",
}
"""The decoder for each transfer syntax. By default pydicom tries all of them; on corrupt streams GDCM ends the process
and the RLE decoder of pylibjpeg raises a `BaseException` that is no `Exception`."""

_NOT_FRAME_HEADERS = {0xC4, 0xC8, 0xCC}
"""JPEG markers between 0xC0 and 0xCF that start no frame header: Huffman tables, extension, arithmetic coding."""

_DECODED_BY_GDCM = {JPEGExtended12Bit, JPEGLossless, JPEGLosslessSV1}
"""GDCM writes past its buffer where the size in the JPEG stream differs from the size in the DICOM header."""

gdcm.Trace.WarningOff()
gdcm.Trace.ErrorOff()

_INT16 = np.iinfo(np.int16)
_FLOAT32_MAX = float(np.finfo(np.float32).max)
_LARGEST_SCALE = 1 << 30
"""Slopes and intercepts up to this, applied to 32-bit stored values, stay within 64 bits."""


@dataclass(frozen=True)
class DecodedSlice:
    """Header of a slice and its stored values (rows, columns), before rescaling."""

    header: DicomHeader
    stored: NDArray[np.generic]


def decode_slice(header: DicomHeader) -> DecodedSlice:
    """Decodes the pixel data of a slice.

    Raises:
        StudyError: no installed decoder supports the transfer syntax, or the pixel data are corrupt or truncated.
    """
    return DecodedSlice(header, _stored_values(header))


def _stored_values(header: DicomHeader) -> NDArray[np.generic]:
    try:
        with header.source.open() as stream:
            dataset = pydicom.dcmread(stream, force=True, specific_tags=_PIXEL_TAGS)
        _complete_transfer_syntax(dataset)
    except UNREADABLE_DICOM:
        raise StudyError("the file cannot be reopened; copy or export it again") from None
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    if not _can_decode(syntax):
        raise StudyError(
            f"pixel data in {_syntax_name(syntax, with_uid=True)}, which no installed decoder supports; "
            "convert them to Explicit VR Little Endian"
        )
    if syntax in _DECODERS:
        dataset.pixel_array_options(decoding_plugin=_DECODERS[UID(syntax)])
    if syntax in _DECODED_BY_GDCM and not _jpeg_size_matches(dataset, header):
        raise StudyError(f"pixel data in {_syntax_name(syntax)} are corrupt; copy or export the file again")
    try:
        values = _decode_jpeg_12_bit(dataset, header) if _is_jpeg_12_bit(dataset) else dataset.pixel_array
    except UNREADABLE_DICOM:
        raise StudyError(
            f"pixel data in {_syntax_name(syntax)} are corrupt or truncated; copy or export the file again"
        ) from None
    if values.shape != (header.rows, header.columns):
        raise StudyError(
            f"pixel data of shape {values.shape}, but the header states {header.rows} x {header.columns}; export again"
        )
    return values


def rescale_slices(slices: Sequence[DecodedSlice]) -> tuple[NDArray[np.int16] | NDArray[np.float32], float | None]:
    """Rescales each slice by its own slope and intercept; returns (slices, rows, columns) and the padding value.

    The result is int16 where that is lossless, else float32. Padding gets the rescaled padding value of the first slice
    that defines one, clipped to the range of the result.

    Raises:
        StudyError: rescaled values exceed float32.
    """
    stored, headers = [each.stored for each in slices], [each.header for each in slices]
    scales = [_scale(header) for header in headers]
    padded = [_padding_mask(values, header) for values, header in zip(stored, headers, strict=True)]
    padding = next((value for value in map(_padding_value, headers) if value is not None), None)
    if _fits_int16(stored, padded, scales):
        return _as_int16(stored, padded, scales, padding)
    reals = np.empty((len(stored), *stored[0].shape), dtype=np.float32)
    for plane, values, mask, (slope, intercept) in zip(reals, stored, padded, scales, strict=True):
        with np.errstate(over="ignore", invalid="ignore"):
            plane[:] = values.astype(np.float64) * slope + intercept
        if not np.isfinite(plane if mask is None else plane[~mask]).all():
            raise StudyError(
                f"values rescaled with slope {slope:g} and intercept {intercept:g} exceed float32; export it again"
            )
    if padding is not None:
        padding = float(np.clip(np.float64(padding), -_FLOAT32_MAX, _FLOAT32_MAX).astype(np.float32))
    _fill(reals, padded, padding)
    return reals, padding


def _as_int16(
    stored: Sequence[NDArray[np.generic]],
    padded: Sequence[NDArray[np.bool_] | None],
    scales: Sequence[tuple[float, float]],
    padding: float | None,
) -> tuple[NDArray[np.int16], float | None]:
    """Rescales to int16; all values but padding must be integers within int16."""
    voxels = np.empty((len(stored), *stored[0].shape), dtype=np.int16)
    for plane, values, (slope, intercept) in zip(voxels, stored, scales, strict=True):
        plane[:] = (values.astype(np.int64) * int(slope) + int(intercept)).astype(np.int16)
    if padding is not None and not _INT16.min <= padding <= _INT16.max:
        has_padding = any(mask is not None and mask.any() for mask in padded)
        padding = float(np.clip(padding, _INT16.min, _INT16.max)) if has_padding else None
    _fill(voxels, padded, padding)
    return voxels, padding


def _scale(header: DicomHeader) -> tuple[float, float]:
    """Returns slope and intercept; 1 and 0 for MR files without them, which are on the scanner's own scale."""
    slope = 1.0 if header.rescale_slope in {None, 0.0} else header.rescale_slope
    intercept = 0.0 if header.rescale_intercept is None else header.rescale_intercept
    assert slope is not None
    return slope, intercept


def _padding_value(header: DicomHeader) -> float | None:
    if header.padding_stored is None:
        return None
    slope, intercept = _scale(header)
    return header.padding_stored[0] * slope + intercept


def _padding_mask(values: NDArray[np.generic], header: DicomHeader) -> NDArray[np.bool_] | None:
    if header.padding_stored is None:
        return None
    low, high = header.padding_stored
    return np.equal(values, low) if low == high else np.greater_equal(values, low) & np.less_equal(values, high)


def _fill(voxels: NDArray[np.int16] | NDArray[np.float32], padded: Sequence[object], padding: float | None) -> None:
    for plane, mask in zip(voxels, padded, strict=True):
        if padding is not None and mask is not None:
            plane[mask] = padding


def _fits_int16(
    stored: Sequence[NDArray[np.generic]],
    padded: Sequence[NDArray[np.bool_] | None],
    scales: Sequence[tuple[float, float]],
) -> bool:
    """Whether every value that is no padding is a whole number of 16 bits, and so are the ways to it in 64 bits."""
    for values, mask, (slope, intercept) in zip(stored, padded, scales, strict=True):
        if not (np.issubdtype(values.dtype, np.integer) and values.dtype.itemsize <= 4):
            return False
        if not (slope.is_integer() and intercept.is_integer() and max(abs(slope), abs(intercept)) <= _LARGEST_SCALE):
            return False
        valid = values if mask is None or not mask.any() else values[~mask]
        if valid.size:
            ends = (int(valid.min()) * slope + intercept, int(valid.max()) * slope + intercept)
            if min(ends) < _INT16.min or max(ends) > _INT16.max:
                return False
    return True


def _is_jpeg_12_bit(dataset: FileDataset) -> bool:
    return dataset.file_meta.TransferSyntaxUID == JPEGExtended12Bit and dataset.BitsStored > 8


def _decode_jpeg_12_bit(dataset: FileDataset, header: DicomHeader) -> NDArray[np.generic]:
    """Decodes 12-bit JPEG Extended with GDCM, for which pydicom offers no decoder."""
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(get_frame(dataset.PixelData, 0, number_of_frames=1))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((header.columns, header.rows, 1))
    image.SetDataElement(element)
    image.SetPhotometricInterpretation(gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2))
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    bits = int(dataset.BitsStored)
    image.SetPixelFormat(gdcm.PixelFormat(1, 12, bits, bits - 1, 0))
    decoded = image.GetBuffer().encode("utf-8", "surrogateescape")
    return np.frombuffer(decoded, np.dtype("<u2")).reshape(header.rows, header.columns)


def _jpeg_size_matches(dataset: FileDataset, header: DicomHeader) -> bool:
    """Whether the frame header of the stream (ITU-T T.81 B.2.2) agrees with the DICOM header on size and bits."""
    try:
        stream = get_frame(dataset.PixelData, 0, number_of_frames=1)
        place = 2
        while stream[place] == 0xFF and not (
            0xC0 <= stream[place + 1] <= 0xCF and stream[place + 1] not in _NOT_FRAME_HEADERS
        ):
            place += 2 + int.from_bytes(stream[place + 2 : place + 4])
        precision, rows, columns, components = struct.unpack_from(">BHHB", stream, place + 4)
        bits_allocated = dataset.BitsAllocated
    except UNREADABLE_DICOM:
        return False
    bits = 8 if precision <= 8 else 16
    announced = (rows, columns, components, bits)
    return announced == (header.rows, header.columns, 1, bits_allocated) and 2 <= precision <= 16


def _complete_transfer_syntax(dataset: FileDataset) -> None:
    """Sets the transfer syntax of files without meta information to the encoding with which they were read."""
    if "TransferSyntaxUID" not in dataset.file_meta:
        implicit, little = dataset.original_encoding
        explicit = ExplicitVRLittleEndian if little else ExplicitVRBigEndian
        dataset.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian if implicit else explicit


def _can_decode(syntax: str) -> bool:
    try:
        return get_decoder(syntax).is_available
    except NotImplementedError:
        return False


def _syntax_name(syntax: str, with_uid: bool = False) -> str:
    """Returns the standard's name of a transfer syntax; a UID outside the standard is not repeated in messages."""
    name = UID(syntax).name
    if name == syntax:
        return "an unknown transfer syntax"
    return f"{name} ({syntax})" if with_uid else name
