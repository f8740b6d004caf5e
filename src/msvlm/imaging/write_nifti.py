"""Series -> NIfTI-1 file, uncompressed .nii or .nii.gz by its name."""

import gzip
import struct
from pathlib import Path

import numpy as np

from msvlm.errors import StudyError
from msvlm.study import Series

_HEADER_BYTES, _VOXELS_START = 348, 352
_DATATYPES = {np.dtype(np.int16): 4, np.dtype(np.float32): 16}
_MILLIMETRES = 2
_SCANNER_ANATOMICAL = 1
_SLICES_ARE_Z = 3 << 4
_FASTEST_COMPRESSION = 1


def write_nifti(series: Series, path: Path) -> None:
    """Writes voxels and places, which `read_study` reads back the same from a series in display orientation.

    Stored with columns as x, rows as y and slices as z; sform holds the places, padding and notes are not kept.

    Raises:
        GeometryError: the slices are not parallel and evenly spaced; NIfTI cannot place them one by one.
        StudyError: the path ends in neither .nii nor .nii.gz.
    """
    if not path.name.endswith((".nii", ".nii.gz")):
        raise StudyError(f"{series.key}: a NIfTI file ends in .nii or .nii.gz")
    voxels = np.ascontiguousarray(series.voxels)
    content = (
        _header(series) + bytes(_VOXELS_START - _HEADER_BYTES) + voxels.astype(voxels.dtype.newbyteorder("<")).tobytes()
    )
    if path.name.endswith(".gz"):
        content = gzip.compress(content, _FASTEST_COMPRESSION, mtime=0)
    path.write_bytes(content)


def _header(series: Series) -> bytes:
    slices, rows, columns = series.voxels.shape
    by_index = series.affine_ras[:, (2, 1, 0, 3)]
    spacings_mm = np.linalg.norm(by_index[:3, :3], axis=0)
    header = bytearray(_HEADER_BYTES)
    struct.pack_into("<i", header, 0, _HEADER_BYTES)
    header[39] = _SLICES_ARE_Z
    struct.pack_into("<8h", header, 40, 3, columns, rows, slices, 1, 1, 1, 1)
    struct.pack_into("<2h", header, 70, _DATATYPES[series.voxels.dtype], series.voxels.dtype.itemsize * 8)
    struct.pack_into("<8f", header, 76, 1.0, *spacings_mm, 0.0, 0.0, 0.0, 0.0)
    struct.pack_into("<3f", header, 108, _VOXELS_START, 1.0, 0.0)
    header[123] = _MILLIMETRES
    struct.pack_into("<2h", header, 252, 0, _SCANNER_ANATOMICAL)
    struct.pack_into("<12f", header, 280, *by_index[:3].ravel())
    header[344:348] = b"n+1\0"
    return bytes(header)
