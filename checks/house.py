"""The habits of this repository that no other tool checks; run it to see each place that breaks one."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

LONGEST_FILE = 400
LONGEST_FUNCTION = 80
VAGUE_NAMES = {"utils", "util", "common", "misc", "helpers", "base", "core", "manager", "factory", "registry"}
LARGEST_PICTURE_BYTES = 200_000

_TREE_ENTRY = re.compile(r"^(?P<indent> *)(?P<names>[\w.*/-]+(?:  ?[\w.*-]+\.\w+)*)(?: {2,}\S.*)?$")


def main() -> int:
    """Prints every complaint; 1 where there is one."""
    root = Path(__file__).resolve().parent.parent
    complaints = [complaint for path in python_files(root) for complaint in complaints_of_code(path, root)]
    complaints += complaints_of_tree(root)
    complaints += complaints_of_repository(root)
    for complaint in complaints:
        print(complaint)
    print(f"house: {len(complaints)} complaints in {len(python_files(root))} files")
    return 1 if complaints else 0


def python_files(root: Path) -> list[Path]:
    """All Python files of the repository, those that git ignores aside."""
    return [root / name for name in _known_to_git(root) if name.endswith(".py")]


def complaints_of_code(path: Path, root: Path) -> list[str]:
    """What one Python file does that this house does not do."""
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


def complaints_of_tree(root: Path) -> list[str]:
    """Where the README's tree and the package's folder differ."""
    listed = readme_tree((root / "README.md").read_text(encoding="utf-8"))
    package = root / "src" / "msvlm"
    present = {
        path.relative_to(package).as_posix()
        for path in python_files(root)
        if path.is_relative_to(package) and not (path.name == "__init__.py" and path.parent != package)
    }
    complaints = [f"README.md: the tree lists {name}, which is not there" for name in sorted(listed - present)]
    return complaints + [f"README.md: the tree does not list {name}" for name in sorted(present - listed)]


def readme_tree(text: str) -> set[str]:
    """The Python files that the tree under `src/msvlm/` in the README names."""
    block = re.search(r"```text\nsrc/msvlm/\n(.*?)```", text, re.DOTALL)
    if block is None:
        return set()
    files, folders = set(), [""]
    for line in block.group(1).splitlines():
        entry = _TREE_ENTRY.match(line)
        if entry is None:
            continue
        depth = len(entry["indent"]) // 2
        folders = folders[:depth]
        for name in entry["names"].split():
            if name.endswith("/"):
                folders.append(folders[-1] + name if folders else name)
            elif name.endswith(".py"):
                files.add((folders[-1] if folders else "") + name)
    return files


def complaints_of_repository(root: Path) -> list[str]:
    """Large pictures, and package sources that hold only on one machine."""
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
