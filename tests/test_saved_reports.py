"""Reports are saved, read again, and matched with those of another model by study."""

import json
from dataclasses import replace
from pathlib import Path

import pytest

from msvlm.errors import DataError
from msvlm.evaluation.saved_reports import SavedReport, match_studies, read_saved_evaluation, to_lines

REPORTS = (
    SavedReport("a", "p1", ("lung_nodule",), (), "A nodule.\nImpression: Nodule.", "Kein Knöten.", ""),
    SavedReport("b", "p2", (), (), "Clear.", "Clear.", "Clear."),
)


def test_written_then_read_is_identity(tmp_path: Path) -> None:
    (tmp_path / "reports.jsonl").write_text(to_lines(REPORTS), encoding="utf-8")
    (tmp_path / "scores.json").write_text(json.dumps({"model": "tiny abc"}))
    found = read_saved_evaluation(tmp_path)
    assert (found.model, found.reports) == ("tiny abc", REPORTS)


def test_a_folder_without_an_evaluation_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"elsewhere has no reports.jsonl and scores.json"):
        read_saved_evaluation(tmp_path / "elsewhere")


@pytest.mark.parametrize("line", ["no json", "{}", "[]", '{"key": "a", "patient": "p1", "true": "", "generated": ""}'])
def test_files_of_another_format_are_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "reports.jsonl").write_text(line + "\n")
    (tmp_path / "scores.json").write_text('{"model": "tiny"}')
    with pytest.raises(DataError, match="evaluate that model again"):
        read_saved_evaluation(tmp_path)


def _reports() -> list[SavedReport]:
    return [SavedReport(f"s{number}", "p", ("lung_nodule",), (), "A nodule.", "Clear.", "") for number in range(40)]


def test_the_order_of_the_other_models_reports_does_not_matter() -> None:
    other = [replace(report, generated="A nodule.") for report in _reports()]
    assert list(match_studies(_reports(), other[::-1])) == other


def test_other_studies_and_another_truth_are_refused_by_name() -> None:
    own = _reports()
    with pytest.raises(DataError, match=r"the other evaluation lacks 2 of them \(s0, s1\)"):
        match_studies(own, own[2:])
    with pytest.raises(DataError, match=r"only it has 1 of them \(s39\)"):
        match_studies(own[:-1], own)
    with pytest.raises(DataError, match=r"1 studies have another ground truth in the other evaluation \(s0\)"):
        match_studies(own, [replace(own[0], true_findings=()), *own[1:]])
