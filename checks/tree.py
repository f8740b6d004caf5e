"""The tree of files in docs/architecture.md, each with the first words of its docstring; `--write` updates it."""

import ast
import re
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "architecture.md"
PACKAGE = ROOT / "src" / "msvlm"

_BLOCK = re.compile(r"```text\nsrc/msvlm/\n.*?```", re.DOTALL)
_CAPTION_COLUMN = 30
_WIDTH = 120


def main(arguments: list[str]) -> int:
    """Compares the page with the package, or rewrites it; returns 1 where they differ."""
    page = PAGE.read_text(encoding="utf-8")
    current = _BLOCK.sub(lambda _: tree_block(PACKAGE), page)
    if arguments == ["--write"]:
        PAGE.write_text(current, encoding="utf-8")
    elif current != page:
        print(f"{PAGE.relative_to(ROOT)}: the tree differs from the package; run `make tree`")
        return 1
    return 0


def tree_block(package: Path) -> str:
    """Returns the tree of a package as a block of Markdown: files before folders, sorted by name."""
    return "\n".join(["```text", f"src/{package.name}/", *_lines(package, 1), "```"])


def _lines(folder: Path, depth: int) -> list[str]:
    files = [path for path in folder.glob("*.py") if path.name != "__init__.py" or depth == 1]
    lines = [_line(path.name, path, depth) for path in sorted([*files, *folder.glob("*/*.toml")])]
    for inner in sorted(path for path in folder.iterdir() if (path / "__init__.py").exists()):
        lines += [_line(f"{inner.name}/", inner / "__init__.py", depth), *_lines(inner, depth + 1)]
    return lines


def _line(name: str, documented: Path, depth: int) -> str:
    text = documented.read_text(encoding="utf-8")
    if documented.suffix == ".py":
        text = ast.get_docstring(ast.parse(text)) or ""
    else:
        name, text = f"{documented.parent.name}/{name}", text.lstrip("# ")
    caption = re.split(r"(?<=[a-z0-9)`])\. |\n", text, maxsplit=1)[0].rstrip(".")
    longest = _WIDTH - _CAPTION_COLUMN
    if len(caption) > longest:  # its first clauses
        caption = caption[: max(caption.rfind(mark, 0, longest) for mark in (": ", "; ", ", ", " (", " -> "))]
    indented = f"{'  ' * depth}{name}"
    return f"{indented:<{_CAPTION_COLUMN}}{caption}".rstrip()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
