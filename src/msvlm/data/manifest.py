"""The manifest, a list of the studies of a data set: JSON lines, one study on each line."""

import json
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import cattrs
from cattrs.gen import make_dict_unstructure_fn, override

from msvlm.errors import DataError
from msvlm.files import write_file
from msvlm.vocabulary import find_vocabulary
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement, Vocabulary

SPLITS = ("train", "validation", "test")
_SAFE_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class LesionMasks:
    """Lesion masks of a study.

    Attributes:
        path: NIfTI label volume that covers the study's first series; relative to the manifest.
        findings: names of findings; value i + 1 of the volume is a lesion of `findings[i]`. A name may occur several
            times, once for each lesion.
    """

    path: str
    findings: tuple[str, ...]


@dataclass(frozen=True)
class ManifestStudy:
    """One study of a data set.

    Attributes:
        key: identifies the study in every file and message; a valid folder name without patient data.
        patient: a pseudonym; all studies of a patient must be in one split.
        split: one of `SPLITS`.
        series: paths for `read_study`, relative to the manifest: a folder, or files.
        findings, impression: the report's two sections; either may be empty.
        truth: statements on findings that are known independently of the report, as in synthetic studies; findings
            without a statement are unknown. None: the report is labelled, and findings it does not mention are absent.
        masks: lesion masks, if there are any.
        vocabulary: name of the vocabulary of its findings; all studies of a manifest have the same.
    """

    key: str
    patient: str
    split: str
    series: tuple[str, ...]
    findings: str = ""
    impression: str = ""
    truth: tuple[FindingStatement, ...] | None = None
    masks: LesionMasks | None = None
    vocabulary: str = CHEST.name

    def __post_init__(self) -> None:
        check_key(self.key)
        names = find_vocabulary(self.vocabulary).names
        stated = [item.name for item in self.truth or ()] + list(self.masks.findings if self.masks is not None else ())
        if unknown := sorted(set(stated) - set(names)):
            raise DataError(f"{self.key}: {', '.join(unknown)} not in vocabulary {self.vocabulary}")
        if self.split not in SPLITS:
            raise DataError(f"{self.key}: split {self.split!r}; one of {', '.join(SPLITS)} is wanted")
        if not self.series:
            raise DataError(f"{self.key}: no series; name at least one path")


@dataclass(frozen=True)
class Manifest:
    """A data set.

    Attributes:
        path: path of the manifest; the studies' paths are relative to its folder.
        studies: the studies in the order of the file.
    """

    path: Path
    studies: tuple[ManifestStudy, ...]

    @property
    def vocabulary(self) -> Vocabulary:
        """The vocabulary of its studies' findings."""
        return find_vocabulary(self.studies[0].vocabulary)

    def split(self, name: str) -> tuple[ManifestStudy, ...]:
        """Returns the studies of one split.

        Raises:
            DataError: the split is empty.
        """
        chosen = tuple(study for study in self.studies if study.split == name)
        if not chosen:
            splits = sorted({study.split for study in self.studies})
            raise DataError(f"{self.path.name} has no study in split {name!r}, only in {', '.join(splits)}")
        return chosen

    def series_paths(self, study: ManifestStudy) -> tuple[Path, ...]:
        """Returns the paths of a study for `read_study`."""
        return tuple(self.path.parent / name for name in study.series)

    def masks_path(self, study: ManifestStudy) -> Path | None:
        """Returns the path of a study's lesion masks, or None."""
        return self.path.parent / study.masks.path if study.masks is not None else None


def read_manifest(path: Path) -> Manifest:
    """Reads a manifest that `write_manifest` or a user wrote.

    Raises:
        DataError: the file is missing or empty, a line is not a study, a key occurs twice, or studies of one patient
            are in two splits.
    """
    if not path.is_file():
        raise DataError(
            f"manifest {path.name} not found; write one in the format that the README shows, "
            "or make one with `msvlm phantom`"
        )
    lines = path.read_text(encoding="utf-8").splitlines()
    studies = tuple(study_of_line(line, number) for number, line in enumerate(lines, start=1) if line.strip())
    if not studies:
        raise DataError(f"{path.name} is empty; one line for each study is wanted")
    _check_apart(studies)
    return Manifest(path, studies)


def write_manifest(path: Path, studies: Sequence[ManifestStudy]) -> None:
    """Writes a manifest as a whole or not at all; replaces an existing one.

    Raises:
        DataError: no study, a key occurs twice, or studies of one patient are in two splits.
    """
    if not studies:
        raise DataError(f"no study to write into {path.name}")
    _check_apart(studies)
    write_file(path, "".join(line_of_study(study) + "\n" for study in studies))


def line_of_study(study: ManifestStudy) -> str:
    """Returns a study as a line of a manifest, without the end of the line."""
    return json.dumps(_CONVERTER.unstructure(study), ensure_ascii=False)


def study_of_line(line: str, number: int) -> ManifestStudy:
    """Returns the study of line `number` of a manifest, counted from 1.

    Raises:
        DataError: the line is not a study.
    """
    try:
        fields = json.loads(line)
        if not isinstance(fields, dict):
            raise DataError(
                f"line {number} of the manifest is a {type(fields).__name__}; one study, {{...}}, is wanted"
            )
        return _CONVERTER.structure(fields, ManifestStudy)
    except json.JSONDecodeError as error:
        raise DataError(f"line {number} of the manifest is not JSON: {error.msg} at column {error.colno}") from error
    except cattrs.ClassValidationError as error:
        complaints = "; ".join(cattrs.transform_error(error, path="study", format_exception=_complaint))
        raise DataError(f"line {number} of the manifest is not a study: {complaints}") from error


def check_key(key: str) -> str:
    """Returns the key if it is a valid folder name on any system; as a folder's name it must not contain patient data.

    Raises:
        DataError: the key is not a valid folder name.
    """
    if not _SAFE_KEY.fullmatch(key) or key.endswith("."):
        raise DataError(
            f"key {key!r} cannot name a folder; wanted 1 to 100 letters, digits, '.', '_' or '-', "
            "beginning with a letter or digit"
        )
    return key


def _check_apart(studies: Sequence[ManifestStudy]) -> None:
    names = {study.vocabulary for study in studies}
    if len(names) > 1:
        raise DataError(f"vocabularies {', '.join(sorted(names))} in one manifest; write one manifest for each")
    keys: set[str] = set()
    first_of: dict[str, ManifestStudy] = {}
    for study in studies:
        if study.key in keys:
            raise DataError(f"key {study.key} occurs twice in the manifest; every study needs its own")
        keys.add(study.key)
        other = first_of.setdefault(study.patient, study)
        if other.split != study.split:
            raise DataError(
                f"studies {other.key} ({other.split}) and {study.key} ({study.split}) are of one patient; "
                "put all studies of a patient into one split, else scores are too high"
            )


def _complaint(error: BaseException, _: object) -> str:
    if isinstance(error, KeyError):
        return f"field {error} is missing"
    if isinstance(error, cattrs.ForbiddenExtraKeysError):
        return f"unknown fields {', '.join(sorted(error.extra_fields))}"
    return str(error)


def _text(value: object, _: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__}, where text is wanted")
    return value


def _texts(value: object, _: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise TypeError(f"{type(value).__name__}, where a list of texts is wanted")
    return tuple(_text(item, str) for item in value)


def _make_converter() -> cattrs.Converter:
    """Returns a converter between JSON and studies, stricter than cattrs: no conversion to text, no unknown fields."""
    converter = cattrs.Converter(forbid_extra_keys=True)
    converter.register_structure_hook(str, _text)
    converter.register_structure_hook(Certainty, lambda value, _: Certainty(value))
    converter.register_structure_hook_func(lambda kind: kind == tuple[str, ...], _texts)
    converter.register_unstructure_hook_func(lambda kind: kind == frozenset[str], sorted)
    converter.register_unstructure_hook(
        ManifestStudy,
        make_dict_unstructure_fn(
            ManifestStudy, converter, truth=override(omit_if_default=True), masks=override(omit_if_default=True)
        ),
    )
    return converter


_CONVERTER = _make_converter()
