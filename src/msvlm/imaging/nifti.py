"""NIfTI files -> Series, whatever order the axes are stored in; Series -> NIfTI-1 files."""

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
from msvlm.imaging.geometry import notes_on_places
from msvlm.imaging.preprocess import to_display_orientation
from msvlm.imaging.source_files import UNREADABLE_ARCHIVE, SourceFile
from msvlm.study import Modality, Series, Weighting

CT_AIR_HU = -900
"""NIfTI names no modality. A volume whose lowest value reaches this holds air in HU, and is taken for CT; other
volumes are taken for MR, whose values are not below 0 by more than noise."""

DISTINCT_SPACING = 1.1
"""An axis whose spacing is this many times each other's is the slice axis."""

RIGHT_ANGLE = 0.02
"""Rows and columns whose directions have a dot product below this are at a right angle."""

_GREY_SCALE = {"uint8", "int16", "int32", "float32", "float64", "int8", "uint16", "uint32", "int64", "uint64"}
_MM_PER_UNIT = {1: ("metres", 1000.0), 3: ("micrometres", 0.001)}
_MM = 2


def read_nifti(source: SourceFile, key: str) -> Series:
    """The one volume of a NIfTI file, slices ascending along +R, +A or +S, as radiologists hang them.

    The slice axis is the one the header names, else the one of distinctly largest spacing, else the one nearest to the
    patient's long axis. So all 48 ways to store the axes give the same series.

    Raises:
        StudyError: four axes, colour, no orientation, sheared or broken.
    """
    try:
        with source.open() as stream:
            packed = stream.read(2) == b"\x1f\x8b"
            stream.seek(0)
            unpacked = gzip.GzipFile(fileobj=stream) if packed else stream
            header = _header(key, unpacked.read(Nifti2Header.sizeof_hdr))
            affine_ras, notes = _affine_ras(key, header)
            stored = _stored(key, unpacked, header)
    except (*UNREADABLE_ARCHIVE, zlib.error, ValueError, OverflowError, MemoryError):
        raise StudyError(f"{key}: the file is broken or cut short; copy or convert it again") from None
    voxels, notes_on_values = _values(key, stored, header)
    return _series(key, voxels, affine_ras, header.get_dim_info()[2], notes + notes_on_values)


def write_nifti(series: Series, path: Path) -> None:
    """Writes voxels and places, which `read_study` reads back the same from a series in display orientation.

    Stored with columns as x, rows as y and slices as z; sform holds the places, padding and notes are not kept.

    Raises:
        GeometryError: the slices are not parallel and evenly spaced; NIfTI cannot place them one by one.
        StudyError: the path ends in neither .nii nor .nii.gz.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise StudyError(f"{series.key}: a NIfTI file ends in .nii or .nii.gz")
    affine_ras = series.affine_ras[:, (2, 1, 0, 3)]
    image = Nifti1Image(series.voxels.transpose(2, 1, 0), affine_ras)
    image.set_sform(affine_ras, code="scanner")
    image.header.set_dim_info(slice=2)
    image.header.set_xyzt_units("mm")
    image.to_filename(path)


def _header(key: str, head: bytes) -> Nifti1Header:
    """The header, NIfTI 1 or 2, of one grey-scale volume. It is not repaired: nibabel would log what it repairs."""
    layouts = [
        (kind, order)
        for kind in (Nifti1Header, Nifti2Header)
        for order in "<>"
        if len(head) >= kind.sizeof_hdr and head[:4] == struct.pack(f"{order}i", kind.sizeof_hdr)
    ]
    if not layouts:
        raise StudyError(f"{key}: the NIfTI header is broken or cut short; copy or convert the file again")
    kind, order = layouts[0]
    header = kind(head[: kind.sizeof_hdr], endianness=order, check=False)
    code = int(header["datatype"])
    datatype = data_type_codes.label.get(code, f"unknown ({code})")
    if datatype not in _GREY_SCALE:
        raise StudyError(f"{key}: voxels of type {datatype}; msvlm reads one grey-scale number per voxel")
    count, *lengths = header["dim"].tolist()
    if not 1 <= count <= 7 or min(lengths[:count]) < 1:
        raise StudyError(f"{key}: {count} axes of lengths {lengths[: max(count, 1)]}; three of 1 or more were wanted")
    volumes = math.prod(lengths[3:count])
    if volumes > 1:
        raise StudyError(f"{key}: {count}D, {volumes} volumes in one file; split it and pass the volume that is meant")
    return header


def _stored(key: str, stream: BinaryIO | gzip.GzipFile, header: Nifti1Header) -> NDArray[np.generic]:
    """(z, y, x), in the file's own type. No more is unpacked than the header announces, and the checksum is read."""
    count, *lengths = header["dim"].tolist()
    shape, dtype = (*lengths[:count], 1, 1)[2::-1], header.get_data_dtype()
    wanted = math.prod(shape) * dtype.itemsize
    stream.seek(int(header["vox_offset"]))
    content = stream.read(wanted)
    if len(content) < wanted:
        raise StudyError(f"{key}: {len(content)} bytes of voxels where {wanted} are announced; copy the file again")
    stream.read(1)  # to the end, so that a wrong checksum of a gzip file is seen
    return np.frombuffer(content, dtype).reshape(shape)


def _affine_ras(key: str, header: Nifti1Header) -> tuple[NDArray[np.float64], tuple[str, ...]]:
    """(4, 4), maps (x, y, z) indices to RAS mm; and what is odd about it."""
    has_sform, has_qform = int(header["sform_code"]) > 0, int(header["qform_code"]) > 0
    if not has_sform and not has_qform:
        raise StudyError(
            f"{key}: sform and qform codes are both 0, so nothing says which side is left; "
            "set one of them, or convert the DICOM files again"
        )
    notes = []
    unit = int(header["xyzt_units"]) & 7
    name, mm_per_unit = _MM_PER_UNIT.get(unit, ("", 1.0))
    if unit != _MM:
        notes.append(
            f"the header counts in {name}; brought to mm" if name else "the header names no unit of length; mm assumed"
        )
    affine_ras = header.get_sform() if has_sform else _qform(header)
    if has_sform and has_qform:
        corners = np.array([(*corner, 1) for corner in np.ndindex(2, 2, 2)]) * (*header["dim"][1:4], 1)
        apart_mm = np.linalg.norm(corners @ (affine_ras - _qform(header)).T[:, :3], axis=1).max() * mm_per_unit
        if apart_mm > 0.1:
            notes.append(f"sform and qform place voxels up to {apart_mm:.1f} mm apart; sform was used")
    affine_ras[:3] *= mm_per_unit
    if not np.isfinite(affine_ras).all() or abs(np.linalg.det(affine_ras[:3, :3])) < 1e-9:
        raise StudyError(
            f"{key}: the orientation matrix is flat or not finite; set sform or qform, or convert it again"
        )
    return affine_ras, tuple(notes)


def _qform(header: Nifti1Header) -> NDArray[np.float64]:
    """As `Nifti1Header.get_qform`, which refuses a handedness (pixdim[0]) of 0 and a quaternion a little above 1."""
    x, y, z = (float(header[f"quatern_{axis}"]) for axis in "bcd")
    handedness, *spacings = header["pixdim"].tolist()[:4]
    spacings[2] *= -1.0 if handedness < 0 else 1.0
    w = math.sqrt(max(0.0, 1.0 - (x * x + y * y + z * z)))
    affine = np.eye(4)
    affine[:3, :3] = quat2mat((w, x, y, z)) * spacings
    affine[:3, 3] = [float(header[f"qoffset_{axis}"]) for axis in "xyz"]
    return affine


def _values(
    key: str, stored: NDArray[np.generic], header: Nifti1Header
) -> tuple[NDArray[np.int16] | NDArray[np.float32], tuple[str, ...]]:
    """(z, y, x) on the file's scale, int16 where that loses nothing, else float32; and what was odd."""
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
            raise StudyError(f"{key}: no voxel is a finite number; convert the file again")
        notes = (f"{int((~finite).sum())} voxels are no finite numbers; set to the lowest value",)
        values[~finite] = values[finite].min()
    if values.min() >= np.iinfo(np.int16).min and values.max() <= np.iinfo(np.int16).max:
        whole = values.astype(np.int16)
        if np.array_equal(whole, values):
            return whole, notes
    return values.astype(np.float32), notes


def _series(
    key: str,
    voxels: NDArray[np.int16] | NDArray[np.float32],
    affine_ras: NDArray[np.float64],
    named_slice_axis: int | None,
    notes: tuple[str, ...],
) -> Series:
    steps = affine_ras[:3, :3].T
    slice_axis = _slice_axis(key, steps, named_slice_axis)
    row_axis, column_axis = (axis for axis in (2, 1, 0) if axis != slice_axis)
    count = voxels.shape[2 - slice_axis]
    modality = Modality.CT if voxels.min() <= CT_AIR_HU else Modality.MR
    seen = "reach" if modality is Modality.CT else "do not reach"
    notes = (
        f"NIfTI names no modality: taken for {modality}, as its values {seen} {CT_AIR_HU}",
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
    shown, _ = to_display_orientation(series)
    # In one piece: what follows reads slice by slice, and the orientation above left views of the file's order.
    return replace(shown, voxels=shown.voxels.copy(), notes=notes + notes_on_places(shown))


def _slice_axis(key: str, steps: NDArray[np.float64], named: int | None) -> int:
    """Which of the stored axes runs across the slices; the other two must be at a right angle."""
    spacings_mm = np.linalg.norm(steps, axis=1)
    directions = steps / spacings_mm[:, None]
    fit = [axis for axis in range(3) if abs(directions[axis - 1] @ directions[axis - 2]) < RIGHT_ANGLE]
    if not fit:
        raise StudyError(f"{key}: no two axes are at a right angle (sheared); resample it or pass the DICOM files")
    if named in fit:
        return named
    for axis in fit:
        others_mm = np.delete(spacings_mm, axis)
        if spacings_mm[axis] > DISTINCT_SPACING * others_mm.max():
            return axis
    cosines = np.abs(directions)
    world = max(permutations(range(3)), key=lambda order: sum(cosines[axis, order[axis]] for axis in range(3)))
    return max(fit, key=lambda axis: world[axis])
