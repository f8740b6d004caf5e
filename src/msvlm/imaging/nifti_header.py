"""The NIfTI header, versions 1 and 2: shape, numbers, scale and orientation, read as the standard says.

Read here and not through nibabel because that costs `msvlm inspect` a fifth of its second to import.
https://nifti.nimh.nih.gov/pub/dist/src/niftilib/nifti1.h and nifti2.h
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msvlm.errors import StudyError

HEADER_BYTES = {1: 348, 2: 540}

_NUMBERS = {
    2: "u1", 4: "i2", 8: "i4", 16: "f4", 64: "f8", 256: "i1", 512: "u2", 768: "u4", 1024: "i8", 1280: "u8",
}  # fmt: skip
_OTHER_NUMBERS = {
    32: "complex",
    128: "colour (RGB)",
    1536: "float128",
    1792: "complex",
    2048: "complex",
    2304: "colour (RGBA)",
}
_MM_PER_UNIT = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}
_UNIT_NAMES = {0: "no unit", 1: "metres", 3: "micrometres"}


@dataclass(frozen=True)
class NiftiHeader:
    """What is needed to read the voxels and place them.

    Attributes:
        shape: (x, y, z) as stored, x fastest.
        affine_ras_mm: (4, 4), maps (x, y, z) indices to RAS mm.
        slice_axis: which of x, y, z the header says was the slice axis; None where it is silent.
        slope, intercept: value = stored * slope + intercept.
        notes: what was odd.
    """

    shape: tuple[int, int, int]
    dtype: np.dtype[np.generic]
    data_offset: int
    slope: float
    intercept: float
    affine_ras_mm: NDArray[np.float64]
    slice_axis: int | None
    notes: tuple[str, ...]


_PLACES = {
    1: {
        "dim": (40, "8h"),
        "datatype": (70, "h"),
        "pixdim": (76, "8f"),
        "vox_offset": (108, "f"),
        "slope": (112, "f"),
        "intercept": (116, "f"),
        "qform_code": (252, "h"),
        "sform_code": (254, "h"),
        "quaternion": (256, "3f"),
        "offset": (268, "3f"),
        "srow": (280, "12f"),
        "xyzt_units": (123, "B"),
        "dim_info": (39, "B"),
    },
    2: {
        "dim": (16, "8q"),
        "datatype": (12, "h"),
        "pixdim": (104, "8d"),
        "vox_offset": (168, "q"),
        "slope": (176, "d"),
        "intercept": (184, "d"),
        "qform_code": (344, "i"),
        "sform_code": (348, "i"),
        "quaternion": (352, "3d"),
        "offset": (376, "3d"),
        "srow": (400, "12d"),
        "xyzt_units": (500, "i"),
        "dim_info": (524, "B"),
    },
}
"""For each version where its fields stand: at which byte, and of how many numbers of which type."""


@dataclass(frozen=True)
class _Fields:
    """The raw fields that both versions share."""

    order: str
    dim: tuple[int, ...]
    datatype: int
    pixdim: tuple[float, ...]
    vox_offset: float
    slope: float
    intercept: float
    qform_code: int
    sform_code: int
    quaternion: tuple[float, ...]
    offset: tuple[float, ...]
    srow: tuple[float, ...]
    xyzt_units: int
    dim_info: int


def parse_header(key: str, head: bytes) -> NiftiHeader:
    """The header in the first bytes of a file.

    Raises:
        StudyError: not one grey-scale volume, or nothing says which side of it is left.
    """
    fields = _fields(key, head)
    if fields.datatype not in _NUMBERS:
        kind = _OTHER_NUMBERS.get(fields.datatype, f"of unknown type {fields.datatype}")
        raise StudyError(f"{key}: voxels are {kind}; msvlm reads one grey-scale number per voxel")
    notes: list[str] = []
    mm_per_unit = _MM_PER_UNIT.get(fields.xyzt_units & 7, 1.0)
    if fields.xyzt_units & 7 != 2:
        notes.append(f"the header counts in {_UNIT_NAMES.get(fields.xyzt_units & 7, 'an unknown unit')}; brought to mm")
        if mm_per_unit == 1.0:
            notes[-1] = "the header names no unit of length; mm assumed"
    scaled = np.isfinite(fields.slope) and fields.slope != 0.0
    slice_axis = (fields.dim_info >> 4) & 3
    return NiftiHeader(
        shape=_shape(key, fields.dim),
        dtype=np.dtype(fields.order + _NUMBERS[fields.datatype]),
        data_offset=int(fields.vox_offset),
        slope=fields.slope if scaled else 1.0,
        intercept=fields.intercept if scaled and np.isfinite(fields.intercept) else 0.0,
        affine_ras_mm=_affine_ras_mm(key, fields, mm_per_unit, notes),
        slice_axis=slice_axis - 1 if slice_axis else None,
        notes=tuple(notes),
    )


def _fields(key: str, head: bytes) -> _Fields:
    for version, order in ((version, order) for version in (1, 2) for order in "<>"):
        size = HEADER_BYTES[version]
        if len(head) >= size and struct.unpack_from(f"{order}i", head)[0] == size:
            return _fields_of(version, order, head)
    raise StudyError(f"{key}: the NIfTI header is broken or cut short; copy or convert the file again")


def _fields_of(version: int, order: str, head: bytes) -> _Fields:
    read = {name: struct.unpack_from(order + kind, head, place) for name, (place, kind) in _PLACES[version].items()}
    return _Fields(
        order=order,
        dim=read["dim"],
        datatype=read["datatype"][0],
        pixdim=read["pixdim"],
        vox_offset=read["vox_offset"][0],
        slope=read["slope"][0],
        intercept=read["intercept"][0],
        qform_code=read["qform_code"][0],
        sform_code=read["sform_code"][0],
        quaternion=read["quaternion"],
        offset=read["offset"],
        srow=read["srow"],
        xyzt_units=read["xyzt_units"][0],
        dim_info=read["dim_info"][0],
    )


def _shape(key: str, dim: tuple[int, ...]) -> tuple[int, int, int]:
    count = dim[0]
    if not 1 <= count <= 7 or min(dim[1 : count + 1]) < 1:
        raise StudyError(f"{key}: {count} axes of lengths {dim[1 : max(count, 1) + 1]}; three of 1 or more were wanted")
    lengths = (*dim[1 : count + 1], 1, 1, 1)
    volumes = int(np.prod(lengths[3:], dtype=np.int64))
    if volumes > 1:
        raise StudyError(f"{key}: {count}D, {volumes} volumes in one file; split it and pass the volume that is meant")
    return lengths[0], lengths[1], lengths[2]


def _affine_ras_mm(key: str, fields: _Fields, mm_per_unit: float, notes: list[str]) -> NDArray[np.float64]:
    if fields.sform_code <= 0 and fields.qform_code <= 0:
        raise StudyError(
            f"{key}: sform and qform codes are both 0, so nothing says which side is left; "
            "set one of them, or convert the DICOM files again"
        )
    affine = _sform(fields) if fields.sform_code > 0 else _qform(fields)
    if fields.sform_code > 0 and fields.qform_code > 0:
        furthest = _furthest_corner_mm(affine - _qform(fields), fields.dim) * mm_per_unit
        if furthest > 0.1:
            notes.append(f"sform and qform place voxels up to {furthest:.1f} mm apart; sform was used")
    affine[:3] *= mm_per_unit
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise StudyError(
            f"{key}: the orientation matrix is flat or not finite; set sform or qform, or convert it again"
        )
    return affine


def _sform(fields: _Fields) -> NDArray[np.float64]:
    affine = np.eye(4)
    affine[:3] = np.reshape(fields.srow, (3, 4))
    return affine


def _qform(fields: _Fields) -> NDArray[np.float64]:
    b, c, d = fields.quaternion
    a = np.sqrt(max(0.0, 1.0 - (b * b + c * c + d * d)))
    rotation = np.array(
        (
            (a * a + b * b - c * c - d * d, 2 * (b * c - a * d), 2 * (b * d + a * c)),
            (2 * (b * c + a * d), a * a + c * c - b * b - d * d, 2 * (c * d - a * b)),
            (2 * (b * d - a * c), 2 * (c * d + a * b), a * a + d * d - b * b - c * c),
        )
    )
    handedness = -1.0 if fields.pixdim[0] < 0 else 1.0
    affine = np.eye(4)
    affine[:3, :3] = rotation * (fields.pixdim[1], fields.pixdim[2], fields.pixdim[3] * handedness)
    affine[:3, 3] = fields.offset
    return affine


def _furthest_corner_mm(difference: NDArray[np.float64], dim: tuple[int, ...]) -> float:
    corners = np.array([(x, y, z, 1) for x in (0, dim[1]) for y in (0, dim[2]) for z in (0, dim[3])], dtype=np.float64)
    return float(np.linalg.norm((corners @ difference.T)[:, :3], axis=1).max())
