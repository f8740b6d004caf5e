"""What a caller points at -> the files in it, told apart by their first bytes: names and extensions mean nothing."""

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
"""What opening or unpacking a broken, encrypted or vanished file raises."""

_HEAD_BYTES = 400


class FileKind(Enum):
    """What a file is; each value says so in a sentence about files that are not read."""

    DICOM = "DICOM"
    NIFTI = "NIfTI"
    NIFTI_PAIR = "NIfTI in two files (.hdr and .img); convert it to one .nii"
    ZIP = "a zip within the input; unpack it and pass it by itself"
    OTHER = "neither DICOM nor NIfTI"
    UNREADABLE = "cannot be opened: no right to read it, a broken link, encrypted or cut short; export it again"


@dataclass(frozen=True)
class SourceFile:
    """One file of the input, on disk or in a zip.

    Attributes:
        number: its place among all files of the input in name order, from 1; messages use it, as names hold patients.
        path: the file, or the zip that holds it.
        archive: the open zip, None for a file on disk.
        member: its name in the zip.
    """

    number: int
    path: Path
    archive: zipfile.ZipFile | None = None
    member: str = ""

    def open(self) -> BinaryIO:
        """The file from its first byte; a file of a zip is unpacked into memory."""
        if self.archive is None:
            return self.path.open("rb")
        return BytesIO(self.archive.read(self.member))

    def open_for_header(self) -> BinaryIO | IO[bytes]:
        """The same, for who reads only the beginning: a file of a zip is unpacked as far as it is read."""
        return self.open() if self.archive is None else self.archive.open(self.member)

    @property
    def kind(self) -> FileKind:
        """What the first bytes say. A pipe or a link that leads nowhere is not opened: it might never answer."""
        try:
            if self.archive is None and not self.path.is_file():
                return FileKind.UNREADABLE
            with self.open_for_header() as stream:
                return _kind_of(stream)
        except UNREADABLE_ARCHIVE:
            return FileKind.UNREADABLE


@dataclass(frozen=True)
class InputFiles:
    """All files of an input in name order, and the folders of it that were not looked into."""

    files: tuple[SourceFile, ...]
    left_out: tuple[LeftOut, ...]


@contextmanager
def source_files(paths: Sequence[Path]) -> Iterator[InputFiles]:
    """All files of folders, zips and single files; zips stay open inside the `with` block.

    Raises:
        StudyError: a path does not exist, or holds no file that can be reached.
    """
    with ExitStack() as stack:
        files: list[SourceFile] = []
        folders: list[LeftOut] = []
        for place, path in enumerate(paths, start=1):
            if not path.exists():
                raise StudyError(f"path {place} of {len(paths)} does not exist; pass a folder, a zip or image files")
            if path.is_dir():
                found, reasons = _in_folder(path)
                files += [SourceFile(len(files) + number, file) for number, file in enumerate(found, start=1)]
                folders += reasons
            else:
                archive, members = _in_file(path, stack)
                for member in members:
                    files.append(SourceFile(len(files) + 1, path, archive, member))
        left_out = tuple(
            LeftOut(f"folder {number}", folder.reason)
            for number, folder in enumerate(folders, start=1)
            if folder.reason
        )
        if not files:
            told = "; ".join(f"{each.name}: {each.reason}" for each in left_out)
            raise StudyError(f"no file in the input{': ' if told else ''}{told}; pass a folder, a zip or image files")
        yield InputFiles(tuple(files), left_out)


def named_files(sources: Sequence[SourceFile]) -> str:
    """Files by their place in name order: a name may hold a patient's."""
    numbers = ", ".join(str(source.number) for source in sources[:5])
    more = f" and {len(sources) - 5} more" if len(sources) > 5 else ""
    return f"file {numbers}" if len(sources) == 1 else f"files {numbers}{more}"


def _in_folder(top: Path) -> tuple[list[Path], list[LeftOut]]:
    """Its files and all its folders, itself first, both in name order; each folder's reason is empty where it is read.

    Links to folders are not followed: they may lead in circles, or to another patient.
    """
    files: list[Path] = []
    reasons: dict[Path, str] = {top: ""}

    def note(error: OSError) -> None:
        reasons[Path(error.filename)] = f"cannot be opened ({error.strerror}); give the right to read it, or copy it"

    for folder, names, file_names in os.walk(top, onerror=note):
        for path in (Path(folder, name) for name in names):
            is_link = os.path.islink(path)  # noqa: PTH114  pathlib's raises where it may not look
            reasons.setdefault(path, "a link to a folder, not followed; pass that folder by itself" if is_link else "")
        files += [Path(folder, name) for name in file_names]
    return sorted(files), [LeftOut("", reasons[path]) for path in sorted(reasons)]


def _in_file(path: Path, stack: ExitStack) -> tuple[zipfile.ZipFile | None, list[str]]:
    """A zip, opened, with its files' names; any other file with one empty name."""
    if not (path.is_file() and zipfile.is_zipfile(path)):
        return None, [""]
    try:
        archive = stack.enter_context(zipfile.ZipFile(path))
    except UNREADABLE_ARCHIVE:
        raise StudyError("the zip is broken or cut short; export it again") from None
    return archive, sorted(info.filename for info in archive.infolist() if not info.is_dir())


def _kind_of(stream: BinaryIO | IO[bytes]) -> FileKind:
    head = stream.read(_HEAD_BYTES)
    if head[:2] == b"\x1f\x8b":
        stream.seek(0)
        with gzip.GzipFile(fileobj=stream) as unpacked:
            return _nifti_kind(unpacked.read(_HEAD_BYTES))
    if head[128:132] == b"DICM" or _starts_like_bare_dicom(head):
        return FileKind.DICOM
    if head[:4] == b"PK\x03\x04":
        return FileKind.ZIP
    return _nifti_kind(head)


def _starts_like_bare_dicom(head: bytes) -> bool:
    """A first element of group 2 or 8: DICOM without the preamble, as old exports write it."""
    if len(head) < 8:
        return False
    little, big = struct.unpack("<HH", head[:4]), struct.unpack(">HH", head[:4])
    return any(group in {0x0002, 0x0008} and element <= 0x0070 for group, element in (little, big))


def _nifti_kind(head: bytes) -> FileKind:
    if head[344:348] == b"n+1\0" or head[4:8] == b"n+2\0":
        return FileKind.NIFTI
    if head[344:348] == b"ni1\0" or head[4:8] == b"ni2\0":
        return FileKind.NIFTI_PAIR
    return FileKind.OTHER
