"""An array on disk of which single slices are read: zarr v3, a chunk a slice, all chunks in one shard file.

zarr writes it, and any zarr reader opens it. Reading goes to the shard file itself: zarr's own path schedules every
chunk on an event loop, which for 24 slices of 96 x 128 takes forty times as long.
"""

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import zarr
from numcodecs.blosc import Blosc  # type: ignore[import-untyped]  # it carries no types
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from msvlm.errors import DataError

_ABSENT = np.iinfo(np.uint64).max
"""Offset of a chunk that zarr did not write, because it holds nothing but the fill value 0."""
_INDEX_ENTRY_BYTES = 16
_INDEX_CHECKSUM_BYTES = 4
_DECODER = Blosc()


def write_slices(folder: Path, values: NDArray, is_compressed: bool = True) -> None:
    """Writes an array (slices, ...) into a folder that is not there yet.

    Compression is lossless; it more than halves CT, and gains nothing on learned vectors.
    """
    array = zarr.create_array(
        folder,
        shape=values.shape,
        dtype=values.dtype,
        chunks=(1, *values.shape[1:]),
        shards=values.shape,
        compressors=BloscCodec(cname="zstd", clevel=1, shuffle="bitshuffle") if is_compressed else None,
        fill_value=0,
    )
    array[:] = values


@dataclass(frozen=True)
class SliceArray:
    """What `write_slices` wrote into a folder."""

    folder: Path

    @property
    def shape(self) -> tuple[int, ...]:
        """(slices, ...)."""
        return tuple(self._header["shape"])

    def read(self, slices: NDArray[np.int64] | None = None) -> NDArray:
        """(chosen slices, ...), in the order in which they are named; all slices where none are.

        Raises:
            DataError: there is no such slice, or the file on disk is not whole.
        """
        count, *rest = self.shape
        chosen = np.arange(count) if slices is None else slices
        values = np.zeros((len(chosen), *rest), dtype=self._header["data_type"])
        shard = self.folder.joinpath("c", *["0"] * (1 + len(rest)))
        if not len(chosen) or not shard.exists():  # a shard of nothing but zeros is not written
            return values
        if not 0 <= chosen.min() <= chosen.max() < count:
            raise DataError(f"slices {chosen.min()} to {chosen.max()} are asked for; there are {count}, counted from 0")
        with shard.open("rb") as file:
            file.seek(-(_INDEX_ENTRY_BYTES * count + _INDEX_CHECKSUM_BYTES), 2)
            index = np.frombuffer(file.read(_INDEX_ENTRY_BYTES * count), dtype="<u8").reshape(count, 2)
            for (offset, length), value in zip(index[chosen].tolist(), values, strict=True):
                if offset != _ABSENT:
                    file.seek(offset)
                    self._decode(file.read(length), value)
        return values

    @cached_property
    def _header(self) -> dict:
        return json.loads((self.folder / "zarr.json").read_text(encoding="utf-8"))

    @cached_property
    def _is_compressed(self) -> bool:
        inner = self._header["codecs"][0]["configuration"]["codecs"]
        return any(codec["name"] == "blosc" for codec in inner)

    def _decode(self, chunk: bytes, value: NDArray) -> None:
        """Fills one slice."""
        if self._is_compressed:
            _DECODER.decode(chunk, value)
        else:
            value[...] = np.frombuffer(chunk, dtype=value.dtype).reshape(value.shape)
