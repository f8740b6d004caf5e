"""read_study(): the one door for files. A folder, a zip, one DICOM file, one or several NIfTI files -> Study."""

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path

from msvlm.errors import StudyError
from msvlm.imaging.dicom import named_files, read_dicom
from msvlm.imaging.nifti import read_nifti
from msvlm.imaging.source_files import FileKind, SourceFile, source_files
from msvlm.study import LeftOut, Series, Study


def read_study(path: Path | str | Sequence[Path | str], key: str = "") -> Study:
    """Reads all series of one study, whatever its files are called; CT in HU, places in RAS mm.

    What cannot be used is in `Study.left_out` with its reason. Without a key the study gets one that tells nothing
    of the patient: a hash of its Study Instance UID, or of the file name. A DICOM file passed by itself is read even
    where it is a single image.

    Raises:
        StudyError: nothing usable is there (the message names what was found), or more than one study.
    """
    paths = [Path(path)] if isinstance(path, str | Path) else [Path(each) for each in path]
    if not paths:
        raise StudyError("an empty list of files; pass a folder, a zip or image files")
    with source_files(paths) as sources:
        by_kind: dict[FileKind, list[SourceFile]] = defaultdict(list)
        for source in sources:
            by_kind[source.kind].append(source)
        alone = len(sources) == 1 and sources[0].path == paths[0] and sources[0].archive is None
        dicom = read_dicom(by_kind.pop(FileKind.DICOM, []), keep_single_images=alone)
        series, left_out = list(dicom.series), list(dicom.left_out)
        for number, source in enumerate(by_kind.pop(FileKind.NIFTI, []), start=1):
            result = _nifti_or_reason(source, f"n{number}")
            if isinstance(result, Series):
                series.append(result)
            else:
                left_out.append(result)
        left_out += [LeftOut(named_files(files), kind.value) for kind, files in by_kind.items()]
        key = key or dicom.study_key or _key_of_names(paths)
        if not series:
            raise StudyError(f"{key}: nothing usable in {_files(len(sources))}: {_summary(left_out)}")
    return Study(key, tuple(series), tuple(left_out))


def _nifti_or_reason(source: SourceFile, key: str) -> Series | LeftOut:
    try:
        return read_nifti(source, key)
    except StudyError as error:
        return LeftOut(key, str(error).removeprefix(f"{key}: "))


def _key_of_names(paths: Sequence[Path]) -> str:
    names = "\n".join(path.resolve().name for path in paths)
    return f"study-{hashlib.sha256(names.encode(errors='surrogateescape')).hexdigest()[:10]}"


def _files(count: int) -> str:
    return "1 file" if count == 1 else f"{count} files"


def _summary(left_out: Sequence[LeftOut], shown: int = 8) -> str:
    lines = [f"{item.name}: {item.reason}" for item in left_out[:shown]]
    if len(left_out) > shown:
        lines.append(f"and {len(left_out) - shown} more")
    return "; ".join(lines)
