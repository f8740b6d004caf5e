"""What the README and the docs tell a reader to type works."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest
import tyro

from msvlm.cli import Verb
from msvlm.imaging.dicom.write import write_dicom
from msvlm.phantom.chest.chest_ct import draw_chest_ct

ROOT = Path(__file__).resolve().parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


def commands() -> list[tuple[str, str]]:
    lines = [(page.name, line) for page in PAGES for block in blocks(page, "bash") for line in block.splitlines()]
    return [(name, line.split("#", maxsplit=1)[0].strip()) for name, line in lines if line.strip()]


def test_the_readme_names_its_two_commands() -> None:
    assert {"make demo", "make test"} <= {line for _, line in commands()}


@pytest.mark.parametrize(("page", "line"), commands())
def test_each_command_is_one_that_there_is(page: str, line: str) -> None:
    words = shlex.split(line)
    program, arguments = Path(words[0]).name, words[1:]
    if program == "make":
        makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
        assert re.search(rf"^{arguments[0]}:", makefile, re.MULTILINE), page
    else:
        if program == "torchrun":
            program, *arguments = arguments[arguments.index("-m") + 1 :]
        assert program == "msvlm", page
        tyro.cli(Verb, args=arguments)  # type: ignore[call-overload]  # a union of verbs is no type to mypy
    for word in arguments:
        if word.startswith(("configs/", "benchmarks/", "checks/")):
            assert (ROOT / word).exists(), page


@pytest.mark.parametrize("block", blocks(ROOT / "README.md", "python"))
def test_the_python_of_the_readme_runs(block: str, tmp_path: Path) -> None:
    write_dicom(draw_chest_ct(900_001).study, tmp_path / "scans" / "patient-17")
    ran = subprocess.run([sys.executable, "-c", block], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert "Evidence(series_key=" in ran.stdout
