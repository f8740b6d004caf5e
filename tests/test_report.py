"""Report: written then read is the same."""

import json

import pytest

from msvlm.errors import ReportError
from msvlm.report import DISCLAIMER, Evidence, Report, Sentence, Status
from msvlm.study import LeftOut
from msvlm.vocabulary.vocabulary import Certainty, FindingStatement

NODULE = (FindingStatement("lung_nodule", Certainty.PRESENT, frozenset({"left", "left lower lobe"}), 9.0),)


def some_report() -> Report:
    nodule = Sentence("A 9 mm nodule.", (Evidence("s2", 31, 4.5, 70), Evidence("s2", 30, 4.0)), 0.8, NODULE)
    return Report(
        study_key="a1b2",
        findings_sentences=(
            nodule,
            Sentence("No pleural effusion.", (), 0.9, (FindingStatement("pleural_effusion", Certainty.ABSENT),)),
        ),
        impression_sentences=(Sentence("Lung nodule – follow-up.", (), 0.8, NODULE),),
        probabilities={"lung_nodule": 0.8},
        vocabulary="chest",
        model="bundled",
        series_used=("s2",),
        left_out=(LeftOut("s1", "localiser"),),
        warnings=("part of the body is cut off",),
        trained_on="synthetic chest CT studies",
        outside_training=("s2 is MR",),
    )


def test_reading_what_was_written_is_identity() -> None:
    report = some_report()
    assert Report.from_json(report.to_json()) == report


def test_a_new_report_is_an_unverified_draft() -> None:
    written = json.loads(some_report().to_json())
    assert written["status"] == Status.DRAFT == "draft"
    assert written["disclaimer"] == DISCLAIMER


def test_sections_are_joined_sentences() -> None:
    report = some_report()
    assert report.findings == "A 9 mm nodule. No pleural effusion."
    assert report.impression == "Lung nodule – follow-up."
    assert len(report.sentences) == 3


@pytest.mark.parametrize("text", ["{", "{}", '{"findings_sentences": 3}', "[]"])
def test_another_files_text_is_refused(text: str) -> None:
    with pytest.raises(ReportError, match="not a report written by msvlm"):
        Report.from_json(text)
