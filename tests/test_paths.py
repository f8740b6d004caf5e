"""The reading paths hold what runs, and what one must have read to follow it; too long a path is named."""

import importlib
import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent

SHAPES = '''"""Shapes."""

from dataclasses import dataclass

UNUSED = 1


@dataclass(frozen=True)
class Square:
    """A square.

    Attributes:
        side_mm: of each side.
    """

    side_mm: float

    def perimeter_mm(self) -> float:
        return 4 * self.side_mm


class Scale:
    """Makes larger."""

    def __init__(self, factor: float) -> None:
        self.factor = factor

    def unused(self) -> None:
        raise NotImplementedError

    def enlarge(self, square: Square) -> Square:
        return Square(self.factor * square.side_mm)
'''
DOOR = '''"""The door."""

from toy_paths.shapes import Scale, Square


def double(side_mm: float) -> Square:
    """A square of twice the side."""
    sides = [side for side in (side_mm,)]
    return Scale(2.0).enlarge(Square(sides[0]))


def unused() -> None:
    raise NotImplementedError
'''


@pytest.fixture(scope="module")
def paths() -> ModuleType:
    specification = importlib.util.spec_from_file_location("paths", ROOT / "checks" / "paths.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def lines_with(source: str, *words: str) -> set[int]:
    lines = source.splitlines()
    found = {number for number, line in enumerate(lines, start=1) for word in words if word in line}
    assert len(found) == len(words)
    return found


def test_one_reads_what_runs_and_how_its_class_is_built(paths: ModuleType) -> None:
    lines = paths.lines_to_read(SHAPES, lines_with(SHAPES, "def enlarge"), set())
    assert lines_with(SHAPES, '"""Shapes', "class Scale", "Makes larger", "def __init__", "def enlarge") <= lines
    assert not lines_with(SHAPES, "UNUSED", "class Square", "def unused", "raise NotImpl") & lines


def test_one_reads_the_fields_of_plain_data_and_not_its_methods(paths: ModuleType) -> None:
    lines = paths.lines_to_read(SHAPES, set(), {"Square"})
    assert lines_with(SHAPES, "@dataclass", "class Square", "side_mm: of each", "side_mm: float") <= lines
    assert not lines_with(SHAPES, "def perimeter", "class Scale", "def enlarge") & lines


def test_a_path_has_the_files_that_it_enters_in_their_order(
    paths: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    package = tmp_path / "toy_paths"
    package.mkdir()
    for name, source in (("__init__", ""), ("shapes", SHAPES), ("door", DOOR), ("aside", '"""Not entered."""\n')):
        (package / f"{name}.py").write_text(source, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    door = importlib.import_module("toy_paths.door")
    path = paths.follow("doubling", lambda: door.double(3.0), package)
    assert [(file.name, file.entry) for file in path.files] == [("door.py", "double"), ("shapes.py", "Scale.__init__")]
    assert path.files[0].lines == 5 and path.files[0].whole_lines == DOOR.count("\n")
    doors = (importlib.import_module("toy_paths.shapes").Scale.enlarge,)
    to_the_door = paths.follow("doubling", lambda: door.double(3.0), package, doors)
    assert to_the_door.doors == ("Scale.enlarge",)
    assert to_the_door.lines == path.lines - 2  # the door's own lines
    assert to_the_door.files[0].lines == 5  # what runs after it is followed again
    only_built = paths.follow("a square", lambda: door.Square(1.0), package)
    assert [(file.name, file.entry) for file in only_built.files] == [("shapes.py", "")]
    assert only_built.entered == 0 and only_built.lines == 9


@pytest.mark.parametrize(
    ("files", "lines", "complaints"),
    [
        (10, 199, []),
        (11, 100, ["one report: 11 files; fewer than 11 are wanted"]),
        (10, 200, ["one report: 2000 lines; fewer than 2000 are wanted"]),
    ],
)
def test_a_path_that_is_too_long_is_named(paths: ModuleType, files: int, lines: int, complaints: list[str]) -> None:
    path = paths.ReadingPath("one report", (paths.FileOnPath("a.py", "f", lines, 300),) * files)
    assert path.complaints() == complaints
