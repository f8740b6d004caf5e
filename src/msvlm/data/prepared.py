"""Model-ready slices on disk, written once: zarr, a chunk a slice, a shard file a series, a folder a study."""

import json
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path

import cattrs
import numpy as np
import zarr
from numcodecs.blosc import Blosc  # type: ignore[import-untyped]  # it carries no types
from numpy.typing import NDArray
from zarr.codecs import BloscCodec

from msvlm.data.manifest import check_key
from msvlm.errors import DataError, InputMismatchError
from msvlm.files import new_folder, remove_leftovers, write_file
from msvlm.imaging.preprocess import InputConfig, PreparedSeries, PreparedStudy
from msvlm.study import Modality

_HEADER = "prepared.json"
_STUDIES = "studies"
_STUDY_HEADER = "study.json"
_PLACES = "places.f64"
"""(slices, 7), bare float64, little-endian: centre and normal of each slice of all series, and its number in its series
as it was read. Bare, since the header of .npy takes ten times as long to read as this."""
_ABSENT = np.iinfo(np.uint64).max
"""Offset of a chunk that zarr did not write, because it holds nothing but the fill value 0."""
_INDEX_ENTRY_BYTES = 16
_INDEX_CHECKSUM_BYTES = 4
_DECODER = Blosc()


@dataclass(frozen=True)
class _SeriesHeader:
    key: str
    modality: Modality
    role_index: int
    slices: int


@dataclass(frozen=True)
class _StudyHeader:
    series: tuple[_SeriesHeader, ...]
    has_regions: bool

    @property
    def slices(self) -> int:
        return sum(series.slices for series in self.series)


@dataclass(frozen=True)
class PreparedStore:
    """Prepared studies in a folder, all on one grid.

    Attributes:
        folder: where they lie.
        input_config: how their slices were made ready.
        region_grid: rows and columns of cells on which lesions are told; (1, 1) says only whether a slice shows one.
    """

    folder: Path
    input_config: InputConfig
    region_grid: tuple[int, int]

    @classmethod
    def create(cls, folder: Path, input_config: InputConfig, region_grid: tuple[int, int]) -> "PreparedStore":
        """The store in a folder, made where it is not there yet. A region grid of (0, 0), CLS only, is (1, 1).

        Raises:
            InputMismatchError: the folder holds studies that were made ready otherwise; each difference is named.
        """
        wanted = cls(folder, input_config, (max(1, region_grid[0]), max(1, region_grid[1])))
        if not (folder / _HEADER).exists():
            folder.mkdir(parents=True, exist_ok=True)
            header = {"input_config": cattrs.unstructure(input_config), "region_grid": wanted.region_grid}
            write_file(folder / _HEADER, json.dumps(header, indent=2))
        found = cls.open(folder)
        differences = [
            f"{field.name} {getattr(found.input_config, field.name)}, wanted {getattr(input_config, field.name)}"
            for field in fields(InputConfig)
            if getattr(found.input_config, field.name) != getattr(input_config, field.name)
        ]
        if found.region_grid != wanted.region_grid:
            differences.append(f"region_grid {found.region_grid}, wanted {wanted.region_grid}")
        if differences:
            raise InputMismatchError(
                f"{folder.name} was prepared with {'; '.join(differences)}: name another folder, or prepare anew"
            )
        return found

    @classmethod
    def open(cls, folder: Path) -> "PreparedStore":
        """The store in a folder.

        Raises:
            DataError: the folder holds no prepared studies.
        """
        if not (folder / _HEADER).exists():
            raise DataError(f"{folder.name} holds no prepared studies; make them with `msvlm prepare`")
        header = json.loads((folder / _HEADER).read_text(encoding="utf-8"))
        rows, columns = header["region_grid"]
        return cls(folder, cattrs.structure(header["input_config"], InputConfig), (rows, columns))

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_dir()

    def remove_leftovers(self) -> None:
        """Takes away what processes that were killed had begun to write."""
        remove_leftovers(self.folder / _STUDIES)

    def write(self, prepared: PreparedStudy, regions: NDArray[np.bool_] | None) -> None:
        """Writes a study as a whole or not at all.

        Args:
            prepared: the study, made ready with this store's `input_config`.
            regions: (slices, findings, grid rows, grid columns): where its lesions are, slices counted over all
                series in order, findings as in `CHEST_FINDING_NAMES`; None where that is not known.

        Raises:
            DataError: the study has no slice, or regions of another shape.
            InputMismatchError: its slices lie on another grid.
        """
        header = _StudyHeader(
            tuple(
                _SeriesHeader(series.key, series.modality, series.role_index, len(series.intensities))
                for series in prepared.series
            ),
            has_regions=regions is not None,
        )
        check_key(prepared.key)
        self._check(prepared, header, regions)
        places = np.concatenate(
            [
                np.column_stack([series.centres_ras_mm, series.normals_ras, series.slice_indices]).astype(np.float64)
                for series in prepared.series
            ]
        )
        with new_folder(self._path(prepared.key)) as folder:
            (folder / _STUDY_HEADER).write_text(json.dumps(cattrs.unstructure(header)), encoding="utf-8")
            places.astype("<f8").tofile(folder / _PLACES)
            for index, series in enumerate(prepared.series):
                write_slices(folder / f"series_{index}", series.intensities)
            if regions is not None:
                write_slices(folder / "regions", regions)

    def read(self, key: str, slices: NDArray[np.int64] | None = None, with_pixels: bool = True) -> PreparedStudy:
        """A study, or some of its slices.

        Args:
            key: the study's key.
            slices: which slices, ascending, counted from 0 over all series in order; None: all. A series of which no
                slice is chosen is there without slices, so that series keep their numbers.
            with_pixels: False: intensities are left on disk and have the shape (slices, 0, 0).

        Raises:
            DataError: the study is not here, or has no such slices.
        """
        header = self._header(key)
        chosen = _checked(key, slices, header.slices)
        places = self._places(key)
        series, start = [], 0
        for number, one in enumerate(header.series):
            own = chosen[(chosen >= start) & (chosen < start + one.slices)]
            intensities = np.zeros((len(own), 0, 0), dtype=np.int16)
            if with_pixels:
                intensities = SliceArray(self._path(key) / f"series_{number}").read(own - start)
            series.append(
                PreparedSeries(
                    key=one.key,
                    modality=one.modality,
                    role_index=one.role_index,
                    intensities=intensities,
                    centres_ras_mm=places[own, :3].astype(np.float32),
                    normals_ras=places[own, 3:6].astype(np.float32),
                    slice_indices=places[own, 6].astype(np.int64),
                )
            )
            start += one.slices
        return PreparedStudy(key, tuple(series))

    def regions(self, key: str, slices: NDArray[np.int64] | None = None) -> NDArray[np.bool_] | None:
        """(slices, findings, grid rows, grid columns) as `write` took them; None where lesions are not known.

        Raises:
            DataError: the study is not here, or has no such slices.
        """
        header = self._header(key)
        if not header.has_regions:
            return None
        return SliceArray(self._path(key) / "regions").read(_checked(key, slices, header.slices))

    def centre_ras_mm(self, key: str) -> NDArray[np.float64]:
        """(3,), mean of the centres of all slices of a study; where `StudyBatch.position_mm` is measured from."""
        return self._places(key)[:, :3].mean(axis=0)

    def slice_count(self, key: str) -> int:
        """How many slices a study has, over all series."""
        return self._header(key).slices

    def _path(self, key: str) -> Path:
        return self.folder / _STUDIES / key

    def _found(self, key: str) -> Path:
        if key not in self:
            raise DataError(f"{key}: not among the prepared studies in {self.folder.name}; run `msvlm prepare`")
        return self._path(key)

    def _places(self, key: str) -> NDArray[np.float64]:
        return np.fromfile(self._found(key) / _PLACES, dtype="<f8").reshape(-1, 7)

    def _header(self, key: str) -> _StudyHeader:
        return cattrs.structure(
            json.loads((self._found(key) / _STUDY_HEADER).read_text(encoding="utf-8")), _StudyHeader
        )

    def _check(self, prepared: PreparedStudy, header: _StudyHeader, regions: NDArray[np.bool_] | None) -> None:
        if not header.slices:
            raise DataError(f"{prepared.key}: no slice to write")
        grid = (self.input_config.rows, self.input_config.columns)
        for series in prepared.series:
            if series.intensities.shape[1:] != grid:
                raise InputMismatchError(
                    f"{prepared.key}: slices of {series.intensities.shape[1:]} pixels, wanted {grid}; prepare the "
                    "study with the store's input_config"
                )
        if regions is not None and (regions.shape[0], *regions.shape[2:]) != (header.slices, *self.region_grid):
            raise DataError(
                f"{prepared.key}: regions of shape {regions.shape} for {header.slices} slices on a grid of "
                f"{self.region_grid}"
            )


def _checked(key: str, slices: NDArray[np.int64] | None, count: int) -> NDArray[np.int64]:
    if slices is None:
        return np.arange(count)
    if len(slices) and (slices[0] < 0 or slices[-1] >= count or (np.diff(slices) <= 0).any()):
        raise DataError(
            f"{key}: slices {slices.tolist()} asked for; ascending numbers from 0 to {count - 1} are wanted"
        )
    return slices


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
    """What `write_slices` wrote into a folder, of which single slices are read.

    zarr writes it, and any zarr reader opens it. Reading goes to the shard file itself: zarr's own path schedules every
    chunk on an event loop, which for 24 slices of 96 x 128 takes forty times as long.
    """

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
