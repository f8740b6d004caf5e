"""The manifest: written and read back, and its errors are named."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from msvlm.data.dataset import statements_of
from msvlm.data.manifest import LesionMasks, Manifest, ManifestStudy, check_key, read_manifest, write_manifest
from msvlm.errors import DataError
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement

NODULE = FindingStatement("lung_nodule", Certainty.PRESENT, frozenset({"right", "right upper lobe"}), 14.0)


def study_line(key: str = "a", split: str = "train") -> ManifestStudy:
    return ManifestStudy(
        key=key,
        patient=f"patient-{key}",
        split=split,
        series=(f"{key}/s1.nii", f"{key}/s2.nii"),
        findings="A 14 mm nodule in the right upper lobe – “solid”.",
        impression="Lung nodule.",
    )


def test_a_manifest_is_read_back_as_it_was_written(tmp_path: Path) -> None:
    studies = (
        study_line("a"),
        replace(
            study_line("b", "test"), truth=(NODULE,), masks=LesionMasks("b/masks.nii.gz", ("lung_nodule", "emphysema"))
        ),
        replace(study_line("c", "validation"), truth=(), findings="", impression=""),
    )
    write_manifest(tmp_path / "m.jsonl", studies)
    assert read_manifest(tmp_path / "m.jsonl") == Manifest(tmp_path / "m.jsonl", studies)


def test_paths_are_relative_to_the_manifest(tmp_path: Path) -> None:
    study = replace(study_line(), masks=LesionMasks("masks.nii.gz", ()))
    manifest = Manifest(tmp_path / "m.jsonl", (study,))
    assert manifest.series_paths(study) == (tmp_path / "a/s1.nii", tmp_path / "a/s2.nii")
    assert manifest.masks_path(study) == tmp_path / "masks.nii.gz"
    assert manifest.masks_path(study_line()) is None


def test_the_truth_takes_precedence_over_the_report() -> None:
    absent = FindingStatement("lung_nodule", Certainty.ABSENT)
    assert statements_of(replace(study_line(), truth=(absent,))) == (absent,)
    labelled = {statement.name: statement for statement in statements_of(study_line())}
    assert tuple(labelled) == CHEST.names
    assert labelled["lung_nodule"] == NODULE
    assert labelled["emphysema"].certainty is Certainty.ABSENT


def test_a_split_gives_its_studies_and_an_empty_one_is_refused(tmp_path: Path) -> None:
    manifest = Manifest(tmp_path / "m.jsonl", (study_line("a"), study_line("b", "test"), study_line("c")))
    assert [study.key for study in manifest.split("train")] == ["a", "c"]
    with pytest.raises(DataError, match="no study in split 'validation', only in test, train"):
        manifest.split("validation")


@pytest.mark.parametrize(
    "line, complaint",
    [
        ("{", "line 2 of the manifest is not JSON"),
        ("[]", "line 2 of the manifest is a list"),
        ('{"key": "b"}', "field 'patient' is missing"),
        ('{"key": "b", "patient": 7, "split": "test", "series": ["x"]}', "int, where text is wanted @ study.patient"),
        ('{"key": "b", "patient": "p", "split": "test", "series": "x"}', "str, where a list of texts is wanted"),
        ('{"key": "b", "patient": "p", "split": "test", "series": []}', "b: no series"),
        ('{"key": "b", "patient": "p", "split": "dev", "series": ["x"]}', "b: split 'dev'; one of train, validation"),
        ('{"key": "../b", "patient": "p", "split": "test", "series": ["x"]}', "cannot name a folder"),
        ('{"key": "b", "patient": "p", "split": "test", "series": ["x"], "report": ""}', "unknown fields report"),
        (
            '{"key": "b", "patient": "p", "split": "test", "series": ["x"], "truth": [{"name": "n", "certainty": ""}]}',
            "'' is not a valid Certainty",
        ),
    ],
)
def test_a_line_that_is_no_study_is_named_with_its_number(tmp_path: Path, line: str, complaint: str) -> None:
    write_manifest(tmp_path / "m.jsonl", [study_line()])
    with (tmp_path / "m.jsonl").open("a", encoding="utf-8") as file:
        file.write(line + "\n")
    with pytest.raises(DataError, match=complaint):
        read_manifest(tmp_path / "m.jsonl")


def test_an_empty_or_missing_manifest_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="manifest m.jsonl not found; write one in the format that the README shows"):
        read_manifest(tmp_path / "m.jsonl")
    (tmp_path / "m.jsonl").write_text("\n")
    with pytest.raises(DataError, match="m.jsonl is empty"):
        read_manifest(tmp_path / "m.jsonl")
    with pytest.raises(DataError, match="no study to write"):
        write_manifest(tmp_path / "m.jsonl", [])


def test_a_key_that_occurs_twice_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="key a occurs twice"):
        write_manifest(tmp_path / "m.jsonl", [study_line("a"), study_line("a")])


def test_a_patient_in_two_splits_is_refused_and_not_named(tmp_path: Path) -> None:
    other = replace(study_line("b", "test"), patient="patient-a")
    with pytest.raises(DataError, match=r"studies a \(train\) and b \(test\) are of one patient") as refusal:
        write_manifest(tmp_path / "m.jsonl", [study_line("a"), other])
    assert "patient-a" not in str(refusal.value)
    write_manifest(tmp_path / "m.jsonl", [study_line("a"), replace(other, split="train")])


@pytest.mark.parametrize("key", ["", "a/b", "..", ".a", "a.", "a b", "ä", "x" * 101, "a\n"])
def test_keys_that_cannot_name_a_folder_are_refused(key: str) -> None:
    with pytest.raises(DataError, match="cannot name a folder"):
        check_key(key)


@pytest.mark.parametrize("key", ["a", "valid_1_a_1", "1.2.840.113", "phantom-000001"])
def test_valid_keys_are_accepted(key: str) -> None:
    assert check_key(key) == key


def test_the_format_that_the_readme_shows_is_read(tmp_path: Path) -> None:
    readme = (Path(__file__).resolve().parent.parent / "README.md").read_text(encoding="utf-8")
    shown = re.search(r"```json\n(.*?)```", readme, re.DOTALL)
    assert shown is not None
    (tmp_path / "m.jsonl").write_text(shown[1])
    study = read_manifest(tmp_path / "m.jsonl").studies[0]
    assert study.findings and study.impression and study.series
