"""The style checks complain about what they should, and about nothing else."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def style() -> ModuleType:
    specification = importlib.util.spec_from_file_location("style", ROOT / "checks" / "style.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def complaints(style: ModuleType, folder: Path, code: str, name: str = "anatomy.py") -> list[str]:
    (folder / name).write_text(code, encoding="utf-8")
    return style.complaints_of_code(folder / name, folder)


def test_a_tidy_file_is_left_alone(style: ModuleType, tmp_path: Path) -> None:
    code = '"""What it is for."""\n\ntry:\n    x = 1\nexcept (KeyError, OSError):\n    x = 2\n'
    assert complaints(style, tmp_path, code) == []


@pytest.mark.parametrize(
    ("code", "complaint"),
    [
        ('"""F."""\n' + "x = 1\n" * 400, "401 lines; 400 at most"),
        ('"""F."""\ndef f():\n' + "    x = 1\n" * 80, "f has 81 lines; 80 at most"),
        ("x = 1\n", "no docstring"),
        ('"""F."""\ntry:\n    x = 1\nexcept Exception:\n    raise\n', "catches every exception"),
        ('"""F."""\ntry:\n    x = 1\nexcept (KeyError, Exception):\n    raise\n', "catches every exception"),
        ('"""F."""\ntry:\n    x = 1\nexcept:\n    raise\n', "catches every exception"),
        ('"""F."""\nfrom typing import Any\n', "typing.Any"),
    ],
)
def test_each_bad_habit_is_named(style: ModuleType, tmp_path: Path, code: str, complaint: str) -> None:
    found = complaints(style, tmp_path, code)
    assert len(found) == 1 and complaint in found[0]


def test_a_vague_file_name_is_named(style: ModuleType, tmp_path: Path) -> None:
    assert "vague name" in complaints(style, tmp_path, '"""F."""\n', "utils.py")[0]


@pytest.mark.parametrize(
    "line", ["told = 1", "x = of_seen", "def _asked_for(): ...", "drops_nats: float", "# less what the null took"]
)
def test_each_refused_word_is_named(style: ModuleType, tmp_path: Path, line: str) -> None:
    (tmp_path / "a.py").write_text(f"# fine\n{line}\n", encoding="utf-8")
    found = style.complaints_of_words(tmp_path / "a.py", tmp_path)
    assert len(found) == 1 and found[0].startswith("a.py:2: ")


def test_ordinary_words_are_left_alone(style: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text('"""Rows, drawn as they were asked for."""\nseen = masked = 1\n', encoding="utf-8")
    assert style.complaints_of_words(tmp_path / "a.py", tmp_path) == []
