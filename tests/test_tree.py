"""The tree of files in the docs is made of the files' docstrings."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def tree() -> ModuleType:
    specification = importlib.util.spec_from_file_location("tree", ROOT / "checks" / "tree.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_each_file_stands_in_its_folder_with_the_first_words_of_its_docstring(tree: ModuleType, tmp_path: Path) -> None:
    package = tmp_path / "toy"
    (package / "inner").mkdir(parents=True)
    (package / "__init__.py").write_text('"""A toy. More."""\n', encoding="utf-8")
    (package / "study.py").write_text('"""Series: voxels.\n\nMore.\n"""\n', encoding="utf-8")
    (package / "inner" / "__init__.py").write_text('"""Files -> Study."""\n', encoding="utf-8")
    (package / "inner" / "read.py").write_text('"""read(): any file."""\n', encoding="utf-8")
    assert tree.tree_block(package).splitlines() == [
        "```text",
        "src/toy/",
        "  __init__.py                 A toy",
        "  study.py                    Series: voxels",
        "  inner/                      Files -> Study",
        "    read.py                   read(): any file",
        "```",
    ]


def test_the_page_lists_the_package_as_it_is(tree: ModuleType) -> None:
    assert tree.main([]) == 0
