"""Writes synthetic chest CT studies into a folder, with lesion masks and a manifest."""

from dataclasses import dataclass, replace
from functools import partial
from itertools import chain, repeat
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msvlm.data.manifest import (
    SPLITS,
    LesionMasks,
    Manifest,
    ManifestStudy,
    line_of_study,
    study_of_line,
    write_manifest,
)
from msvlm.errors import ConfigError, DataError
from msvlm.files import new_folder, remove_leftovers
from msvlm.imaging.dicom.write import write_dicom
from msvlm.imaging.nifti import write_nifti
from msvlm.phantom.chest.chest_ct import SyntheticStudy, draw_chest_ct
from msvlm.processes import run_jobs

MANIFEST_NAME = "manifest.jsonl"
_STUDIES = "studies"
_ENTRY = "study.json"
_MASKS = "masks.nii.gz"
_DICOM = "dicom"


def write_phantoms(
    folder: Path,
    studies: tuple[int, int, int],
    first_seed: int,
    workers: int | None,
    as_dicom: bool,
) -> Manifest:
    """Generates studies with consecutive seeds in a folder and lists them in its `manifest.jsonl`.

    Training, validation and test studies are ranges of seeds, in this order. Existing studies are not drawn again, so
    an interrupted call resumes.

    Args:
        folder: output folder; created if it does not exist.
        studies: number of training, validation and test studies.
        first_seed: seed of the first study.
        workers: number of processes; None: one for each usable core.
        as_dicom: each study is a DICOM folder, else an uncompressed NIfTI file.

    Raises:
        ConfigError: a number of studies or the seed is negative, or there is no study to draw.
        DataError: the folder holds these studies in the other format, or one could not be written.
    """
    if min(studies) < 0 or sum(studies) < 1 or first_seed < 0:
        raise ConfigError(f"{studies} studies from seed {first_seed}; at least 1 study and a seed from 0 are wanted")
    studies_folder = folder / _STUDIES
    studies_folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(studies_folder)
    jobs = [_PhantomJob(seed, as_dicom) for seed in range(first_seed, first_seed + sum(studies))]
    missing = [job for job in jobs if not (studies_folder / job.key).is_dir()]
    outcomes = list(run_jobs(partial(_draw, folder), missing, workers, "phantoms"))
    failed = [outcome for outcome in outcomes if outcome.failure]
    if failed:
        raise DataError(
            f"{len(failed)} of {sum(studies)} studies could not be written, {failed[0].job.key} first: "
            f"{failed[0].failure}"
        )
    splits = chain.from_iterable(repeat(split, count) for split, count in zip(SPLITS, studies, strict=True))
    listed = [replace(_read_entry(folder, job), split=split) for job, split in zip(jobs, splits, strict=True)]
    write_manifest(folder / MANIFEST_NAME, listed)
    return Manifest(folder / MANIFEST_NAME, tuple(listed))


@dataclass(frozen=True)
class _PhantomJob:
    seed: int
    as_dicom: bool

    @property
    def key(self) -> str:
        return f"phantom-{self.seed:06d}"


def _draw(folder: Path, job: _PhantomJob) -> None:
    synthetic = draw_chest_ct(job.seed)
    study = replace(synthetic.study, key=job.key)
    name = _DICOM if job.as_dicom else f"{study.series[0].key}.nii"
    with new_folder(folder / _STUDIES / job.key) as target:
        if job.as_dicom:
            write_dicom(study, target / name)
        else:
            write_nifti(study.series[0], target / name)
        write_nifti(replace(study.series[0], voxels=_lesion_numbers(synthetic)), target / _MASKS)
        line = ManifestStudy(
            key=job.key,
            patient=job.key,
            split=SPLITS[0],
            series=(f"{_STUDIES}/{job.key}/{name}",),
            findings=synthetic.findings_text,
            impression=synthetic.impression_text,
            truth=synthetic.truth,
            masks=LesionMasks(f"{_STUDIES}/{job.key}/{_MASKS}", tuple(lesion.finding for lesion in synthetic.lesions)),
        )
        (target / _ENTRY).write_text(line_of_study(line), encoding="utf-8")


def _lesion_numbers(synthetic: SyntheticStudy) -> NDArray[np.int16]:
    """Returns (slices, rows, columns): i + 1 in the i-th lesion of `synthetic.lesions`, 0 outside lesions."""
    highest = max([int(synthetic.lesion_labels.max()), *(lesion.label for lesion in synthetic.lesions)])
    number_of = np.zeros(highest + 1, dtype=np.int16)
    for number, lesion in enumerate(synthetic.lesions, start=1):
        number_of[lesion.label] = number
    return number_of[synthetic.lesion_labels]


def _read_entry(folder: Path, job: _PhantomJob) -> ManifestStudy:
    """Returns the manifest entry of a study that was drawn before; its split may differ."""
    study = study_of_line((folder / _STUDIES / job.key / _ENTRY).read_text(encoding="utf-8"), 1)
    if study.series[0].endswith(_DICOM) != job.as_dicom:
        form = "NIfTI" if job.as_dicom else "DICOM"
        raise DataError(f"{job.key} is already in {folder.name} as {form}; name another folder for the other format")
    return study
