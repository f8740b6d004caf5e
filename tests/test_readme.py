"""What the README and the docs tell a reader to type works."""

import re
import shlex
from pathlib import Path

import pytest
import tyro

from msvlm.cli import Verb

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
        assert program == "msvlm", page
        tyro.cli(Verb, args=arguments)  # type: ignore[call-overload]
    for word in arguments:
        if word.startswith(("configs/", "benchmarks/", "checks/")):
            assert (ROOT / word).exists(), page
