"""Model-ready slices on disk, written once: a folder for each study, a file for each series."""

import json
from dataclasses import dataclass, fields
from pathlib import Path

import cattrs
import numpy as np
from numpy.typing import NDArray

from msvlm.data.manifest import check_key
from msvlm.data.slice_file import SUFFIX, read_slices, write_slices
from msvlm.errors import DataError, InputMismatchError
from msvlm.files import new_folder, remove_leftovers, write_file
from msvlm.imaging.preprocess import InputConfig, PreparedSeries, PreparedStudy
from msvlm.study import Modality
from msvlm.vocabulary import find_vocabulary
from msvlm.vocabulary.vocabulary import Vocabulary

_CONVERTER = cattrs.Converter(forbid_extra_keys=True)
_HEADER = "prepared.json"
_STUDIES = "studies"
_STUDY_HEADER = "study.json"
_GEOMETRY = "geometry.f64"
"""(slices, 7), raw little-endian float64: centre and normal of each slice of all series, and its index in its series as
it was read. Raw, because parsing the header of a .npy file takes ten times as long as reading this file."""
_GEOMETRY_COLUMNS = 7
_REGIONS = f"regions{SUFFIX}"


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
class SliceStore:
    """The model-ready slices of many studies, all prepared with the same `InputConfig`.

    Attributes:
        folder: folder of the store.
        vocabulary: of the findings whose lesions are stored.
        input_config: preprocessing of the slices.
        region_grid: rows and columns of the grid of lesion regions; (1, 1) stores only which slices have lesions.
    """

    folder: Path
    vocabulary: Vocabulary
    input_config: InputConfig
    region_grid: tuple[int, int]

    @classmethod
    def create(
        cls, folder: Path, vocabulary: Vocabulary, input_config: InputConfig, region_grid: tuple[int, int]
    ) -> "SliceStore":
        """Opens the store in a folder; creates it if the folder has none.

        A region grid of (0, 0), CLS only, is stored as (1, 1): the whole slice is one region.

        Raises:
            InputMismatchError: the store was prepared with another configuration; each difference is named.
        """
        wanted = cls(folder, vocabulary, input_config, (max(1, region_grid[0]), max(1, region_grid[1])))
        if not (folder / _HEADER).exists():
            folder.mkdir(parents=True, exist_ok=True)
            header = {
                "vocabulary": vocabulary.name,
                "input_config": cattrs.unstructure(input_config),
                "region_grid": wanted.region_grid,
            }
            write_file(folder / _HEADER, json.dumps(header, indent=2))
        found = cls.open(folder)
        differences = [
            f"{field.name} {getattr(found.input_config, field.name)}, wanted {getattr(input_config, field.name)}"
            for field in fields(InputConfig)
            if getattr(found.input_config, field.name) != getattr(input_config, field.name)
        ]
        if found.vocabulary != vocabulary:
            differences.append(f"vocabulary {found.vocabulary.name}, wanted {vocabulary.name}")
        if found.region_grid != wanted.region_grid:
            differences.append(f"region_grid {found.region_grid}, wanted {wanted.region_grid}")
        if differences:
            raise InputMismatchError(
                f"{folder.name} was prepared with {'; '.join(differences)}: name another folder, or prepare anew"
            )
        return found

    @classmethod
    def open(cls, folder: Path) -> "SliceStore":
        """Opens the store in a folder.

        Raises:
            DataError: the folder holds no prepared studies.
        """
        if not (folder / _HEADER).exists():
            raise DataError(f"{folder.name} holds no prepared studies; make them with `msvlm prepare`")
        header = json.loads((folder / _HEADER).read_text(encoding="utf-8"))
        try:
            rows, columns = header["region_grid"]
            input_config = _CONVERTER.structure(header["input_config"], InputConfig)
            vocabulary = find_vocabulary(header["vocabulary"])
        except (KeyError, cattrs.BaseValidationError) as error:
            raise DataError(
                f"{folder.name} was prepared by another version of msvlm; prepare the studies again"
            ) from error
        return cls(folder, vocabulary, input_config, (rows, columns))

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_dir()

    def remove_leftovers(self) -> None:
        """Deletes the partly written studies of processes that were killed."""
        remove_leftovers(self.folder / _STUDIES)

    def write(self, prepared: PreparedStudy, regions: NDArray[np.bool_] | None) -> None:
        """Writes a study as a whole or not at all.

        Args:
            prepared: the study, prepared with this store's `input_config`.
            regions: (slices, findings, grid rows, grid columns): the cells that lesions cover, slices numbered over
                all series in order, findings as in the vocabulary; None if lesions are unknown.

        Raises:
            DataError: the study has no slice, or `regions` has the wrong shape.
            InputMismatchError: the size of the slices differs from the store's.
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
        geometry = np.concatenate(
            [
                np.column_stack([series.centres_ras_mm, series.normals_ras, series.slice_indices]).astype(np.float64)
                for series in prepared.series
            ]
        )
        with new_folder(self._path(prepared.key)) as folder:
            (folder / _STUDY_HEADER).write_text(json.dumps(cattrs.unstructure(header)), encoding="utf-8")
            geometry.astype("<f8").tofile(folder / _GEOMETRY)
            for index, series in enumerate(prepared.series):
                write_slices(folder / _series_name(index), series.intensities)
            if regions is not None:
                write_slices(folder / _REGIONS, regions)

    def read(self, key: str, slices: NDArray[np.int64] | None = None, with_pixels: bool = True) -> PreparedStudy:
        """Reads a study, or some of its slices.

        Args:
            key: key of the study.
            slices: indices of the slices, ascending, counted from 0 over all series in order; None: all. A series
                without a chosen slice is returned with 0 slices, so that series keep their indices.
            with_pixels: False: intensities are not read and have the shape (slices, 0, 0).

        Raises:
            DataError: the study is not in the store, a slice is out of range, or a file is damaged.
        """
        header = self._header(key)
        chosen = _check_slices(key, slices, header.slices)
        geometry = self._geometry(key, header.slices)
        series, start = [], 0
        for index, stored in enumerate(header.series):
            own = chosen[(chosen >= start) & (chosen < start + stored.slices)]
            intensities = np.zeros((len(own), 0, 0), dtype=np.int16)
            if with_pixels:
                intensities = read_slices(self._path(key) / _series_name(index), own - start)
            series.append(
                PreparedSeries(
                    key=stored.key,
                    modality=stored.modality,
                    role_index=stored.role_index,
                    intensities=intensities,
                    centres_ras_mm=geometry[own, :3].astype(np.float32),
                    normals_ras=geometry[own, 3:6].astype(np.float32),
                    slice_indices=geometry[own, 6].astype(np.int64),
                )
            )
            start += stored.slices
        return PreparedStudy(key, tuple(series))

    def regions(self, key: str, slices: NDArray[np.int64] | None = None) -> NDArray[np.bool_] | None:
        """Returns regions (slices, findings, grid rows, grid columns) as in `write`; None if lesions are unknown.

        Raises:
            DataError: the study is not in the store, a slice is out of range, or a file is damaged.
        """
        header = self._header(key)
        if not header.has_regions:
            return None
        return read_slices(self._path(key) / _REGIONS, _check_slices(key, slices, header.slices))

    def centre_ras_mm(self, key: str) -> NDArray[np.float64]:
        """Returns (3,), the mean of all slice centres of a study: the origin of `StudyBatch.position_mm`."""
        return self._geometry(key, self.slice_count(key))[:, :3].mean(axis=0)

    def slice_count(self, key: str) -> int:
        """Returns the number of slices of a study, over all series."""
        return self._header(key).slices

    def _path(self, key: str) -> Path:
        return self.folder / _STUDIES / key

    def _existing_path(self, key: str) -> Path:
        if key not in self:
            raise DataError(f"{key}: not among the prepared studies in {self.folder.name}; run `msvlm prepare`")
        return self._path(key)

    def _geometry(self, key: str, count: int) -> NDArray[np.float64]:
        path = self._existing_path(key) / _GEOMETRY
        values = np.fromfile(path, dtype="<f8") if path.exists() else np.empty(0)
        if len(values) != count * _GEOMETRY_COLUMNS:
            raise DataError(
                f"{key}: {_GEOMETRY} has {len(values)} numbers, {count * _GEOMETRY_COLUMNS} are wanted for {count} "
                "slices; delete the study's folder and run `msvlm prepare` again"
            )
        return values.reshape(count, _GEOMETRY_COLUMNS)

    def _header(self, key: str) -> _StudyHeader:
        return cattrs.structure(
            json.loads((self._existing_path(key) / _STUDY_HEADER).read_text(encoding="utf-8")), _StudyHeader
        )

    def _check(self, prepared: PreparedStudy, header: _StudyHeader, regions: NDArray[np.bool_] | None) -> None:
        if not header.slices:
            raise DataError(f"{prepared.key}: no slice to write; a study needs at least one")
        grid = (self.input_config.rows, self.input_config.columns)
        for series in prepared.series:
            if series.intensities.shape[1:] != grid:
                raise InputMismatchError(
                    f"{prepared.key}: slices of {series.intensities.shape[1:]} pixels, wanted {grid}; prepare the "
                    "study with the store's input_config"
                )
        wanted = (header.slices, len(self.vocabulary.findings), *self.region_grid)
        if regions is not None and regions.shape != wanted:
            raise DataError(f"{prepared.key}: regions of shape {regions.shape}, wanted {wanted}")


def _check_slices(key: str, slices: NDArray[np.int64] | None, count: int) -> NDArray[np.int64]:
    if slices is None:
        return np.arange(count)
    if len(slices) and (slices[0] < 0 or slices[-1] >= count or (np.diff(slices) <= 0).any()):
        raise DataError(
            f"{key}: slices {slices.tolist()} requested; ascending indices from 0 to {count - 1} are wanted"
        )
    return slices


def _series_name(index: int) -> str:
    return f"series_{index}{SUFFIX}"
