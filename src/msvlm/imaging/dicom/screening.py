"""Decides which DICOM files are slices that msvlm reads, and gives the reason for the others."""

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
"""CT and MR Image Storage; some anonymisers remove the class."""

_HU_TYPES = {"", "HU", "US", "HU_MOD"}
"""Rescale types of CT values in HU; many scanners write US ("unspecified") for HU."""

_MODALITIES = {
    "AU", "BI", "CR", "DOC", "DX", "ECG", "EPS", "ES", "GM", "IO", "IVOCT", "IVUS", "KO", "M3D", "MG", "NM", "OCT",
    "OP", "OPT", "OT", "PR", "PT", "PX", "REG", "RF", "RG", "RTDOSE", "RTIMAGE", "RTPLAN", "RTSTRUCT", "SC", "SEG",
    "SM", "SR", "US", "XA", "XC",
}  # fmt: skip
"""Modalities of DICOM PS3.3 C.7.3.1.1.1 that occur in CT and MR studies."""

_COLOURS = {
    "RGB", "PALETTE COLOR", "YBR_FULL", "YBR_FULL_422", "YBR_ICT", "YBR_RCT", "YBR_PARTIAL_420", "YBR_PARTIAL_422",
}  # fmt: skip
"""Photometric interpretations of DICOM PS3.3 C.7.6.3.1.2 that are colour."""

_UNIT_TOLERANCE = 0.01


def reason_to_leave_out(header: DicomHeader) -> str | None:
    """Returns the reason to leave a file out; None where it is a slice that msvlm reads."""
    for reason in (_object_reason(header), _kind_reason(header), _geometry_reason(header), _scale_reason(header)):
        if reason is not None:
            return reason
    return None


def _object_reason(header: DicomHeader) -> str | None:
    if header.sop_class_uid in _ENHANCED:
        name = _ENHANCED[header.sop_class_uid]
        return f"{name} (multi-frame) is not supported yet; convert it to one file per slice"
    if header.rows < 1 or header.columns < 1 or not header.has_pixels:
        return f"no pixel data ({_object_name(header)})"
    if header.frames > 1:
        return (
            f"{header.frames} frames in one file (multi-frame) are not supported yet; convert it to one file per slice"
        )
    return None


def _object_name(header: DicomHeader) -> str:
    """Returns the standard's name of the SOP class; a UID outside the standard is not repeated in messages."""
    name = UID(header.sop_class_uid).name
    if name != header.sop_class_uid:
        return name
    return "private SOP class" if header.sop_class_uid else "no SOP class"


def _kind_reason(header: DicomHeader) -> str | None:
    colour = header.samples_per_pixel > 1 or header.photometric.startswith(("RGB", "YBR", "PALETTE"))
    in_colour = f" in colour ({_public_code(header.photometric)})" if colour else ""
    if header.sop_class_uid == SECONDARY_CAPTURE:
        sheets = {"DOSE_INFO": ": dose sheet", "PATIENT_INFO": ": patient sheet"}
        named = [text for value, text in sheets.items() if value in header.image_type]
        return f"secondary capture{in_colour}{''.join(named[:1])}"
    if colour:
        return f"image{in_colour}; msvlm reads grey-scale CT and MR"
    if header.modality not in {"CT", "MR"}:
        return f"modality {_public_code(header.modality)}; msvlm reads CT and MR"
    if header.sop_class_uid not in _IMAGE_CLASSES:
        return f"{_object_name(header)}; msvlm reads CT and MR images"
    if header.is_localiser:
        return "localiser"
    return None


def _public_code(code: str) -> str:
    """Returns a standard code unchanged; other text may contain patient data and is not repeated in messages."""
    return code if code in _MODALITIES | _COLOURS else "with a non-standard code"


def _geometry_reason(header: DicomHeader) -> str | None:
    values = {
        "Image Position": header.position_lps_mm,
        "Image Orientation": header.orientation_lps,
        "Pixel Spacing": header.pixel_spacing_mm,
    }
    absent = [name for name, value in values.items() if value is None]
    if absent:
        return f"no position in the patient: {', '.join(absent)} missing or malformed; export the original images"
    if min(header.pixel_spacing_mm or (0.0,)) <= 0.0:
        return "Pixel Spacing is 0 mm or less; export the original images"
    across, down = np.reshape(header.orientation_lps or (0.0,) * 6, (2, 3))
    lengths = np.array((np.linalg.norm(across), np.linalg.norm(down)))
    if np.abs(lengths - 1.0).max() > _UNIT_TOLERANCE or abs(float(across @ down)) > _UNIT_TOLERANCE:
        return "Image Orientation is not two orthogonal unit vectors; export the original images"
    return None


def _scale_reason(header: DicomHeader) -> str | None:
    if header.modality != "CT":
        return None
    if header.rescale_slope is None or header.rescale_intercept is None:
        return "CT without Rescale Slope and Intercept, so not in HU; export it again with both, or convert it to HU"
    if header.rescale_slope == 0.0:
        return "CT with Rescale Slope 0, so not in HU; export it again"
    if header.rescale_type not in _HU_TYPES:
        return "CT whose Rescale Type is not HU; export the series in HU"
    return None
