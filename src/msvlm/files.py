"""Files and folders that exist as a whole or not at all: written under a temporary name beside, then renamed."""

import os
import shutil
import socket
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from msvlm.errors import DataError

_TEMPORARY = ".temporary-"
_PREVIOUS = ".previous-"


@contextmanager
def new_folder(target: Path) -> Iterator[Path]:
    """Gives an empty folder to write into, which becomes `target` when the block ends without an error.

    A process that is killed inside the block leaves only a temporary folder, which `remove_leftovers` deletes. Where
    another process has made `target` in the meantime, that one stays.
    """
    with _temporary_folder(target.parent) as temporary:
        yield temporary
        try:
            temporary.rename(target)
        except OSError:
            if not target.is_dir():
                raise


@contextmanager
def replaced_folder(target: Path) -> Iterator[Path]:
    """Gives an empty folder to write into, which takes the place of `target` when the block ends without an error."""
    previous = target.with_name(f"{_PREVIOUS}{target.name}")
    with _temporary_folder(target.parent) as temporary:
        yield temporary
        if target.exists():
            shutil.rmtree(previous, ignore_errors=True)
            target.rename(previous)
        temporary.rename(target)
        shutil.rmtree(previous, ignore_errors=True)


def write_file(path: Path, text: str) -> None:
    """Writes a text file as a whole, over an older one too."""
    temporary = path.with_name(_temporary_name())
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(path)


def replace_files(folder: Path, contents: Mapping[str, bytes]) -> None:
    """Writes files that belong together into a folder, over older ones of the same names too.

    All are written under temporary names; then the older ones are deleted, and the new ones renamed. However it is
    stopped, the folder never holds new files beside older ones.

    Raises:
        DataError: the folder cannot be written.
    """
    with _without_path_in_errors():
        folder.mkdir(parents=True, exist_ok=True)
        remove_leftovers(folder)
        with _temporary_folder(folder) as temporary:
            for name, content in contents.items():
                (temporary / name).write_bytes(content)
            for name in contents:
                (folder / name).unlink(missing_ok=True)
            for name in contents:
                (temporary / name).replace(folder / name)


def check_writable(folder: Path) -> None:
    """Tries to write into a folder that may not exist yet, and leaves nothing behind.

    Raises:
        DataError: the folder cannot be written.
    """
    with _without_path_in_errors():
        missing = [each for each in (folder, *folder.parents) if not each.exists()]
        with _temporary_folder(folder):
            pass
    with suppress(OSError):  # another process may have written into it by now
        for each in missing:
            each.rmdir()


def remove_leftovers(folder: Path) -> None:
    """Deletes from a folder what processes of this machine had begun to write before they were killed."""
    for path in folder.glob(f"{_TEMPORARY}{socket.gethostname()}-*"):
        process = path.name.split("-")[-2]
        if process.isdigit() and not _is_alive(int(process)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextmanager
def _temporary_folder(parent: Path) -> Iterator[Path]:
    """Gives an empty folder that is deleted when the block ends, unless it was renamed."""
    temporary = parent / _temporary_name()
    temporary.mkdir(parents=True)
    try:
        yield temporary
    finally:
        if temporary.exists():
            shutil.rmtree(temporary)


def _temporary_name() -> str:
    """Returns a new name that holds the machine and the process, so that leftovers of a killed one are recognised."""
    return f"{_TEMPORARY}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"


@contextmanager
def _without_path_in_errors() -> Iterator[None]:
    """Raises a failure of the file system as an error without its path: folders are often named after patients."""
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
    # A killed process keeps its number until its parent has collected its exit status.
    return status.rpartition(")")[2].split()[0] != "Z"
