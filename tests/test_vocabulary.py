"""A vocabulary is a value: its findings in their order, and what can be said of each."""

from dataclasses import replace
from pathlib import Path

import pytest

import msvlm.vocabulary as vocabulary_package
from msvlm.data.dataset import check_vocabularies, statements_of
from msvlm.data.manifest import Manifest, ManifestStudy, read_manifest, write_manifest
from msvlm.data.prepare import prepare
from msvlm.data.slice_store import SliceStore
from msvlm.errors import ConfigError, DataError, InputMismatchError
from msvlm.imaging.preprocess import InputConfig
from msvlm.labeling.label import label_report
from msvlm.vocabulary import find_vocabulary
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty, FindingKind, FindingStatement, Vocabulary


def test_the_chest_has_the_18_labels_of_ct_rate_in_their_order() -> None:
    labels = [kind.label for kind in find_vocabulary("chest").findings]
    assert len(labels) == 18 and labels[0] == "Medical material" and labels[-1] == "Interlobular septal thickening"
    assert CHEST.names.index("lung_nodule") == 9


def test_attributes_are_sides_parts_and_degrees_in_one_order() -> None:
    assert CHEST.attributes[:3] == ("right", "left", "right upper lobe") and CHEST.attributes[-1] == "severe"
    assert CHEST.kind("pleural_effusion").attributes == ("right", "left", "mild", "moderate", "severe")


def test_a_name_that_is_not_in_it_is_refused() -> None:
    with pytest.raises(ConfigError, match="finding 'fracture' is not in vocabulary chest"):
        CHEST.kind("fracture")
    with pytest.raises(ConfigError, match="vocabulary 'knee' is not known; use chest"):
        find_vocabulary("knee")


def test_a_vocabulary_that_contradicts_itself_is_refused() -> None:
    nodule = FindingKind("nodule", "Nodule", "nodule", ("right", "left"))
    assert Vocabulary("toy", (nodule,)).names == ("nodule",)
    with pytest.raises(ConfigError, match="wanted at least one"):
        Vocabulary("toy", ())
    with pytest.raises(ConfigError, match="each only once"):
        Vocabulary("toy", (nodule, nodule))
    with pytest.raises(ConfigError, match="nodule has unknown attributes behind"):
        Vocabulary("toy", (replace(nodule, attributes=("behind",)),))


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> Vocabulary:
    """A second vocabulary, known for one test."""
    vocabulary = Vocabulary("toy", (FindingKind("nodule", "Nodule", "nodule"),))
    monkeypatch.setitem(vocabulary_package._VOCABULARIES, vocabulary.name, vocabulary)
    return vocabulary


def study(key: str, vocabulary: str, *truth: FindingStatement) -> ManifestStudy:
    return ManifestStudy(key, key, "train", ("x",), truth=truth, vocabulary=vocabulary)


def test_a_manifest_names_its_vocabulary_and_holds_unknown_findings(tmp_path: Path, toy: Vocabulary) -> None:
    nodule = FindingStatement("nodule", Certainty.UNKNOWN)
    write_manifest(tmp_path / "manifest.jsonl", [study("a", "toy", nodule)])
    manifest = read_manifest(tmp_path / "manifest.jsonl")
    assert manifest.vocabulary == toy and manifest.studies[0].truth == (nodule,)


def test_what_a_vocabulary_does_not_hold_is_refused_in_a_manifest(tmp_path: Path, toy: Vocabulary) -> None:
    with pytest.raises(DataError, match="a: nodule not in vocabulary chest"):
        study("a", "chest", FindingStatement("nodule", Certainty.PRESENT))
    assert study("a", toy.name).vocabulary == "toy"
    with pytest.raises(DataError, match="vocabularies chest, toy in one manifest"):
        write_manifest(tmp_path / "manifest.jsonl", [study("a", "chest"), study("b", "toy")])


def test_vocabularies_that_differ_are_refused(tmp_path: Path, toy: Vocabulary) -> None:
    config, grid = InputConfig(), (2, 2)
    store = SliceStore.create(tmp_path / "prepared", CHEST, config, grid)
    assert SliceStore.open(store.folder).vocabulary == CHEST
    with pytest.raises(InputMismatchError, match="vocabulary chest, wanted toy"):
        SliceStore.create(store.folder, toy, config, grid)
    chest, other = (Manifest(tmp_path / "list.jsonl", (study("a", name),)) for name in ("chest", "toy"))
    check_vocabularies(chest, store, CHEST)
    with pytest.raises(InputMismatchError, match="list.jsonl has vocabulary toy, but the model has chest"):
        check_vocabularies(other, store, CHEST)
    with pytest.raises(InputMismatchError, match="prepared has vocabulary chest, but the model has toy"):
        check_vocabularies(other, store, toy)
    with pytest.raises(InputMismatchError, match="list.jsonl has vocabulary toy, but prepared is prepared for chest"):
        prepare(other, store)


def test_a_vocabulary_without_rules_reads_no_reports(toy: Vocabulary) -> None:
    with pytest.raises(ConfigError, match="no rules read reports in vocabulary toy"):
        label_report("A nodule.", toy)


def test_a_statement_that_a_finding_is_unknown_is_no_statement() -> None:
    known = FindingStatement("lung_nodule", Certainty.PRESENT)
    unknown = tuple(FindingStatement(name, Certainty.UNKNOWN) for name in CHEST.names if name != known.name)
    assert statements_of(study("a", "chest", known, *unknown)) == (known,)


def test_a_store_of_another_version_is_refused(tmp_path: Path) -> None:
    store = SliceStore.create(tmp_path / "prepared", CHEST, InputConfig(), (2, 2))
    header = store.folder / "prepared.json"
    header.write_text(header.read_text(encoding="utf-8").replace("vocabulary", "words"), encoding="utf-8")
    with pytest.raises(DataError, match="prepared was prepared by another version of msvlm"):
        SliceStore.open(store.folder)
