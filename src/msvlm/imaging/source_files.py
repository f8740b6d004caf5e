"""What a caller points at -> the files in it, told apart by their first bytes: names and extensions mean nothing."""

import gzip
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
    UNREADABLE = "cannot be opened: encrypted, broken or cut short; export it again"


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
        """What the first bytes say."""
        try:
            with self.open_for_header() as stream:
                return _kind_of(stream)
        except UNREADABLE_ARCHIVE:
            return FileKind.UNREADABLE


@contextmanager
def source_files(paths: Sequence[Path]) -> Iterator[tuple[SourceFile, ...]]:
    """All files of folders, zips and single files, in name order; zips stay open inside the `with` block.

    Raises:
        StudyError: a path does not exist, or holds no file.
    """
    with ExitStack() as stack:
        files: list[SourceFile] = []
        for place, path in enumerate(paths, start=1):
            if not path.exists():
                raise StudyError(f"path {place} of {len(paths)} does not exist; pass a folder, a zip or image files")
            for found, archive, member in _walk(path, stack):
                files.append(SourceFile(len(files) + 1, found, archive, member))
        if not files:
            raise StudyError("no file in the input; pass a folder, a zip or image files")
        yield tuple(files)


def _walk(path: Path, stack: ExitStack) -> Iterator[tuple[Path, zipfile.ZipFile | None, str]]:
    if path.is_dir():
        for file in sorted(found for found in path.rglob("*") if found.is_file()):
            yield file, None, ""
    elif zipfile.is_zipfile(path):
        try:
            archive = stack.enter_context(zipfile.ZipFile(path))
        except UNREADABLE_ARCHIVE:
            raise StudyError("the zip is broken or cut short; export it again") from None
        for member in sorted(info.filename for info in archive.infolist() if not info.is_dir()):
            yield path, archive, member
    else:
        yield path, None, ""


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
