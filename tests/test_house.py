"""The house checks complain about what they should, and about nothing else."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def house() -> ModuleType:
    specification = importlib.util.spec_from_file_location("house", ROOT / "checks" / "house.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def complaints(house: ModuleType, folder: Path, code: str, name: str = "anatomy.py") -> list[str]:
    (folder / name).write_text(code, encoding="utf-8")
    return house.complaints_of_code(folder / name, folder)


def test_a_tidy_file_is_left_alone(house: ModuleType, tmp_path: Path) -> None:
    code = '"""What it is for."""\n\ntry:\n    x = 1\nexcept (KeyError, OSError):\n    x = 2\n'
    assert complaints(house, tmp_path, code) == []


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
def test_each_bad_habit_is_named(house: ModuleType, tmp_path: Path, code: str, complaint: str) -> None:
    found = complaints(house, tmp_path, code)
    assert len(found) == 1 and complaint in found[0]


def test_a_vague_file_name_is_named(house: ModuleType, tmp_path: Path) -> None:
    assert "vague name" in complaints(house, tmp_path, '"""F."""\n', "utils.py")[0]


def test_the_tree_of_a_readme_is_read_with_its_folders(house: ModuleType) -> None:
    readme = (
        "text\n```text\nsrc/msvlm/\n  study.py          Series: voxels\n  imaging/          files -> Study\n"
        "    read.py  nifti.py    the door\n  cli.py\n```\n"
    )
    assert house.readme_tree(readme) == {"study.py", "imaging/read.py", "imaging/nifti.py", "cli.py"}
