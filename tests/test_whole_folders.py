"""Folders that are there as a whole or not at all."""

import subprocess
import sys
from pathlib import Path

import pytest

from msvlm.data.whole_folders import check_key, remove_leftovers, whole_folder, write_whole_file
from msvlm.errors import DataError


def test_a_folder_appears_when_it_is_whole(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "a") as folder:
        (folder / "x").write_text("1")
        assert not (tmp_path / "a").exists()
    assert (tmp_path / "a" / "x").read_text() == "1"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def fail_inside(target: Path) -> None:
    with whole_folder(target) as folder:
        (folder / "x").write_text("1")
        raise DataError("bad")


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="bad"):
        fail_inside(tmp_path / "a")
    assert not list(tmp_path.iterdir())


def test_who_comes_second_does_no_harm(tmp_path: Path) -> None:
    with whole_folder(tmp_path / "a") as second:
        with whole_folder(tmp_path / "a") as first:
            (first / "x").write_text("first")
        (second / "x").write_text("second")
    assert (tmp_path / "a" / "x").read_text() == "first"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


def test_what_a_killed_process_left_is_taken_away_and_what_lives_is_not(tmp_path: Path) -> None:
    script = (
        "import os, sys, pathlib\n"
        "from msvlm.data.whole_folders import whole_folder\n"
        "with whole_folder(pathlib.Path(sys.argv[1])) as folder:\n"
        "    (folder / 'half').write_text('1')\n"
        "    os.kill(os.getpid(), 9)\n"
    )
    ended = subprocess.run([sys.executable, "-c", script, str(tmp_path / "a")], check=False)
    assert ended.returncode == -9
    assert not (tmp_path / "a").exists()
    assert len(list(tmp_path.iterdir())) == 1
    with whole_folder(tmp_path / "b") as folder:
        remove_leftovers(tmp_path)
        assert list(tmp_path.iterdir()) == [folder]


def test_a_file_is_replaced_as_a_whole(tmp_path: Path) -> None:
    write_whole_file(tmp_path / "a", "old")
    write_whole_file(tmp_path / "a", "new")
    assert (tmp_path / "a").read_text() == "new"
    assert list(tmp_path.iterdir()) == [tmp_path / "a"]


@pytest.mark.parametrize("key", ["", "a/b", "..", ".a", "a.", "a b", "ä", "x" * 101, "a\n"])
def test_keys_that_cannot_name_a_folder_are_refused(key: str) -> None:
    with pytest.raises(DataError, match="cannot name a folder"):
        check_key(key)


@pytest.mark.parametrize("key", ["a", "valid_1_a_1", "1.2.840.113", "phantom-000001"])
def test_plain_keys_are_taken(key: str) -> None:
    assert check_key(key) == key
