"""Prepares the studies of a manifest for a model: reads them and stores their model-ready slices, once."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

from msvlm.data.manifest import Manifest, ManifestStudy
from msvlm.data.masks import lesion_regions
from msvlm.data.slice_store import SliceStore
from msvlm.errors import InputMismatchError
from msvlm.imaging.preprocess import prepare_study
from msvlm.imaging.read import read_study
from msvlm.processes import run_jobs
from msvlm.study import LeftOut


@dataclass(frozen=True)
class StudyNotes:
    """Notes on one prepared study.

    Attributes:
        key: key of the study.
        left_out: its series and files that are not in the store, each with its reason.
        notes: the notes of its series, each beginning with the key of the series.
    """

    key: str
    left_out: tuple[LeftOut, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class PreparedSummary:
    """Result of `prepare`.

    Attributes:
        prepared: number of studies that this call prepared.
        already_prepared: number of studies that the store had before.
        left_out: studies that could not be prepared, each with its reason.
        notes: of the studies that this call prepared, those with notes, in the manifest's order.
    """

    prepared: int
    already_prepared: int
    left_out: tuple[LeftOut, ...]
    notes: tuple[StudyNotes, ...] = ()


def prepare(manifest: Manifest, store: SliceStore, workers: int | None = None) -> PreparedSummary:
    """Prepares the studies of a manifest that the store lacks.

    An interrupted call resumes, even after its process was killed. A study that cannot be prepared is returned with its
    reason and does not stop the others; the next call tries it again.

    Args:
        manifest: the studies.
        store: the store to fill.
        workers: number of processes; None: one for each usable core.
    """
    if manifest.vocabulary != store.vocabulary:
        raise InputMismatchError(
            f"{manifest.path.name} has vocabulary {manifest.vocabulary.name}, but {store.folder.name} is prepared for "
            f"{store.vocabulary.name}; name another folder, or a model of that vocabulary"
        )
    store.remove_leftovers()
    missing = [_job(manifest, study) for study in manifest.studies if study.key not in store]
    outcomes = {each.job.key: each for each in run_jobs(partial(_prepare_one, store), missing, workers, "prepare")}
    ordered = [outcomes[job.key] for job in missing]
    return PreparedSummary(
        prepared=sum(not outcome.failure for outcome in ordered),
        already_prepared=len(manifest.studies) - len(missing),
        left_out=tuple(LeftOut(outcome.job.key, outcome.failure) for outcome in ordered if outcome.failure),
        notes=tuple(
            outcome.result
            for outcome in ordered
            if outcome.result is not None and (outcome.result.left_out or outcome.result.notes)
        ),
    )


@dataclass(frozen=True)
class _Job:
    """Inputs for preparing one study in a worker process; without its reports, which need not be pickled."""

    key: str
    series_paths: tuple[Path, ...]
    masks_path: Path | None
    masks_findings: tuple[str, ...]


def _job(manifest: Manifest, study: ManifestStudy) -> _Job:
    findings = study.masks.findings if study.masks is not None else ()
    return _Job(study.key, manifest.series_paths(study), manifest.masks_path(study), findings)


def _prepare_one(store: SliceStore, job: _Job) -> StudyNotes:
    study = read_study(job.series_paths, job.key)
    regions = None
    if job.masks_path is not None:
        regions = lesion_regions(
            study, job.masks_path, job.masks_findings, store.vocabulary, store.input_config, store.region_grid
        )
    store.write(prepare_study(study, store.input_config), regions)
    notes = tuple(f"{series.key}: {note}" for series in study.series for note in series.notes)
    return StudyNotes(job.key, study.left_out, notes)
