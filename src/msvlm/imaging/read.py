"""read_study(): reads a folder, a zip file, a DICOM file or NIfTI files as one study."""

import hashlib
import importlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from msvlm.errors import StudyError
from msvlm.imaging.source_files import FileKind, InputFiles, SourceFile, describe_files, open_input
from msvlm.study import LeftOut, Series, Study

if TYPE_CHECKING:
    from msvlm.imaging.dicom.read import DicomReading

_HASHED_VOXELS = 1 << 22
"""Approximate number of voxels, evenly sampled from a series, that are hashed into the study's key."""


def read_study(path: Path | str | Sequence[Path | str], key: str = "") -> Study:
    """Reads all series of one study, whatever its files are called; CT in HU, positions in RAS mm.

    `Study.left_out` lists what cannot be read, with the reason. The default key contains no patient data and does not
    depend on the files' location: it is a hash of the Study Instance UID, or of the voxels where there is none. A DICOM
    file passed on its own is read even where it is a single image.

    Raises:
        StudyError: no series can be read (the message lists what was found), or the input contains several studies.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(each) for each in path]
    if not paths:
        raise StudyError("no input path; pass a folder, a zip file or image files")
    try:
        with open_input(paths) as found:
            alone = len(found.files) == 1 and found.files[0].path == paths[0] and found.files[0].archive is None
            return _read_files(found, key, alone)
    except OSError as error:  # its text contains a path
        reason = error.strerror or "the file system failed"
        raise StudyError(f"the input cannot be opened ({reason}); grant read permission, or copy it") from None


def _read_files(found: InputFiles, key: str, alone: bool) -> Study:
    by_kind: dict[FileKind, list[SourceFile]] = defaultdict(list)
    for source in found.files:
        by_kind[source.kind].append(source)
    series: list[Series] = []
    left_out: list[LeftOut] = []
    if FileKind.DICOM in by_kind:
        dicom = _read_dicom(by_kind.pop(FileKind.DICOM), alone)
        series, left_out, key = [*dicom.series], [*dicom.left_out], key or dicom.study_key
    for number, source in enumerate(by_kind.pop(FileKind.NIFTI, []), start=1):
        result = _read_nifti(source, f"n{number}")
        if isinstance(result, Series):
            series.append(result)
        else:
            left_out.append(result)
    left_out += [LeftOut(describe_files(files), kind.value) for kind, files in by_kind.items()]
    left_out += found.left_out
    if not series:
        message = f"no readable series in {_count_files(len(found.files))}: {_summarise(left_out)}"
        raise StudyError(f"{key}: {message}" if key else message)
    return Study(key or _voxels_key(series), tuple(series), tuple(left_out))


def _read_dicom(sources: Sequence[SourceFile], keep_single_images: bool) -> "DicomReading":
    """Reads DICOM files; pydicom is imported only here, because reading NIfTI files does not need it."""
    reading: DicomReading = importlib.import_module("msvlm.imaging.dicom.read").read_dicom(sources, keep_single_images)
    return reading


def _read_nifti(source: SourceFile, key: str) -> Series | LeftOut:
    """Reads one NIfTI file; nibabel is imported only here, because reading DICOM files does not need it."""
    try:
        series: Series = importlib.import_module("msvlm.imaging.nifti").read_nifti(source, key)
        return series
    except StudyError as error:
        return LeftOut(key, str(error).removeprefix(f"{key}: "))


def _voxels_key(series: Sequence[Series]) -> str:
    """Returns a key from the voxels that does not depend on the order of the series."""
    digests = sorted(_voxels_digest(each.voxels) for each in series)
    return f"study-{hashlib.sha256(b''.join(digests)).hexdigest()[:10]}"


def _voxels_digest(voxels: NDArray[np.int16] | NDArray[np.float32]) -> bytes:
    digest = hashlib.sha256(f"{voxels.dtype} {voxels.shape}".encode())
    digest.update(voxels.reshape(-1)[:: voxels.size // _HASHED_VOXELS + 1].tobytes())
    return digest.digest()


def _count_files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _summarise(left_out: Sequence[LeftOut], shown: int = 8) -> str:
    lines = [f"{item.name}: {item.reason}" for item in left_out[:shown]]
    if len(left_out) > shown:
        lines.append(f"and {len(left_out) - shown} more")
    return "; ".join(lines)
