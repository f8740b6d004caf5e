"""Folders that are there as a whole or not at all."""

import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import pytest

from msvlm.errors import DataError
from msvlm.files import (
    check_writable,
    new_folder,
    remove_leftovers,
    replace_files,
    replaced_folder,
    write_file,
)


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    with new_folder(tmp_path / "a") as folder:
        (folder / "x").write_text("1")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a" / "x").read_text() == "1"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def fail_inside(target: Path, write: Callable[[Path], AbstractContextManager[Path]] = new_folder) -> None:
    with write(target) as folder:
        (folder / "x").write_text("1")
        raise DataError("bad")


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="bad"):
        fail_inside(tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_who_comes_second_does_no_harm(tmp_path: Path) -> None:
    with new_folder(tmp_path / "a") as second:
        with new_folder(tmp_path / "a") as first:
            (first / "x").write_text("first")
        (second / "x").write_text("second")
    assert (tmp_path / "a" / "x").read_text() == "first"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_what_a_killed_process_left_is_taken_away_and_what_lives_is_not(tmp_path: Path) -> None:
    script = (
        "import os, sys, pathlib\n"
        "from msvlm.files import new_folder\n"
        "with new_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').write_text('1')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], check=False)
    assert ended.returncode == -9
    assert not (tmp_path / "a").exists()
    assert len(list(tmp_path.iterdir())) == 1
    with new_folder(tmp_path / "b") as folder:
        remove_leftovers(tmp_path)
        assert list(tmp_path.iterdir()) == [folder]


def test_a_folder_is_replaced_as_a_whole_or_not_at_all(tmp_path: Path) -> None:
    for content in ("old", "new"):
        with replaced_folder(tmp_path / "a") as folder:
            (folder / content).write_text(content)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["new"]
    with pytest.raises(DataError, match="bad"):
        fail_inside(tmp_path / "a", replaced_folder)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["new"]
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_file(tmp_path / "a", "old")
    write_file(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def files_in(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


@pytest.mark.parametrize("renamed", [0, 1, 2])
def test_files_that_belong_together_are_never_mixed_with_older_ones_when_killed(tmp_path: Path, renamed: int) -> None:
    old, new = {"a": b"old", "b": b"old"}, {"a": b"new", "b": b"new"}
    replace_files(tmp_path, old)
    script = (
        "import os, sys, pathlib\n"
        "from msvlm.files import replace_files\n"
        "done, rename = [], os.replace\n"
        "def killed_in_time(*names):\n"
        f"    if len(done) == {renamed}: os.kill(os.getpid(), 9)\n"
        "    done.append(rename(*names))\n"
        "os.replace = killed_in_time\n"
        f"replace_files(pathlib.Path(sys.argv[1]), {new})\n"
    )
    subprocess.run([sys.executable, "-c", script, str(tmp_path)], check=False)
    assert set(files_in(tmp_path).values()) == ({"new"} if renamed else set())
    replace_files(tmp_path, old)
    assert files_in(tmp_path) == {"a": "old", "b": "old"}
    assert len(list(tmp_path.iterdir())) == 2


def test_files_that_cannot_all_be_written_leave_the_older_ones(tmp_path: Path) -> None:
    replace_files(tmp_path, {"a": b"old"})
    with pytest.raises(DataError, match="the output folder cannot be written"):
        replace_files(tmp_path, {"a": b"new", "x" * 300: b"new"})
    assert files_in(tmp_path) == {"a": "old"}
    assert len(list(tmp_path.iterdir())) == 1


def test_a_folder_that_cannot_be_written_is_refused_without_its_path(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "deep")
    check_writable(tmp_path)
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="the output folder cannot be written") as refused:
        check_writable(tmp_path / "file")
    assert str(tmp_path) not in str(refused.value)
