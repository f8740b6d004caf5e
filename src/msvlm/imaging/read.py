"""read_study(): the one door for files. A folder, a zip, one DICOM file, one or several NIfTI files -> Study."""

import hashlib
import importlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msvlm.errors import StudyError
from msvlm.imaging.source_files import FileKind, InputFiles, SourceFile, named_files, source_files
from msvlm.study import LeftOut, Series, Study

if TYPE_CHECKING:
    from msvlm.imaging.dicom.read import DicomReading

_HASHED_VOXELS = 1 << 22
"""About so many voxels of a series, evenly drawn, make its part of a key."""


def read_study(path: Path | str | Sequence[Path | str], key: str = "") -> Study:
    """Reads all series of one study, whatever its files are called; CT in HU, places in RAS mm.

    What cannot be used is in `Study.left_out` with its reason. Without a key the study gets one that tells nothing
    of the patient, the same wherever the files lie: a hash of its Study Instance UID, or of its voxels where it has
    none. A DICOM file passed by itself is read even where it is a single image.

    Raises:
        StudyError: nothing usable is there (the message names what was found), or more than one study.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(each) for each in path]
    if not paths:
        raise StudyError("an empty list of files; pass a folder, a zip or image files")
    try:
        with source_files(paths) as found:
            alone = len(found.files) == 1 and found.files[0].path == paths[0] and found.files[0].archive is None
            return _study(found, key, alone)
    except OSError as error:  # its text holds a path
        reason = error.strerror or "the file system failed"
        raise StudyError(f"the input cannot be opened ({reason}); give the right to read it, or copy it") from None


def _study(found: InputFiles, key: str, alone: bool) -> Study:
    by_kind: dict[FileKind, list[SourceFile]] = defaultdict(list)
    for source in found.files:
        by_kind[source.kind].append(source)
    series: list[Series] = []
    left_out: list[LeftOut] = []
    if FileKind.DICOM in by_kind:
        dicom = _read_dicom(by_kind.pop(FileKind.DICOM), alone)
        series, left_out, key = [*dicom.series], [*dicom.left_out], key or dicom.study_key
    for number, source in enumerate(by_kind.pop(FileKind.NIFTI, []), start=1):
        result = _nifti_or_reason(source, f"n{number}")
        if isinstance(result, Series):
            series.append(result)
        else:
            left_out.append(result)
    left_out += [LeftOut(named_files(files), kind.value) for kind, files in by_kind.items()]
    left_out += found.left_out
    if not series:
        told = f"nothing usable in {_files(len(found.files))}: {_summary(left_out)}"
        raise StudyError(f"{key}: {told}" if key else told)
    return Study(key or _key_of_voxels(series), tuple(series), tuple(left_out))


def _read_dicom(sources: Sequence[SourceFile], keep_single_images: bool) -> "DicomReading":
    """Reads DICOM files; imports pydicom only now, which a study of NIfTI files does not need."""
    reading: DicomReading = importlib.import_module("msvlm.imaging.dicom.read").read_dicom(sources, keep_single_images)
    return reading


def _nifti_or_reason(source: SourceFile, key: str) -> Series | LeftOut:
    """Reads one NIfTI file; imports nibabel only now, which a study of DICOM files does not need."""
    try:
        series: Series = importlib.import_module("msvlm.imaging.nifti").read_nifti(source, key)
        return series
    except StudyError as error:
        return LeftOut(key, str(error).removeprefix(f"{key}: "))


def _key_of_voxels(series: Sequence[Series]) -> str:
    """The same in whatever order the series are passed."""
    digests = sorted(_voxels_digest(each.voxels) for each in series)
    return f"study-{hashlib.sha256(b''.join(digests)).hexdigest()[:10]}"


def _voxels_digest(voxels: NDArray[np.int16] | NDArray[np.float32]) -> bytes:
    digest = hashlib.sha256(f"{voxels.dtype} {voxels.shape}".encode())
    digest.update(voxels.reshape(-1)[:: voxels.size // _HASHED_VOXELS + 1].tobytes())
    return digest.digest()


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _summary(left_out: Sequence[LeftOut], shown: int = 8) -> str:
    lines = [f"{item.name}: {item.reason}" for item in left_out[:shown]]
    if len(left_out) > shown:
        lines.append(f"and {len(left_out) - shown} more")
    return "; ".join(lines)
