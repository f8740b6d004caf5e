"""Folders that are there as a whole or not at all: written aside, then renamed; and the keys that may name them."""

import os
import re
import shutil
import socket
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from msvlm.errors import DataError

_SAFE_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_ASIDE = ".aside-"


def check_key(key: str) -> str:
    """The key, where it can name a folder on any system; keys name folders, so they hold no patient data.

    Raises:
        DataError: the key cannot be a folder's name.
    """
    if not _SAFE_KEY.fullmatch(key) or key.endswith("."):
        raise DataError(
            f"key {key!r} cannot name a folder; wanted 1 to 100 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit"
        )
    return key


@contextmanager
def whole_folder(target: Path) -> Iterator[Path]:
    """An empty folder to write into; it becomes `target` when the block ends well and vanishes when it does not.

    A process that is killed inside the block leaves only a folder aside, which `remove_leftovers` takes away. Where
    another process has made `target` meanwhile, that one stays.
    """
    aside = target.parent / f"{_ASIDE}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}"
    aside.mkdir(parents=True)
    try:
        yield aside
        try:
            aside.rename(target)
        except OSError:
            if not target.is_dir():
                raise
    finally:
        if aside.exists():
            shutil.rmtree(aside)


def write_whole_file(path: Path, text: str) -> None:
    """Writes a text file aside and renames it, over an older one too."""
    aside = path.with_name(f"{_ASIDE}{socket.gethostname()}-{os.getpid()}-{uuid.uuid4().hex}")
    aside.write_text(text, encoding="utf-8")
    aside.replace(path)


def remove_leftovers(folder: Path) -> None:
    """Takes away what processes of this machine that are no longer alive had begun to write in a folder."""
    for path in folder.glob(f"{_ASIDE}{socket.gethostname()}-*"):
        process = path.name.split("-")[-2]
        if process.isdigit() and not _is_alive(int(process)):
            if path.is_dir():
                shutil.rmtree(path)
            else:
                path.unlink()


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
