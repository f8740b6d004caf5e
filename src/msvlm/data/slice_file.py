"""Arrays on disk of which single slices are read: blosc2 files with one compressed chunk for each slice.

`python benchmarks/slice_storage.py` compares this with zarr and with uncompressed .npy files. A blosc2 file of a CT is
the smallest, about half a .npy file, so twice as many studies fit on a disk and in the page cache. Random reads from
.npy files are several times faster, but either takes little time beside the model's work on those slices; random reads
by zarr are many times slower. So none is both within twice the fastest read and within 1.2 times the fewest bytes.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import blosc2
import numpy as np
from numpy.typing import NDArray

from msvlm.errors import DataError

SUFFIX = ".b2nd"
_COMPRESSION = blosc2.CParams(codec=blosc2.Codec.ZSTD, clevel=5, filters=[blosc2.Filter.SHUFFLE])
_DECOMPRESSION = blosc2.DParams(nthreads=1)
"""One thread, since a chunk is one block; more threads make reads slower."""


def write_slices(path: Path, values: NDArray) -> None:
    """Writes an array (slices, ...) into a file, losslessly compressed."""
    one_slice = (1, *values.shape[1:])
    array = blosc2.asarray(values, chunks=one_slice, blocks=one_slice, cparams=_COMPRESSION)
    # Not written by blosc2 itself: its errors do not name the reason, such as a full disk.
    path.write_bytes(array.to_cframe())


def read_slices(path: Path, slices: NDArray[np.int64] | None = None) -> NDArray:
    """Returns (chosen slices, ...), in the order of `slices`; all slices without `slices`.

    Raises:
        DataError: a slice is out of range, or the file is missing or truncated. Changed bytes are not always noticed.
    """
    with _opened(path) as array:
        if slices is None:
            return array[:]
        if len(slices) and not 0 <= slices.min() <= slices.max() < len(array):
            raise DataError(
                f"{path.parent.name}: slices {slices.min()} to {slices.max()} requested; {path.name} has {len(array)} "
                "slices, counted from 0"
            )
        return array[slices]


def count_slices(path: Path) -> int:
    """Returns the number of slices in a file.

    Raises:
        DataError: the file is missing, truncated or not of blosc2.
    """
    with _opened(path) as array:
        return len(array)


@contextmanager
def _opened(path: Path) -> Iterator[blosc2.NDArray]:
    """Opens a file for reading; raises DataError where blosc2 cannot open or decompress it."""
    try:
        yield blosc2.open(str(path), mode="r", dparams=_DECOMPRESSION)
    except (RuntimeError, ValueError, OverflowError, FileNotFoundError) as error:
        raise DataError(
            f"{path.parent.name}: {path.name} is damaged or missing; delete the study's folder and write it again"
        ) from error
