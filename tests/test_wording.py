"""Synthetic reports state the whole truth in many phrases, and the rule labeler reads it back."""

from collections import Counter

import numpy as np
import pytest

from msvlm.evaluation.bootstrap import PatientBootstrap
from msvlm.evaluation.finding_metrics import presence_matrix, score_presence
from msvlm.evaluation.location_metrics import score_locations
from msvlm.labeling.label import label_report, label_sentence
from msvlm.labeling.scope import split_sentences
from msvlm.phantom.chest.chest_ct import ScanShape, draw_chest_ct
from msvlm.phantom.chest.truth import Lesion, merge_truth
from msvlm.phantom.phrasebook import FindingPhrases, chest_phrasebook
from msvlm.phantom.wording import WrittenReport, describe_location, write_report
from msvlm.vocabulary.chest import CHEST, LOBES
from msvlm.vocabulary.vocabulary import DEGREES, SIDES, Certainty, FindingStatement

COARSE = ScanShape(28, 64, 64, (11.0, 6.0, 6.0))
DEVICES = (
    "pacemaker",
    "port catheter",
    "central venous catheter",
    "sternal wires",
    "aortic stent graft",
    "gastric tube",
)
SIZED = ("lung_nodule", "lymphadenopathy", "hiatal_hernia")


def _sample_lesions(generator: np.random.Generator) -> tuple[Lesion, ...]:
    """Returns lesions of random findings, each with all attributes that its finding allows."""
    lesions: list[Lesion] = []
    for kind in CHEST.findings:
        if generator.random() < 0.6:
            continue
        degree = {str(generator.choice(DEGREES))} & set(kind.attributes)
        count = int(generator.integers(1, 5)) if set(SIDES) & set(kind.attributes) else 1
        for place in generator.choice(LOBES, size=count, replace=False):
            places = {str(place), str(place).split()[0]} & set(kind.attributes)
            size_mm = float(generator.uniform(6, 80)) if kind.name in SIZED else None
            device = str(generator.choice(DEVICES)) if kind.name == "medical_material" else ""
            lesions.append(Lesion(len(lesions) + 1, kind.name, frozenset(degree | places), size_mm, 9, device))
    return tuple(lesions)


def _written(seed: int) -> tuple[tuple[FindingStatement, ...], WrittenReport]:
    generator = np.random.default_rng(seed)
    lesions = _sample_lesions(generator)
    truth = merge_truth(lesions)
    return truth, write_report(generator, truth, lesions)


def _agree(stated: FindingStatement, read: FindingStatement) -> bool:
    if (stated.size_mm is None) != (read.size_mm is None):
        return False
    sizes_agree = stated.size_mm is None or read.size_mm is None or abs(stated.size_mm - read.size_mm) <= 0.51
    return (stated.name, stated.certainty, stated.attributes) == (
        read.name,
        read.certainty,
        read.attributes,
    ) and sizes_agree


def _disagreements(truth: tuple[FindingStatement, ...], findings_text: str, impression_text: str) -> list[str]:
    read = label_report(f"{findings_text} {impression_text}", CHEST)
    return [
        f"{stated} was read as {other}" for stated, other in zip(truth, read, strict=True) if not _agree(stated, other)
    ]


@pytest.mark.slow
def test_the_labeler_reads_back_the_truth_of_drawn_studies() -> None:
    wrong = []
    for seed in range(300):
        drawn = draw_chest_ct(seed, COARSE)
        wrong += _disagreements(drawn.truth, drawn.findings_text, drawn.impression_text)
    assert len(wrong) <= 0.01 * 300 * len(CHEST.findings), wrong[:5]


def test_the_labeler_reads_back_the_truth_of_any_mix_of_findings() -> None:
    wrong = []
    for seed in range(1500):
        truth, report = _written(seed)
        wrong += _disagreements(truth, report.findings_text, report.impression_text)
    assert len(wrong) <= 0.002 * 1500 * len(CHEST.findings), wrong[:5]


def test_presence_side_lobe_and_size_are_each_read_back() -> None:
    written = [_written(seed) for seed in range(500)]
    truth = [statements for statements, _ in written]
    read = [label_report(f"{report.findings_text} {report.impression_text}", CHEST) for _, report in written]
    bootstrap = PatientBootstrap.of([str(seed) for seed in range(len(written))])
    presence = score_presence(presence_matrix(truth, CHEST), presence_matrix(read, CHEST), bootstrap, CHEST.names)
    assert min(finding.f1 for finding in presence.findings) >= 0.99, presence
    locations = score_locations(truth, read, bootstrap, CHEST)
    assert locations.side is not None and locations.lobe is not None
    assert locations.side.count > 1000 and locations.lobe.count > 1000
    assert locations.side.value == locations.lobe.value == 1.0
    sizes = [
        (stated.size_mm, other.size_mm)
        for statements, others in zip(truth, read, strict=True)
        for stated, other in zip(statements, others, strict=True)
        if stated.size_mm is not None
    ]
    assert len(sizes) > 300
    assert all(other is not None and abs(stated - other) <= 0.5 + 1e-6 for stated, other in sizes)


def test_the_findings_section_mentions_all_18_findings() -> None:
    for seed in range(300):
        _, report = _written(seed)
        mentioned = {
            stated.name
            for sentence in split_sentences(report.findings_text)
            for stated in label_sentence(sentence, CHEST)
        }
        assert mentioned == {kind.name for kind in CHEST.findings}, report.findings_text


def test_the_impression_states_only_findings_that_are_present() -> None:
    for seed in range(300):
        truth, report = _written(seed)
        present = {stated.name for stated in truth if stated.certainty is Certainty.PRESENT}
        read = {
            stated.name
            for stated in label_report(report.impression_text, CHEST)
            if stated.certainty is not Certainty.ABSENT
        }
        assert read == present
        assert present or report.impression_text in chest_phrasebook().normal_impressions


@pytest.mark.parametrize("phrases", chest_phrasebook().findings, ids=lambda phrases: phrases.name)
def test_each_finding_has_many_wordings(phrases: FindingPhrases) -> None:
    assert len(set(phrases.present)) >= 5
    assert len(set(phrases.absent)) >= 4
    assert len(set(phrases.brief)) >= 2


@pytest.mark.parametrize("phrases", chest_phrasebook().findings, ids=lambda phrases: phrases.name)
def test_each_denial_is_read_as_one(phrases: FindingPhrases) -> None:
    for sentence in phrases.absent:
        read = {stated.name: stated.certainty for stated in label_sentence(sentence, CHEST)}
        assert read.get(phrases.name) is Certainty.ABSENT, sentence
        assert set(read.values()) == {Certainty.ABSENT}, sentence


def test_reports_have_a_usual_length() -> None:
    lengths = [
        len(f"{report.findings_text} {report.impression_text}".split()) for _, report in map(_written, range(300))
    ]
    assert 110 < np.median(lengths) < 260
    assert min(lengths) > 60


def test_sentences_are_clean() -> None:
    for seed in range(300):
        _, report = _written(seed)
        text = f"{report.findings_text} {report.impression_text}"
        assert "  " not in text and "{" not in text and " ." not in text and " ," not in text, text
        for sentence in split_sentences(text):
            assert sentence[0].isupper() or sentence[0].isdigit(), sentence
            assert sentence.endswith("."), sentence


def test_wordings_vary() -> None:
    sentences = Counter(
        sentence for seed in range(300) for sentence in split_sentences(_written(seed)[1].findings_text)
    )
    assert len(sentences) > 800
    assert max(sentences.values()) < 60


@pytest.mark.parametrize(
    ("attributes", "words"),
    [
        ({"right", "right upper lobe"}, "in the right upper lobe"),
        ({"right", "left", "right lower lobe", "left lower lobe"}, "in both lower lobes"),
        ({"right", "right upper lobe", "right middle lobe"}, "in the right upper and middle lobes"),
        (
            {"right", "left", "right upper lobe", "left upper lobe", "right middle lobe"},
            "in both upper lobes and the right middle lobe",
        ),
        ({"right", "left"}, "in both lungs"),
        ({"left"}, "in the left lung"),
        (set(), ""),
    ],
)
def test_locations_are_described_as_in_reports(attributes: set[str], words: str) -> None:
    assert describe_location(frozenset(attributes)) == words
