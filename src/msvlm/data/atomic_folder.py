"""Folders that are there as a whole or not at all: written aside, then renamed."""

import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from msvlm.errors import DataError

_ASIDE = ".aside-"


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """An empty folder to write into; it becomes `target` when the block ends well and vanishes when it does not.

    A process that is killed inside the block leaves only a folder aside, which `remove_leftovers` takes away. Where
    another process has made `target` meanwhile, that one stays.
    """
    with _aside(target.parent) as aside:
        yield aside
        try:
            aside.rename(target)
        except OSError:
            if not target.is_dir():
                raise


def write_atomically(path: Path, text: str) -> None:
    """Writes a text file aside and renames it, over an older one too."""
    aside = path.with_name(_name_aside())
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def replace_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Writes files that belong together into a folder, over older ones of the same names too.

    All are written aside; then the older ones go, and the new ones take their names. However it is stopped, the folder
    never holds new files beside older ones.

    Raises:
        DataError: the folder cannot be written.
    """
    with _told_in_words():
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        with _aside(folder) as aside:
            for name, content in contents.items():
                (aside / name).write_bytes(content)
            for name in contents:
                (folder / name).unlink(missing_ok=True)
            for name in contents:
                (aside / name).replace(folder / name)


def check_writable(folder: Path) -> None:
    """Tries whether files can be written into a folder that may not be there yet; leaves nothing behind.

    Raises:
        DataError: they cannot.
    """
    with _told_in_words():
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        with _aside(folder):
            pass
    with suppress(OSError):  # another process may be writing there by now
        for each in missing:
            each.rmdir()


def remove_leftovers(folder: Path) -> None:
    """Takes away what processes of this machine that are no longer alive had begun to write in a folder."""
    for path in folder.glob(f"{_ASIDE}{socket.gethostname()}-*"):
        process = path.name.split("-")[-2]
        if process.isdigit() and not _is_alive(int(process)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextmanager
def _aside(parent: Path) -> Iterator[Path]:
    """An empty folder beside what is whole, gone when the block ends, however it ends."""
    aside = parent / _name_aside()
    aside.mkdir(parents=True)
    try:
        yield aside
    finally:
        if aside.exists():
            shutil.rmtree(aside)


def _name_aside() -> str:
    """Tells whose it is, so that what a killed process left can be taken away."""
    return f"{_ASIDE}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"


@contextmanager
def _told_in_words() -> Iterator[None]:
    """A failure of the file system, told without a path: folders are often named after patients."""
    try:
        yield
    except OSError as error:
        raise DataError(f"the output folder cannot be written ({error.strerror}); name another one") from error


def _is_alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    try:
        status = Path(f"/proc/{process}/stat").read_text(encoding="utf-8")
    except FileNotFoundError:
        return True
    # A killed process keeps its number until its parent, or who took it over, has asked how it ended.
    return status.rpartition(")")[2].split()[0] != "Z"
