"""Which DICOM files are slices that msvlm reads, and in plain words why the others are not."""

import numpy as np
from pydicom.uid import UID

from msvlm.imaging.dicom.header import DicomHeader

SECONDARY_CAPTURE = "1.2.840.10008.5.1.4.1.1.7"
_ENHANCED = {
    "1.2.840.10008.5.1.4.1.1.2.1": "Enhanced CT",
    "1.2.840.10008.5.1.4.1.1.4.1": "Enhanced MR",
    "1.2.840.10008.5.1.4.1.1.4.3": "Enhanced MR Color",
    "1.2.840.10008.5.1.4.1.1.2.2": "Legacy Converted Enhanced CT",
    "1.2.840.10008.5.1.4.1.1.4.4": "Legacy Converted Enhanced MR",
}
_IMAGE_CLASSES = {"", "1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.4"}
"""CT and MR Image Storage; some anonymisers leave the class empty."""

_HU_TYPES = {"", "HU", "US", "HU_MOD"}
"""Rescale types under which CT values are HU; US ("unspecified") is what many writers say of them."""

_MODALITIES = {
    "AU", "BI", "CR", "DOC", "DX", "ECG", "EPS", "ES", "GM", "IO", "IVOCT", "IVUS", "KO", "M3D", "MG", "NM", "OCT",
    "OP", "OPT", "OT", "PR", "PT", "PX", "REG", "RF", "RG", "RTDOSE", "RTIMAGE", "RTPLAN", "RTSTRUCT", "SC", "SEG",
    "SM", "SR", "US", "XA", "XC",
}  # fmt: skip
"""DICOM PS3.3 C.7.3.1.1.1, those of which images or their companions come along with CT and MR."""

_COLOURS = {
    "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420", "YBR_PARTIAL_422",
}  # fmt: skip
"""DICOM PS3.3 C.7.6.3.1.2, those in colour."""

_UNIT_TOLERANCE = 0.01


def reason_to_leave_out(header: DicomHeader) -> str | None:
    """Why this file is no slice that msvlm reads; None where it is one."""
    for reason in (_object(header), _kind(header), _geometry(header), _scale(header)):
        if reason is not None:
            return reason
    return None


def _object(header: DicomHeader) -> str | None:
    if header.sop_class_uid in _ENHANCED:
        name = _ENHANCED[header.sop_class_uid]
        return f"{name}, many frames in one file, is not read yet; convert it to one file per slice"
    if header.rows < 1 or header.columns < 1 or not header.has_pixels:
        return f"no pixels ({_object_name(header)})"
    if header.frames > 1:
        return f"{header.frames} frames in one file are not read yet; convert it to one file per slice"
    return None


def _object_name(header: DicomHeader) -> str:
    """The standard's name of the object; a UID that is not in the standard is not repeated."""
    name = UID(header.sop_class_uid).name
    if name != header.sop_class_uid:
        return name
    return "a private object" if header.sop_class_uid else "an object of no class"


def _kind(header: DicomHeader) -> str | None:
    colour = header.samples_per_pixel > 1 or header.photometric.startswith(("RGB", "YBR", "PALETTE"))
    in_colour = f" in colour ({_safe_code(header.photometric)})" if colour else ""
    if header.sop_class_uid == SECONDARY_CAPTURE:
        shown = {"DOSE_INFO": ": a dose sheet", "PATIENT_INFO": ": a patient sheet"}
        named = [text for value, text in shown.items() if value in header.image_type]
        return f"secondary capture{in_colour}{''.join(named[:1])}"
    if colour:
        return f"image{in_colour}; msvlm reads grey-scale CT and MR"
    if header.modality not in {"CT", "MR"}:
        return f"modality {_safe_code(header.modality)}; msvlm reads CT and MR"
    if header.sop_class_uid not in _IMAGE_CLASSES:
        return f"{_object_name(header)}; msvlm reads CT and MR images"
    if header.is_localiser:
        return "localiser"
    return None


def _safe_code(code: str) -> str:
    """A code of DICOM's, or a word for what is none and might be anything."""
    return code if code in _MODALITIES | _COLOURS else "of no standard code"


def _geometry(header: DicomHeader) -> str | None:
    told = {
        "Image Position": header.position_lps_mm,
        "Image Orientation": header.orientation_lps,
        "Pixel Spacing": header.pixel_spacing_mm,
    }
    absent = [name for name, value in told.items() if value is None]
    if absent:
        return f"no place in the patient: {', '.join(absent)} missing or malformed; export the original images"
    if min(header.pixel_spacing_mm or (0.0,)) <= 0.0:
        return "Pixel Spacing is not above 0 mm; export the original images"
    across, down = np.reshape(header.orientation_lps or (0.0,) * 6, (2, 3))
    lengths = np.array((np.linalg.norm(across), np.linalg.norm(down)))
    if np.abs(lengths - 1.0).max() > _UNIT_TOLERANCE or abs(float(across @ down)) > _UNIT_TOLERANCE:
        return "Image Orientation is not two unit vectors at a right angle; export the original images"
    return None


def _scale(header: DicomHeader) -> str | None:
    if header.modality != "CT":
        return None
    if header.rescale_slope is None or header.rescale_intercept is None:
        return "CT without Rescale Slope and Intercept, so not in HU; export it again with both, or convert it to HU"
    if header.rescale_slope == 0.0:
        return "CT with Rescale Slope 0, so not in HU; export it again"
    if header.rescale_type not in _HU_TYPES:
        return "CT whose Rescale Type is not HU; export the series in HU"
    return None
