"""Finds the files of a folder, a zip file or a list of paths, and their kind by their first bytes, not their names."""

import gzip
import os
import struct
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from enum import Enum
from io import BytesIO
from pathlib import Path
from typing import IO, BinaryIO

from msvlm.errors import StudyError
from msvlm.study import LeftOut

UNREADABLE_ARCHIVE = (OSError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)
"""Exceptions of opening or unpacking a corrupt, encrypted or deleted file."""

_HEAD_BYTES = 400


class FileKind(Enum):
    """Kind of a file; the value is the reason given where files of this kind are left out."""

    DICOM = "DICOM"
    NIFTI = "NIfTI"
    NIFTI_PAIR = "NIfTI in two files (.hdr and .img); convert it to one .nii"
    ZIP = "a zip file inside the input; unpack it and pass it separately"
    OTHER = "neither DICOM nor NIfTI"
    UNREADABLE = "cannot be opened: no read permission, a broken link, encrypted or truncated; export it again"


@dataclass(frozen=True)
class SourceFile:
    """One file of the input, on disk or in a zip file.

    Attributes:
        number: its position among all files of the input in name order, from 1; messages use it instead of the name,
            which may contain patient data.
        path: the file, or the zip file that contains it.
        archive: the open zip file, None for a file on disk.
        member: its name in the zip file.
    """

    number: int
    path: Path
    archive: zipfile.ZipFile | None = None
    member: str = ""

    def open(self) -> BinaryIO:
        """Opens the file; a member of a zip file is unpacked into memory."""
        if self.archive is None:
            return self.path.open("rb")
        return BytesIO(self.archive.read(self.member))

    def open_for_header(self) -> BinaryIO | IO[bytes]:
        """Opens the file for reading its beginning; a member of a zip file is unpacked only as far as it is read."""
        return self.open() if self.archive is None else self.archive.open(self.member)

    @property
    def kind(self) -> FileKind:
        """Kind of the file by its first bytes. Pipes and broken links are not opened: opening a pipe may block."""
        try:
            if self.archive is None and not self.path.is_file():
                return FileKind.UNREADABLE
            with self.open_for_header() as stream:
                return _detect_kind(stream)
        except UNREADABLE_ARCHIVE:
            return FileKind.UNREADABLE


@dataclass(frozen=True)
class InputFiles:
    """All files of an input in name order, and the folders that were not searched."""

    files: tuple[SourceFile, ...]
    left_out: tuple[LeftOut, ...]


@contextmanager
def open_input(paths: Sequence[Path]) -> Iterator[InputFiles]:
    """Lists the files of folders, zip files and single files; zip files stay open inside the `with` block.

    Raises:
        StudyError: a path does not exist, or there is no file that can be reached.
    """
    with ExitStack() as stack:
        files: list[SourceFile] = []
        folders: list[LeftOut] = []
        for place, path in enumerate(paths, start=1):
            if not path.exists():
                raise StudyError(
                    f"path {place} of {len(paths)} does not exist; pass a folder, a zip file or image files"
                )
            if path.is_dir():
                found, reasons = _walk_folder(path)
                files += [SourceFile(len(files) + number, file) for number, file in enumerate(found, start=1)]
                folders += reasons
            else:
                archive, members = _open_archive(path, stack)
                for member in members:
                    files.append(SourceFile(len(files) + 1, path, archive, member))
        left_out = tuple(
            LeftOut(f"folder {number}", folder.reason)
            for number, folder in enumerate(folders, start=1)
            if folder.reason
        )
        if not files:
            details = "".join(f"; {each.name}: {each.reason}" for each in left_out)
            raise StudyError(f"the input contains no files{details}; pass a folder, a zip file or image files")
        yield InputFiles(tuple(files), left_out)


def describe_files(sources: Sequence[SourceFile]) -> str:
    """Names files by their position in name order, because file names may contain patient data."""
    numbers = ", ".join(str(source.number) for source in sources[:5])
    more = f" and {len(sources) - 5} more" if len(sources) > 5 else ""
    return f"file {numbers}" if len(sources) == 1 else f"files {numbers}{more}"


def _walk_folder(top: Path) -> tuple[list[Path], list[LeftOut]]:
    """Returns all files below a folder and all its folders, in name order, with an empty reason for folders read.

    Symbolic links to folders are not followed: they may form cycles or lead to another patient.
    """
    files: list[Path] = []
    reasons: dict[Path, str] = {top: ""}

    def note(error: OSError) -> None:
        reasons[Path(error.filename)] = f"cannot be opened ({error.strerror}); grant read permission, or copy it"

    for folder, names, file_names in os.walk(top, onerror=note):
        for path in (Path(folder, name) for name in names):
            is_link = os.path.islink(path)  # noqa: PTH114  pathlib's version raises without read permission
            reasons.setdefault(path, "a link to a folder, not followed; pass that folder separately" if is_link else "")
        files += [Path(folder, name) for name in file_names]
    return sorted(files), [LeftOut("", reasons[path]) for path in sorted(reasons)]


def _open_archive(path: Path, stack: ExitStack) -> tuple[zipfile.ZipFile | None, list[str]]:
    """Opens a zip file and returns the names of its members; for any other file, None and one empty name."""
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return None, [""]
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except UNREADABLE_ARCHIVE:
        raise StudyError("the zip file is corrupt or truncated; export it again") from None
    return archive, sorted(info.filename for info in archive.infolist() if not info.is_dir())


def _detect_kind(stream: BinaryIO | IO[bytes]) -> FileKind:
    head = stream.read(_HEAD_BYTES)
    if head[:2] == b"\x1f\x8b":
        stream.seek(0)
        with gzip.GzipFile(fileobj=stream) as unpacked:
            return _detect_nifti(unpacked.read(_HEAD_BYTES))
    if head[128:132] == b"DICM" or _starts_like_bare_dicom(head):
        return FileKind.DICOM
    if head[:4] == b"PK\x03\x04":
        return FileKind.ZIP
    return _detect_nifti(head)


def _starts_like_bare_dicom(head: bytes) -> bool:
    """Whether the first element has group 2 or 8: DICOM without a preamble, as old software exports it."""
    if len(head) < 8:
        return False
    little, big = struct.unpack("<HH", head[:4]), struct.unpack(">HH", head[:4])
    return any(group in {0x0002, 0x0008} and element <= 0x0070 for group, element in (little, big))


def _detect_nifti(head: bytes) -> FileKind:
    if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
        return FileKind.NIFTI
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        return FileKind.NIFTI_PAIR
    return FileKind.OTHER
