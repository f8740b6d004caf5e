"""Model-ready slices on disk, written once: zarr, a chunk a slice, a shard file a series, a folder a study."""

import json
from dataclasses import dataclass, fields
from functools import partial
from pathlib import Path

import cattrs
import numpy as np
from numpy.typing import NDArray

from msvlm.data.atomic_folder import atomic_folder, remove_leftovers, write_atomically
from msvlm.data.manifest import Manifest, ManifestStudy, check_key
from msvlm.data.masks import lesion_regions
from msvlm.data.parallel_jobs import run_jobs
from msvlm.data.slice_array import SliceArray, write_slices
from msvlm.errors import DataError, InputMismatchError
from msvlm.imaging.preprocess import InputConfig, PreparedSeries, PreparedStudy, prepare_study
from msvlm.imaging.read import read_study
from msvlm.study import LeftOut, Modality

_HEADER = "prepared.json"
_STUDIES = "studies"
_STUDY_HEADER = "study.json"
_PLACES = "places.f64"
"""(slices, 7), bare float64, little-endian: centre and normal of each slice of all series, and its number in its series
as it was read. Bare, since the header of .npy takes ten times as long to read as this."""


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
            write_atomically(folder / _HEADER, json.dumps(header, indent=2))
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
        self._check(prepared, header, regions)
        places = np.concatenate(
            [
                np.column_stack([series.centres_ras_mm, series.normals_ras, series.slice_indices]).astype(np.float64)
                for series in prepared.series
            ]
        )
        with atomic_folder(self._path(prepared.key)) as folder:
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
        return self.folder / _STUDIES / check_key(key)

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


@dataclass(frozen=True)
class PreparedNotes:
    """What there is to say of one study that was made ready.

    Attributes:
        key: of the study.
        left_out: series and files of it that are not in the store, each with its reason.
        notes: what was odd or repaired while reading, each beginning with its series' key.
    """

    key: str
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class PreparedSummary:
    """What `prepare` did.

    Attributes:
        prepared, already_there: how many studies were made ready now and before.
        left_out: studies that could not be, each with its reason.
        told: of those made ready now of which there is something to say, in the manifest's order.
    """

    prepared: int
    already_there: int
    left_out: tuple[LeftOut, ...]
    told: tuple[PreparedNotes, ...] = ()


def prepare(manifest: Manifest, store: PreparedStore, workers: int | None = None) -> PreparedSummary:
    """Makes ready what the store lacks of a manifest's studies, in so many processes, or one for each usable core.

    It may be stopped anywhere, killed too, and goes on where it was. A study that fails is named and does not stop the
    others; the next call tries it again.
    """
    remove_leftovers(store.folder / _STUDIES)
    missing = [_job(manifest, study) for study in manifest.studies if study.key not in store]
    outcomes = {each.job.key: each for each in run_jobs(partial(_prepare_one, store), missing, workers, "prepare")}
    ordered = [outcomes[job.key] for job in missing]
    return PreparedSummary(
        prepared=sum(not outcome.failure for outcome in ordered),
        already_there=len(manifest.studies) - len(missing),
        left_out=tuple(LeftOut(outcome.job.key, outcome.failure) for outcome in ordered if outcome.failure),
        told=tuple(
            outcome.result
            for outcome in ordered
            if outcome.result is not None and (outcome.result.left_out or outcome.result.notes)
        ),
    )


@dataclass(frozen=True)
class _Job:
    """What a process needs to know of one study; every job travels to it, so it is kept small."""

    key: str
    series_paths: tuple[Path, ...]
    masks_path: Path | None
    masks_findings: tuple[str, ...]


def _job(manifest: Manifest, study: ManifestStudy) -> _Job:
    findings = study.masks.findings if study.masks is not None else ()
    return _Job(study.key, manifest.series_paths(study), manifest.masks_path(study), findings)


def _prepare_one(store: PreparedStore, job: _Job) -> PreparedNotes:
    study = read_study(job.series_paths, job.key)
    regions = None
    if job.masks_path is not None:
        regions = lesion_regions(study, job.masks_path, job.masks_findings, store.input_config, store.region_grid)
    store.write(prepare_study(study, store.input_config), regions)
    notes = tuple(f"{series.key}: {note}" for series in study.series for note in series.notes)
    return PreparedNotes(job.key, study.left_out, notes)
