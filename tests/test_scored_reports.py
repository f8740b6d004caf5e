"""What was written is kept for reading, and read again for comparing."""

import json
from pathlib import Path

import pytest

from msvlm.errors import DataError
from msvlm.evaluation.scored_reports import ScoredReport, lines_of, read_scored_model

REPORTS = (
    ScoredReport("a", "p1", ("lung_nodule",), "A nodule.\nImpression: Nodule.", "Kein Knöten.", ""),
    ScoredReport("b", "p2", (), "Clear.", "Clear.", "Clear."),
)


def test_written_then_read_is_identity(tmp_path: Path) -> None:
    (tmp_path / "reports.jsonl").write_text(lines_of(REPORTS), encoding="utf-8")
    (tmp_path / "scores.json").write_text(json.dumps({"model": "tiny abc"}))
    found = read_scored_model(tmp_path)
    assert (found.model, found.reports) == ("tiny abc", REPORTS)


def test_a_folder_without_an_evaluation_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"elsewhere holds no reports.jsonl and scores.json"):
        read_scored_model(tmp_path / "elsewhere")


@pytest.mark.parametrize("line", ["no json", "{}", "[]", '{"key": "a", "patient": "p1", "true": "", "generated": ""}'])
def test_files_of_another_form_are_refused(line: str, tmp_path: Path) -> None:
    (tmp_path / "reports.jsonl").write_text(line + "\n")
    (tmp_path / "scores.json").write_text('{"model": "tiny"}')
    with pytest.raises(DataError, match="evaluate that model again"):
        read_scored_model(tmp_path)
