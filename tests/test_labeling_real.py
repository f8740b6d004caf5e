"""The labeler agrees with manual labels of real reports, also of reports on which no rule was written."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

from msvlm.labeling.label import label_report
from msvlm.vocabulary.chest import CHEST

ROOT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="module")
def labeler() -> ModuleType:
    specification = importlib.util.spec_from_file_location("labeler", ROOT / "checks" / "labeler.py")
    assert specification is not None and specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


@pytest.mark.parametrize(("part", "least"), [("development", 0.95), ("held-out", 0.90), ("first-held-out", 0.90)])
def test_macro_f1_on_real_reports(labeler: ModuleType, real_data: Path, part: str, least: float) -> None:
    reports = labeler.read_table(real_data / "reports" / "ct_clip_800_labelled_reports.csv")
    reports = labeler.reports_of_part(reports, part)
    scores = labeler.score(reports, [label_report(report.text, CHEST) for report in reports])
    assert scores.macro_f1.value >= least, labeler.table_of(scores)


def test_held_out_reports_depend_on_the_keys_alone_and_are_not_in_development(labeler: ModuleType) -> None:
    keys = [f"report_{number}" for number in range(800)]
    reports = [labeler.LabelledReport(key, f"Text {number % 790}.", frozenset()) for number, key in enumerate(keys)]
    held_out, first = labeler.held_out_keys(keys), labeler.first_held_out_keys(keys)
    assert len(held_out) == len(first) == labeler.HELD_OUT_REPORTS
    assert labeler.held_out_keys(keys[::-1]) == held_out
    development = labeler.reports_of_part(reports, "development")
    held_out_reports = [report for report in reports if report.key in held_out | first]
    assert not {report.key for report in development} & (held_out | first)
    assert not {report.text for report in development} & {report.text for report in held_out_reports}
    assert {report.key for report in labeler.reports_of_part(reports, "held-out")} == held_out


def test_errors_name_the_report_and_the_sentences_about_the_finding(labeler: ModuleType) -> None:
    report = labeler.LabelledReport("r1", "A nodule in the left lung. No effusion.", frozenset({"pleural_effusion"}))
    read = [label_report(report.text, CHEST)]
    nodules, effusions = (labeler.errors_of([report], read, name) for name in ("lung_nodule", "pleural_effusion"))
    assert nodules == ["r1: false positive", "    [present] A nodule in the left lung."]
    assert effusions == ["r1: false negative", "    [absent] No effusion."]


def test_the_table_names_all_findings_and_the_interval_holds_the_score(labeler: ModuleType) -> None:
    texts = ("A nodule.", "Emphysema and a nodule.", "No effusion.")
    labels = ({"lung_nodule"}, {"emphysema"}, {"pleural_effusion"})
    reports = [
        labeler.LabelledReport(str(number), text, frozenset(names))
        for number, (text, names) in enumerate(zip(texts, labels, strict=True))
    ]
    read = [label_report(report.text, CHEST) for report in reports]
    scores = labeler.score(reports, read)
    lines = labeler.table_of(scores).splitlines()
    assert len(lines) == 1 + len(CHEST.findings) + 3
    low, high = (float(word) for word in lines[-1].split()[-3::2])
    assert low <= scores.macro_f1.value <= high
