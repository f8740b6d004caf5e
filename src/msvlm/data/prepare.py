"""prepare(): makes the studies of a manifest ready for a model, once."""

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


def prepare(manifest: Manifest, store: SliceStore, workers: int | None = None) -> PreparedSummary:
    """Makes ready what the store lacks of a manifest's studies, in so many processes, or one for each usable core.

    It may be stopped anywhere, killed too, and goes on where it was. A study that fails is named and does not stop the
    others; the next call tries it again.
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


def _prepare_one(store: SliceStore, job: _Job) -> PreparedNotes:
    study = read_study(job.series_paths, job.key)
    regions = None
    if job.masks_path is not None:
        regions = lesion_regions(
            study, job.masks_path, job.masks_findings, store.vocabulary, store.input_config, store.region_grid
        )
    store.write(prepare_study(study, store.input_config), regions)
    notes = tuple(f"{series.key}: {note}" for series in study.series for note in series.notes)
    return PreparedNotes(job.key, study.left_out, notes)
