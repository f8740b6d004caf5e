"""Prints three ways to store model-ready slices: seconds of a random read, bytes on disk and lines of code of each.

zarr is compared and not used, so it is installed first: `.venv/bin/uv pip install zarr`.
"""

import inspect
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import blosc2
import numpy as np
import zarr
from numpy.typing import NDArray

from msvlm.imaging.preprocess import InputConfig, prepare_study
from msvlm.phantom.chest.chest_ct import draw_chest_ct
from msvlm.phantom.chest.scene import ScanShape

SHAPE = ScanShape(300, 512, 512, (1.2, 0.75, 0.75))
CHOSEN = 24
READS = 300


def write_zarr(path: Path, values: NDArray) -> None:
    codec = zarr.codecs.BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle")
    one_slice = (1, *values.shape[1:])
    zarr.create_array(path, data=values, chunks=one_slice, shards=values.shape, compressors=codec)


def read_zarr(path: Path, slices: NDArray[np.int64]) -> NDArray:
    return zarr.open_array(path, mode="r").oindex[slices]


def write_blosc2(path: Path, values: NDArray) -> None:
    one_slice = (1, *values.shape[1:])
    compression = blosc2.CParams(codec=blosc2.Codec.ZSTD, clevel=5, filters=[blosc2.Filter.SHUFFLE])
    path.write_bytes(blosc2.asarray(values, chunks=one_slice, blocks=one_slice, cparams=compression).to_cframe())


def read_blosc2(path: Path, slices: NDArray[np.int64]) -> NDArray:
    return blosc2.open(str(path), mode="r", dparams=blosc2.DParams(nthreads=1))[slices]


def write_npy(path: Path, values: NDArray) -> None:
    np.save(path, values)


def read_npy(path: Path, slices: NDArray[np.int64]) -> NDArray:
    return np.load(path, mmap_mode="r")[slices]


@dataclass(frozen=True)
class Storage:
    """A way to store an array (slices, rows, columns)."""

    name: str
    write: Callable[[Path, NDArray], None]
    read: Callable[[Path, NDArray[np.int64]], NDArray]


STORAGES = (
    Storage("zarr.zarr", write_zarr, read_zarr),
    Storage("blosc2.b2nd", write_blosc2, read_blosc2),
    Storage("memmap.npy", write_npy, read_npy),
)


def main() -> None:
    """Prepares a synthetic chest CT to the bundled model's grid, stores it in each way and prints a line for each."""
    values = prepare_study(draw_chest_ct(0, SHAPE).study, InputConfig()).series[0].intensities
    print(f"{'seconds':>10} {'bytes':>10} {'lines':>6}  {CHOSEN} random slices of {values.shape}, {values.dtype}")
    with tempfile.TemporaryDirectory() as folder:
        for storage in STORAGES:
            path = Path(folder) / storage.name
            storage.write(path, values)
            lines = sum(len(inspect.getsource(part).splitlines()) for part in (storage.write, storage.read))
            print(f"{_median_seconds(storage, path, values):10.6f} {_bytes_on_disk(path):10} {lines:6}  {storage.name}")


def _median_seconds(storage: Storage, path: Path, values: NDArray) -> float:
    """Returns the median time of a random read from the page cache, and checks what is read."""
    generator = np.random.default_rng(0)
    seconds = []
    for _ in range(READS):
        slices = np.sort(generator.choice(len(values), CHOSEN, replace=False))
        started = time.perf_counter()
        read = storage.read(path, slices)
        seconds.append(time.perf_counter() - started)
        np.testing.assert_array_equal(read, values[slices])
    return median(seconds)


def _bytes_on_disk(path: Path) -> int:
    files = [path] if path.is_file() else [each for each in path.rglob("*") if each.is_file()]
    return sum(each.stat().st_size for each in files)


if __name__ == "__main__":
    main()
