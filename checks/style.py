"""Rules of this repository that no other tool checks: lengths, vague names, refused words; prints each violation."""

import ast
import subprocess
import sys
import tokenize
from collections.abc import Iterator
from io import StringIO
from pathlib import Path

LONGEST_FILE = 400
LONGEST_FUNCTION = 80
VAGUE_NAMES = {"utils", "util", "common", "misc", "helpers", "base", "core", "manager", "factory", "registry"}
LARGEST_PICTURE_BYTES = 200_000

REFUSED_NAMES = {"told", "asked", "of_seen", "of_queries", "hidden_share", "nearness", "likeness", "drops_nats"}
REFUSED_PHRASES = (
    "under its line",
    "under no line",
    "is gone on with",
    "less what the null took",
    "whose slices they are",
    "is truly there",
)


def main() -> int:
    """Prints every violation; returns 1 where there is one."""
    root = Path(__file__).resolve().parent.parent
    complaints = [complaint for path in python_files(root) for complaint in complaints_of_code(path, root)]
    for path in [*sorted((root / "src").rglob("*.py")), root / "README.md"]:
        complaints += complaints_of_words(path, root)
    complaints += complaints_of_repository(root)
    for complaint in complaints:
        print(complaint)
    print(f"style: {len(complaints)} violations in {len(python_files(root))} files")
    return 1 if complaints else 0


def python_files(root: Path) -> list[Path]:
    """Returns all Python files of the repository that git does not ignore."""
    return [root / name for name in _known_to_git(root) if name.endswith(".py")]


def complaints_of_code(path: Path, root: Path) -> list[str]:
    """Returns the rules that one Python file breaks."""
    text = path.read_text(encoding="utf-8")
    name = path.relative_to(root).as_posix()
    complaints = []
    lines = text.count("\n")
    if lines > LONGEST_FILE:
        complaints.append(f"{name}: {lines} lines; {LONGEST_FILE} at most, split it by its things")
    if path.stem in VAGUE_NAMES:
        complaints.append(f"{name}: a vague name; name it after the one thing in it")
    tree = ast.parse(text)
    if text.strip() and not name.startswith("tests/") and ast.get_docstring(tree) is None:
        complaints.append(f"{name}: no docstring says what the file is for")
    for node in ast.walk(tree):
        complaints += [f"{name}:{line}: {what}" for line, what in _complaints_of_node(node)]
    return complaints


def complaints_of_words(path: Path, root: Path) -> list[str]:
    """Returns the refused names, whole or as a part of a longer one, and the refused phrases of a file."""
    text = path.read_text(encoding="utf-8")
    found = [(text[: text.index(phrase)].count("\n") + 1, phrase) for phrase in REFUSED_PHRASES if phrase in text]
    if path.suffix == ".py":
        found += [
            (token.start[0], token.string)
            for token in tokenize.generate_tokens(StringIO(text).readline)
            if token.type == tokenize.NAME and any(f"_{name}_" in f"_{token.string}_" for name in REFUSED_NAMES)
        ]
    name = path.relative_to(root).as_posix()
    return [f"{name}:{line}: '{what}'; say it plainly" for line, what in sorted(found)]


def complaints_of_repository(root: Path) -> list[str]:
    """Returns the pictures that are too large, and whether the lock file names a host."""
    complaints = []
    for name in _known_to_git(root):
        path = root / name
        if path.suffix == ".png" and path.stat().st_size > LARGEST_PICTURE_BYTES:
            complaints.append(f"{name}: {path.stat().st_size} bytes; {LARGEST_PICTURE_BYTES} at most for a picture")
    if "://" in (root / "requirements.lock").read_text(encoding="utf-8"):
        complaints.append("requirements.lock: names a host; make it with `make lock`")
    return complaints


def _complaints_of_node(node: ast.AST) -> Iterator[tuple[int, str]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        length = (node.end_lineno or node.lineno) - node.lineno + 1
        if length > LONGEST_FUNCTION:
            yield node.lineno, f"{node.name} has {length} lines; {LONGEST_FUNCTION} at most"
    if isinstance(node, ast.ExceptHandler) and _catches_all(node):
        yield node.lineno, "catches every exception; name those that are expected"
    if isinstance(node, ast.ImportFrom) and node.module == "typing":
        for alias in node.names:
            if alias.name in {"Any", "cast"}:
                yield node.lineno, f"typing.{alias.name}; say what it is"


def _catches_all(handler: ast.ExceptHandler) -> bool:
    caught = handler.type.elts if isinstance(handler.type, ast.Tuple) else [handler.type]
    return any(
        kind is None or (isinstance(kind, ast.Name) and kind.id in {"Exception", "BaseException"}) for kind in caught
    )


def _known_to_git(root: Path) -> list[str]:
    listing = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    )
    return [name for name in listing.stdout.splitlines() if (root / name).exists()]


if __name__ == "__main__":
    sys.exit(main())
