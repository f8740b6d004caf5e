"""How much of this package one reads to follow one training step or one report: `make paths`.

Each path is run, with a model of toy size, and what runs is noted: a file is on a path where one of its functions runs.
Of such a file one reads those functions and, of their classes, the head and how they are built, docstrings included;
its whole length stands beside that. A class of plain data that is only built has no function that runs: its lines count
and its file is named, but not as one of the path's files.

A path ends at a door: a function whose name says what comes out, so that one need not look behind it. What lies behind
each door of a report is a path of its own, as limited: a study made ready, the model's pass, words labeled. A training
step has no doors. Files read into a study, and a report with all its doors open, are shown without a limit.
"""

import ast
import sys
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import CodeType, FrameType, FunctionType, TracebackType

from tiny_paths import read_and_write, steps_of_findings, tiny_reporter
from tiny_reader import NODULE_REPORT, tiny_batch, tiny_study, untrained_tiny_reader

import msvlm
from msvlm.imaging.dicom.write import write_dicom
from msvlm.imaging.field_of_view import share_outside_field
from msvlm.imaging.preprocess import prepare_study
from msvlm.imaging.read import read_study
from msvlm.labeling import label_report, label_sentence, split_sentences
from msvlm.model.ms_vlm import MsVlm

FILES_BELOW = 11
LINES_BELOW = 2000

REPORT_DOORS = (
    prepare_study,
    share_outside_field,
    MsVlm.encode,
    MsVlm.read,
    MsVlm.generate,
    MsVlm.logits,
    split_sentences,
    label_sentence,
)

_CONSTRUCTORS = {"__init__", "__post_init__"}
_FUNCTION = (ast.FunctionDef, ast.AsyncFunctionDef)


@dataclass(frozen=True)
class FileOnPath:
    """What one reads of a file.

    Attributes:
        name: below the package.
        entry: the function by which the path enters it; empty where only its classes of plain data are built.
        lines, whole_lines: to read, and of the whole file.
    """

    name: str
    entry: str
    lines: int
    whole_lines: int


@dataclass(frozen=True)
class ReadingPath:
    """The files that one reads to follow something, in the order in which it enters them.

    Attributes:
        doors: the functions behind which it was not followed.
    """

    title: str
    files: tuple[FileOnPath, ...]
    doors: tuple[str, ...] = ()

    @property
    def entered(self) -> int:
        """How many files have a function that runs."""
        return sum(bool(file.entry) for file in self.files)

    @property
    def lines(self) -> int:
        """To read, over all files."""
        return sum(file.lines for file in self.files)

    @property
    def whole_lines(self) -> int:
        """Of all files that have a function that runs."""
        return sum(file.whole_lines for file in self.files if file.entry)

    def table(self) -> str:
        """A line a file, and their sums."""
        rows = [f"{self.title}", f"  {'file':30} {'read':>5} {'whole':>5}  enters by"]
        rows += [
            f"  {file.name:30} {file.lines:5} {file.whole_lines:5}  {file.entry or '(plain data)'}"
            for file in self.files
        ]
        rows.append(f"  {f'{self.entered} files':30} {self.lines:5} {self.whole_lines:5}")
        return "\n".join(rows + ([f"  doors: {', '.join(self.doors)}"] if self.doors else []))

    def complaints(self) -> list[str]:
        """What of it is too much."""
        found = []
        if self.entered >= FILES_BELOW:
            found.append(f"{self.title}: {self.entered} files; fewer than {FILES_BELOW} are wanted")
        if self.lines >= LINES_BELOW:
            found.append(f"{self.title}: {self.lines} lines; fewer than {LINES_BELOW} are wanted")
        return found


class Trace:
    """What of a package runs inside a `with`.

    Attributes:
        ran: the code of its functions, in the order in which they first ran.
        built: its classes of plain data, in the order in which they were first built.
        passed: the doors that were gone through; what ran behind them is not noted.
    """

    def __init__(self, package: Path, doors: tuple[Callable[..., object], ...] = ()) -> None:
        self.ran: dict[CodeType, None] = {}
        self.built: dict[type, None] = {}
        self.passed: dict[str, None] = {}
        self._doors = {door.__code__: door.__qualname__ for door in doors if isinstance(door, FunctionType)}
        self._behind: FrameType | None = None
        self._folder, self._name = f"{package}/", package.name

    def __enter__(self) -> "Trace":
        sys.setprofile(self._note)
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        sys.setprofile(None)

    def _note(self, frame: FrameType, event: str, _: object) -> None:
        if event == "return" and frame is self._behind:
            self._behind = None
        if event != "call" or self._behind is not None:
            return
        code = frame.f_code
        if code in self._doors:
            self.passed.setdefault(self._doors[code])
            self._behind = frame
        elif code.co_filename.startswith(self._folder):
            self.ran.setdefault(code)
        elif code.co_name == "__init__" and code.co_filename == "<string>":  # what dataclass() writes
            built = type(frame.f_locals["self"])
            if built.__module__.split(".")[0] == self._name:
                self.built.setdefault(built)


def follow(
    title: str, run: Callable[[], object], package: Path, doors: tuple[Callable[..., object], ...] = ()
) -> ReadingPath:
    """Runs something and tells what of the package one reads to follow it as far as the doors."""
    with Trace(package, doors) as trace:
        run()
    first_lines: dict[Path, list[int]] = {}
    for code in trace.ran:
        first_lines.setdefault(Path(code.co_filename), []).append(code.co_firstlineno)
    classes: dict[Path, set[str]] = {}
    for built in trace.built:
        file = Path(sys.modules[built.__module__].__file__ or "")
        classes.setdefault(file, set()).add(built.__qualname__)
        first_lines.setdefault(file, [])
    return ReadingPath(
        title,
        tuple(_read_file(file, package, lines, classes.get(file, set())) for file, lines in first_lines.items()),
        tuple(trace.passed),
    )


def _read_file(file: Path, package: Path, first_lines: list[int], built: set[str]) -> FileOnPath:
    source = file.read_text(encoding="utf-8")
    functions = functions_by_first_line(source)
    entries = [functions[line] for line in first_lines if line in functions]
    return FileOnPath(
        name=file.relative_to(package).as_posix(),
        entry=entries[0] if entries else "",
        lines=len(lines_to_read(source, set(first_lines), built)),
        whole_lines=source.count("\n"),
    )


def functions_by_first_line(source: str) -> dict[int, str]:
    """The qualified name of each function, by the line on which it begins, decorators included."""
    return dict(_named_functions(ast.parse(source), ""))


def _named_functions(node: ast.AST, prefix: str) -> Iterator[tuple[int, str]]:
    for child in ast.iter_child_nodes(node):
        if isinstance(child, _FUNCTION):
            yield _first_line(child), prefix + child.name
        inner = f"{prefix}{child.name}." if isinstance(child, (*_FUNCTION, ast.ClassDef)) else prefix
        yield from _named_functions(child, inner)


def lines_to_read(source: str, first_lines: set[int], built: set[str]) -> set[int]:
    """The lines of the functions that begin on these lines, of their classes' heads and constructors, and of the head.

    Args:
        source: of a file.
        first_lines: of functions that ran, decorators included.
        built: names of classes that were built by a constructor that is not written out.
    """
    tree = ast.parse(source)
    lines = _span(tree.body[0]) if ast.get_docstring(tree) is not None else set()
    for node in ast.walk(tree):
        if isinstance(node, _FUNCTION) and _first_line(node) in first_lines:
            lines |= _span(node)
        if isinstance(node, ast.ClassDef):
            ran = any(isinstance(child, _FUNCTION) and _first_line(child) in first_lines for child in node.body)
            if ran or node.name in built:
                lines |= set(range(_first_line(node), node.body[0].lineno))
                read = [child for child in node.body if not isinstance(child, _FUNCTION) or child.name in _CONSTRUCTORS]
                lines |= set[int]().union(*(_span(child) for child in read))
    return lines


def _first_line(node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef) -> int:
    return min(part.lineno for part in (node, *node.decorator_list))


def _span(node: ast.stmt) -> set[int]:
    first = _first_line(node) if isinstance(node, (*_FUNCTION, ast.ClassDef)) else node.lineno
    return set(range(first, (node.end_lineno or node.lineno) + 1))


def main() -> int:
    """Prints the paths; 1 where one is too long."""
    package = Path(msvlm.__file__).parent
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        reader = untrained_tiny_reader()
        step = steps_of_findings(reader, folder, from_pixels=False)
        pixel_step = steps_of_findings(untrained_tiny_reader(), folder, from_pixels=True)
        reporter = tiny_reporter(folder / "reader")
        study = tiny_study(1)
        write_dicom(study, folder / "dicom", with_localiser=True)
        config, batch = reporter.model.config.input, tiny_batch(study)
        prompts = reporter.text.prompt_batch([""])
        limited = [
            follow("one training step, findings from slice vectors", lambda: next(step), package),
            follow("one training step, findings from pixels", lambda: next(pixel_step), package),
            follow("one report", lambda: reporter.write(study), package, REPORT_DOORS),
            follow("behind it: a study made ready", lambda: prepare_study(study, config), package),
            follow("behind it: the model's pass", lambda: read_and_write(reporter.model, batch, prompts), package),
            follow("behind it: words labeled", lambda: label_report(NODULE_REPORT), package),
        ]
        unlimited = [
            follow("before it: a DICOM folder read", lambda: read_study(folder / "dicom"), package),
            follow("one report and all behind its doors", lambda: reporter.write(study), package),
        ]
    complaints = [complaint for path in limited for complaint in path.complaints()]
    print("\n\n".join(path.table() for path in limited + unlimited), end="\n\n")
    for complaint in complaints:
        print(complaint)
    print(f"paths: {len(complaints)} complaints in {len(limited)} paths")
    return 1 if complaints else 0


if __name__ == "__main__":
    sys.exit(main())
