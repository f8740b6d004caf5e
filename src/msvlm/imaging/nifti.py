"""Reads NIfTI files, whatever order their axes are stored in, and writes NIfTI-1 files."""

import gzip
import math
import struct
import zlib
from dataclasses import replace
from itertools import permutations
from pathlib import Path
from typing import BinaryIO

import numpy as np
from nibabel.nifti1 import Nifti1Header, Nifti1Image, data_type_codes
from nibabel.nifti2 import Nifti2Header
from nibabel.quaternions import quat2mat
from numpy.typing import NDArray

from msvlm.errors import StudyError
from msvlm.imaging.geometry import describe_geometry
from msvlm.imaging.preprocess import to_display_orientation
from msvlm.imaging.source_files import UNREADABLE_ARCHIVE, SourceFile
from msvlm.study import Modality, Series, Weighting

CT_AIR_HU = -900
"""NIfTI does not state the modality. A volume with values this low contains air in HU and is assumed to be CT; others
are assumed to be MR, whose values are not below 0 by more than noise."""

DISTINCT_SPACING = 1.1
"""An axis is the slice axis where its spacing is at least this many times the spacing of each other axis."""

RIGHT_ANGLE = 0.02
"""Rows and columns count as orthogonal where the dot product of their directions is below this."""

_GREY_SCALE = {"uint8", "int16", "int32", "float32", "float64", "int8", "uint16", "uint32", "int64", "uint64"}
_MM_PER_UNIT = {1: ("metres", 1000.0), 3: ("micrometres", 0.001)}
_MM = 2


def read_nifti(source: SourceFile, key: str) -> Series:
    """Reads the volume of a NIfTI file in display orientation, slices ascending along +R, +A or +S.

    The slice axis is the one the header states, else the one of distinctly largest spacing, else the one nearest to the
    patient's long axis. All 48 orders in which the axes can be stored therefore give the same series.

    Raises:
        StudyError: several volumes, colour or complex voxels, no orientation, sheared axes, or a corrupt file.
    """
    try:
        with source.open() as stream:
            packed = stream.read(2) == b"\x1f\x8b"
            stream.seek(0)
            unpacked = gzip.GzipFile(fileobj=stream) if packed else stream
            header = _parse_header(key, unpacked.read(Nifti2Header.sizeof_hdr))
            affine_ras, notes = _read_affine_ras(key, header)
            stored = _read_voxels(key, unpacked, header)
    except (*UNREADABLE_ARCHIVE, zlib.error, ValueError, OverflowError, MemoryError):
        raise StudyError(f"{key}: the file is corrupt or truncated; copy or convert it again") from None
    voxels, notes_on_values = _scale_voxels(key, stored, header)
    return _build_series(key, voxels, affine_ras, header.get_dim_info()[2], notes + notes_on_values)


def write_nifti(series: Series, path: Path) -> None:
    """Writes the voxels and positions of a series; `read_study` restores both for a series in display orientation.

    Columns are stored as x, rows as y and slices as z, positions in the sform; padding and notes are not stored.

    Raises:
        GeometryError: the slices are not parallel and evenly spaced; NIfTI has no positions for single slices.
        StudyError: the file name ends in neither .nii nor .nii.gz.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise StudyError(f"{series.key}: the name of a NIfTI file must end in .nii or .nii.gz")
    affine_ras = series.affine_ras[:, (2, 1, 0, 3)]
    image = Nifti1Image(series.voxels.transpose(2, 1, 0), affine_ras)
    image.set_sform(affine_ras, code="scanner")
    image.header.set_dim_info(slice=2)
    image.header.set_xyzt_units("mm")
    image.to_filename(path)


def _parse_header(key: str, head: bytes) -> Nifti1Header:
    """Parses a NIfTI-1 or NIfTI-2 header of a grey volume, without nibabel's checks, which log what they repair."""
    layouts = [
        (kind, order)
        for kind in (Nifti1Header, Nifti2Header)
        for order in "<>"
        if len(head) >= kind.sizeof_hdr and head[:4] == struct.pack(f"{order}i", kind.sizeof_hdr)
    ]
    if not layouts:
        raise StudyError(f"{key}: the NIfTI header is corrupt or truncated; copy or convert the file again")
    kind, order = layouts[0]
    header = kind(head[: kind.sizeof_hdr], endianness=order, check=False)
    code = int(header["datatype"])
    datatype = data_type_codes.label.get(code, f"unknown ({code})")
    if datatype not in _GREY_SCALE:
        raise StudyError(f"{key}: voxels of type {datatype}; msvlm reads one grey-scale number per voxel")
    count, *lengths = header["dim"].tolist()
    if not 1 <= count <= 7 or min(lengths[:count]) < 1:
        raise StudyError(f"{key}: {count} axes of lengths {lengths[: max(count, 1)]}, expected 3 of length 1 or more")
    volumes = math.prod(lengths[3:count])
    if volumes > 1:
        raise StudyError(f"{key}: {count}D, {volumes} volumes in one file; split it and pass one volume")
    return header


def _read_voxels(key: str, stream: BinaryIO | gzip.GzipFile, header: Nifti1Header) -> NDArray[np.generic]:
    """Reads the stored voxels (z, y, x), never more bytes than the header states, and verifies gzip's checksum."""
    count, *lengths = header["dim"].tolist()
    shape, dtype = (*lengths[:count], 1, 1)[2::-1], header.get_data_dtype()
    wanted = math.prod(shape) * dtype.itemsize
    stream.seek(int(header["vox_offset"]))
    content = stream.read(wanted)
    if len(content) < wanted:
        raise StudyError(f"{key}: {len(content)} bytes of voxels, but the header states {wanted}; copy the file again")
    stream.read(1)  # past the last voxel, where gzip verifies its checksum
    return np.frombuffer(content, dtype).reshape(shape)


def _read_affine_ras(key: str, header: Nifti1Header) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """Returns the matrix (4, 4) from (x, y, z) indices to RAS mm, and notes."""
    has_sform, has_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if not has_sform and not has_qform:
        raise StudyError(
            f"{key}: sform and qform codes are both 0, so left and right are unknown; "
            "set one of them, or convert the DICOM files again"
        )
    notes = []
    unit = int(header["xyzt_units"]) & 7
    name, mm_per_unit = _MM_PER_UNIT.get(unit, ("", 1.0))
    if unit != _MM:
        notes.append(
            f"the header states {name}; converted to mm" if name else "the header states no unit of length; mm assumed"
        )
    affine_ras = header.get_sform() if has_sform else _read_qform(header)
    if has_sform and has_qform:
        corners = np.array([(*corner, 1) for corner in np.ndindex(2, 2, 2)]) * (*header["dim"][1:4], 1)
        apart_mm = np.linalg.norm(corners @ (affine_ras - _read_qform(header)).T[:, :3], axis=1).max() * mm_per_unit
        if apart_mm > 0.1:
            notes.append(f"sform and qform differ by up to {apart_mm:.1f} mm; sform was used")
    affine_ras[:3] *= mm_per_unit
    if not np.isfinite(affine_ras).all() or abs(np.linalg.det(affine_ras[:3, :3])) < 1e-9:
        raise StudyError(
            f"{key}: the orientation matrix is singular or not finite; set sform or qform, or convert it again"
        )
    return affine_ras, tuple(notes)


def _read_qform(header: Nifti1Header) -> NDArray[np.float64]:
    """Returns the qform as nifti1.h defines it.

    `Nifti1Header.get_qform` refuses a handedness (pixdim[0]) of 0, and a quaternion that rounding made longer than 1.
    """
    x, y, z = (float(header[f"quatern_{axis}"]) for axis in "bcd")
    handedness, *spacings = header["pixdim"].tolist()[:4]
    spacings[2] *= -1.0 if handedness < 0 else 1.0
    w = math.sqrt(max(0.0, 1.0 - (x * x + y * y + z * z)))
    affine = np.eye(4)
    affine[:3, :3] = quat2mat((w, x, y, z)) * spacings
    affine[:3, 3] = [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
    return affine


def _scale_voxels(
    key: str, stored: NDArray[np.generic], header: Nifti1Header
) -> tuple[NDArray[np.int16] | NDArray[np.float32], tuple[str, ...]]:
    """Returns the scaled values (z, y, x), int16 where that is lossless, else float32, and notes."""
    slope, intercept = float(header["scl_slope"]), float(header["scl_inter"])
    if slope == 0.0 or not math.isfinite(slope):
        slope, intercept = 1.0, 0.0
    elif not math.isfinite(intercept):
        intercept = 0.0
    unscaled = slope == 1.0 and intercept == 0.0
    if unscaled and stored.dtype == np.int16:
        return stored.astype(np.int16, copy=False), ()
    values = stored.astype(np.float64) if stored.dtype.itemsize > 2 else stored.astype(np.float32)
    if not unscaled:
        values = values * slope + intercept
    finite = np.abs(values) <= np.finfo(np.float32).max
    notes: tuple[str, ...] = ()
    if not finite.all():
        if not finite.any():
            raise StudyError(f"{key}: no voxel is finite; convert the file again")
        notes = (f"{int((~finite).sum())} voxels are not finite; set to the lowest finite value",)
        values[~finite] = values[finite].min()
    if values.min() >= np.iinfo(np.int16).min and values.max() <= np.iinfo(np.int16).max:
        whole = values.astype(np.int16)
        if np.array_equal(whole, values):
            return whole, notes
    return values.astype(np.float32), notes


def _build_series(
    key: str,
    voxels: NDArray[np.int16] | NDArray[np.float32],
    affine_ras: NDArray[np.float64],
    stated_slice_axis: int | None,
    notes: tuple[str, ...],
) -> Series:
    steps = affine_ras[:3, :3].T
    slice_axis = _find_slice_axis(key, steps, stated_slice_axis)
    row_axis, column_axis = (axis for axis in (2, 1, 0) if axis != slice_axis)
    count = voxels.shape[2 - slice_axis]
    modality = Modality.CT if voxels.min() <= CT_AIR_HU else Modality.MR
    relation = "at or below" if modality is Modality.CT else "above"
    notes = (
        f"NIfTI does not state the modality: {modality} assumed, lowest value {relation} {CT_AIR_HU}",
        *notes,
    )
    series = Series(
        key=key,
        voxels=voxels.transpose(2 - slice_axis, 2 - row_axis, 2 - column_axis),
        positions_ras_mm=affine_ras[:3, 3] + np.outer(np.arange(count), steps[slice_axis]),
        row_steps_ras_mm=np.tile(steps[row_axis], (count, 1)),
        column_steps_ras_mm=np.tile(steps[column_axis], (count, 1)),
        modality=modality,
        weighting=Weighting.CT if modality is Modality.CT else Weighting.MR,
    )
    oriented, _ = to_display_orientation(series)
    # A contiguous copy: later steps read slice by slice, and the reorientation above only changed strides.
    return replace(oriented, voxels=oriented.voxels.copy(), notes=notes + describe_geometry(oriented))


def _find_slice_axis(key: str, steps: NDArray[np.float64], stated: int | None) -> int:
    """Returns the stored axis along which slices follow one another; the other two must be orthogonal."""
    spacings_mm = np.linalg.norm(steps, axis=1)
    directions = steps / spacings_mm[:, None]
    fit = [axis for axis in range(3) if abs(directions[axis - 1] @ directions[axis - 2]) < RIGHT_ANGLE]
    if not fit:
        raise StudyError(f"{key}: no two axes are orthogonal (sheared); resample it or pass the DICOM files")
    if stated in fit:
        return stated
    for axis in fit:
        others_mm = np.delete(spacings_mm, axis)
        if spacings_mm[axis] > DISTINCT_SPACING * others_mm.max():
            return axis
    cosines = np.abs(directions)
    world = max(permutations(range(3)), key=lambda order: sum(cosines[axis, order[axis]] for axis in range(3)))
    return max(fit, key=lambda axis: world[axis])
