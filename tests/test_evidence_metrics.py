"""The top slice of a sentence is compared with the mask of the finding that it correctly states."""

import numpy as np
import pytest
from numpy.typing import NDArray

from msvlm.data.text import DraftSentence, Section
from msvlm.evaluation.evidence_metrics import TopSlice, score_evidence, top_slices
from msvlm.labeling.label import label_sentence
from msvlm.reporting.evidence import SentenceEvidence
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement

SLICES = 20
NODULE = FindingStatement("lung_nodule", Certainty.PRESENT)
NODULE_SLICES = (3, 4)


def _regions(**slices_of: tuple[int, ...]) -> NDArray[np.bool_]:
    regions = np.zeros((SLICES, len(CHEST.names), 2, 3), dtype=bool)
    for name, slices in slices_of.items():
        regions[list(slices), CHEST.names.index(name), 1, 2] = True
    return regions


def _sentence(text: str, *slices: int) -> SentenceEvidence:
    sentence = DraftSentence(text, Section.FINDINGS, 0, 1, label_sentence(text, CHEST))
    return SentenceEvidence(sentence, slices, (1.0,) * len(slices), 0.5)


@pytest.mark.parametrize(("slices", "is_inside"), [((3,), True), ((4, 0), True), ((0, 4), False), ((), False)])
def test_only_the_strongest_slice_counts(slices: tuple[int, ...], is_inside: bool) -> None:
    found = top_slices(
        [_sentence("There is a nodule.", *slices)], (NODULE,), _regions(lung_nodule=NODULE_SLICES), CHEST
    )
    assert found == (TopSlice("lung_nodule", is_inside, 2 / SLICES),)


def test_only_correctly_stated_focal_findings_with_a_mask_count() -> None:
    effusion = FindingStatement("pleural_effusion", Certainty.PRESENT)
    sentences = [
        _sentence("No nodule.", 3),
        _sentence("Consolidation in the left lower lobe.", 3),
        _sentence("Pleural effusion.", 3),
        _sentence("The thyroid is normal.", 3),
    ]
    regions = _regions(lung_nodule=NODULE_SLICES, pleural_effusion=(3,))
    assert "pleural_effusion" not in CHEST.focal_names
    assert top_slices(sentences, (NODULE, effusion), regions, CHEST) == ()
    assert top_slices([_sentence("A nodule.", 3)], (NODULE,), _regions(), CHEST) == ()
    absent = FindingStatement("lung_nodule", Certainty.ABSENT)
    assert top_slices([_sentence("A nodule.", 3)], (absent,), _regions(lung_nodule=NODULE_SLICES), CHEST) == ()


def test_random_slices_are_inside_as_often_as_by_chance() -> None:
    rng = np.random.default_rng(0)
    studies = []
    for _ in range(3000):
        mask = tuple(range(int(rng.integers(1, SLICES))))
        random = _sentence("A nodule.", int(rng.integers(SLICES)))
        studies.append(top_slices([random], (NODULE,), _regions(lung_nodule=mask), CHEST))
    evidence = score_evidence(studies, [str(number) for number in range(len(studies))], CHEST)
    assert evidence is not None and evidence.overall is not None
    assert evidence.overall.inside.value == pytest.approx(evidence.overall.chance, abs=0.03)
    assert evidence.overall.inside.low < evidence.overall.chance < evidence.overall.inside.high


def test_shares_are_over_all_findings_and_by_finding() -> None:
    hit, miss = TopSlice("lung_nodule", True, 0.1), TopSlice("atelectasis", False, 0.4)
    evidence = score_evidence([(hit, miss), (hit,), ()], ["a", "b", "c"], CHEST)
    assert evidence is not None and evidence.overall is not None
    assert (evidence.studies, evidence.overall.inside.value, evidence.overall.inside.count) == (3, 2 / 3, 3)
    assert evidence.overall.chance == pytest.approx(0.2)
    assert [(one.finding, one.inside.value) for one in evidence.findings] == [
        ("atelectasis", 0.0),
        ("lung_nodule", 1.0),
    ]


def test_without_masks_there_is_no_score() -> None:
    assert score_evidence([], [], CHEST) is None
    evidence = score_evidence([()], ["a"], CHEST)
    assert evidence is not None and evidence.overall is None and evidence.findings == ()
