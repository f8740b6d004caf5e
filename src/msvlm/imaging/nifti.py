"""NIfTI file -> Series: whatever order the axes are stored in, the same slices in the same order."""

import gzip
import struct
import zlib
from dataclasses import replace
from itertools import permutations
from typing import BinaryIO

import numpy as np
from numpy.typing import NDArray

from msvlm.errors import StudyError
from msvlm.imaging.geometry import notes_on_places
from msvlm.imaging.nifti_header import HEADER_BYTES, NiftiHeader, parse_header
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
            if packed:
                with gzip.GzipFile(fileobj=stream) as unpacked:
                    header, stored = _read(key, unpacked)
            else:
                header, stored = _read(key, stream)
    except (*UNREADABLE_ARCHIVE, struct.error, zlib.error, ValueError, OverflowError, MemoryError):
        raise StudyError(f"{key}: the file is broken or cut short; copy or convert it again") from None
    voxels, notes = _values(key, stored, header)
    return _series(key, voxels, header, notes)


def _read(key: str, stream: BinaryIO | gzip.GzipFile) -> tuple[NiftiHeader, NDArray[np.generic]]:
    head = stream.read(HEADER_BYTES[2])
    header = parse_header(key, head)
    wanted = int(np.prod(header.shape, dtype=np.int64)) * header.dtype.itemsize
    stream.seek(header.data_offset)
    content = stream.read(wanted)
    if len(content) < wanted:
        raise StudyError(f"{key}: {len(content)} bytes of voxels where {wanted} are announced; copy the file again")
    stream.read(1)  # to the end, so that a wrong checksum of a gzip file is seen
    return header, np.frombuffer(content, header.dtype).reshape(header.shape[::-1])


def _values(
    key: str, stored: NDArray[np.generic], header: NiftiHeader
) -> tuple[NDArray[np.int16] | NDArray[np.float32], tuple[str, ...]]:
    """(z, y, x) on the file's scale, int16 where that loses nothing, else float32; and what was odd."""
    unscaled = header.slope == 1.0 and header.intercept == 0.0
    if unscaled and stored.dtype == np.int16:
        return stored.astype(np.int16, copy=False), ()
    values = stored.astype(np.float64) if stored.dtype.itemsize > 2 else stored.astype(np.float32)
    if not unscaled:
        values = values * header.slope + header.intercept
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
    key: str, voxels: NDArray[np.int16] | NDArray[np.float32], header: NiftiHeader, notes: tuple[str, ...]
) -> Series:
    steps = header.affine_ras_mm[:3, :3].T
    slice_axis = _slice_axis(key, steps, header.slice_axis)
    row_axis, column_axis = (axis for axis in (2, 1, 0) if axis != slice_axis)
    count = header.shape[slice_axis]
    modality = Modality.CT if voxels.min() <= CT_AIR_HU else Modality.MR
    seen = "reach" if modality is Modality.CT else "do not reach"
    notes = (
        f"NIfTI names no modality: taken for {modality}, as its values {seen} {CT_AIR_HU}",
        *header.notes,
        *notes,
    )
    series = Series(
        key=key,
        voxels=voxels.transpose(2 - slice_axis, 2 - row_axis, 2 - column_axis),
        positions_ras_mm=header.affine_ras_mm[:3, 3] + np.outer(np.arange(count), steps[slice_axis]),
        row_steps_ras_mm=np.tile(steps[row_axis], (count, 1)),
        column_steps_ras_mm=np.tile(steps[column_axis], (count, 1)),
        modality=modality,
        weighting=Weighting.CT if modality is Modality.CT else Weighting.MR,
    )
    shown, _ = to_display_orientation(series)
    # In one piece: what follows reads slice by slice, and the orientation above left views of the file's order.
    return replace(shown, voxels=shown.voxels.copy(), notes=notes + notes_on_places(shown))


def _slice_axis(key: str, steps: NDArray[np.float64], told: int | None) -> int:
    """Which of the stored axes runs across the slices; the other two must be at a right angle."""
    spacings_mm = np.linalg.norm(steps, axis=1)
    directions = steps / spacings_mm[:, None]
    fit = [axis for axis in range(3) if abs(directions[axis - 1] @ directions[axis - 2]) < RIGHT_ANGLE]
    if not fit:
        raise StudyError(f"{key}: no two axes are at a right angle (sheared); resample it or pass the DICOM files")
    if told in fit:
        return told
    for axis in fit:
        others_mm = np.delete(spacings_mm, axis)
        if spacings_mm[axis] > DISTINCT_SPACING * others_mm.max():
            return axis
    cosines = np.abs(directions)
    world = max(permutations(range(3)), key=lambda order: sum(cosines[axis, order[axis]] for axis in range(3)))
    return max(fit, key=lambda axis: world[axis])
