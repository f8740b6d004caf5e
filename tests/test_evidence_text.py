"""Slices are named for people by image number and counted from 1, and what rests on none says so."""

import pytest

from msvlm.report import Evidence, Sentence
from msvlm.reporting.evidence_text import evidence_text
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement


def text_of(*evidence: Evidence, is_positive: bool = True) -> str:
    certainty = Certainty.PRESENT if is_positive else Certainty.ABSENT
    return evidence_text(Sentence("A nodule.", evidence, 0.8, (FindingStatement("lung_nodule", certainty),)))


@pytest.mark.parametrize(
    "piece, words",
    [
        (Evidence("s2", 30, 1.0), "s2 slice 31"),
        (Evidence("s2", 30, 1.0, slice_count=100), "s2 slice 31 of 100"),
        (Evidence("s2", 30, 1.0, 70, 100), "s2 image 70 (slice 31 of 100)"),
    ],
)
def test_a_slice_is_counted_from_one_and_named_as_viewers_name_it(piece: Evidence, words: str) -> None:
    assert text_of(piece) == words


def test_slices_of_one_series_stand_together() -> None:
    first, second, other = (
        Evidence("s2", 30, 2.0, 70, 100),
        Evidence("s2", 36, 1.0, 64, 100),
        Evidence("s3", 0, 1.5, slice_count=9),
    )
    assert text_of(first, other, second) == "s2 images 70, 64 (slices 31, 37 of 100); s3 slice 1 of 9"


def test_a_faint_slice_is_not_called_evidence() -> None:
    text = text_of(Evidence("s2", 30, 0.01, 70, 100))
    assert text == "no single slice changes this sentence; most attention: s2 image 70 (slice 31 of 100)"
    assert text_of() == "no single slice changes this sentence"


def test_a_denial_may_rest_on_nothing() -> None:
    assert text_of(is_positive=False) == ""
