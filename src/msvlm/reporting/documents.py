"""Writes the documents of a report: report.json, report.md, and one picture of the key slices."""

import io
from dataclasses import dataclass
from pathlib import Path

from msvlm.files import replace_files
from msvlm.report import Report, Sentence
from msvlm.reporting.evidence_text import evidence_text
from msvlm.reporting.key_slices import OUTSIDE, draw_key_slices
from msvlm.study import Study
from msvlm.vocabulary import find_vocabulary


@dataclass(frozen=True)
class Documents:
    """Paths of the documents of one report."""

    report_json: Path
    report_markdown: Path
    key_slices: Path


def write_documents(report: Report, study: Study, folder: Path) -> Documents:
    """Writes report.json, report.md and key_slices.png into a folder, which is created where it does not exist.

    They replace an older report's documents as a whole: no folder ever holds documents of two reports.

    Raises:
        DataError: the folder cannot be written.
    """
    documents = Documents(folder / "report.json", folder / "report.md", folder / "key_slices.png")
    picture = io.BytesIO()
    draw_key_slices(report, study).save(picture, "PNG", optimize=True)
    contents = {
        documents.report_json.name: (report.to_json() + "\n").encode(),
        documents.report_markdown.name: to_markdown(report, documents.key_slices.name).encode(),
        documents.key_slices.name: picture.getvalue(),
    }
    replace_files(folder, contents)
    return documents


def notices(report: Report) -> tuple[str, ...]:
    """Returns what a reader must know before a report: training data, what lies outside of them, and warnings."""
    trained_on = (f"The model was trained on {report.trained_on}.",) if report.trained_on else ()
    outside = (
        (f"{OUTSIDE}: {_first_of(report.outside_training)}. Its report is worthless.",)
        if report.outside_training
        else ()
    )
    return (*trained_on, *outside, *(f"Warning: {warning}" for warning in report.warnings))


def to_markdown(report: Report, picture: str = "") -> str:
    """Returns the report as Markdown; each sentence is followed by its evidence and its support."""
    lines = [f"# Report of study {report.study_key}", "", f"**{report.disclaimer}**", ""]
    for notice in notices(report):
        lines += [f"> {_escaped(notice)}", ""]
    for title, sentences in (("Findings", report.findings_sentences), ("Impression", report.impression_sentences)):
        lines += [f"## {title}", "", *(f"- {_with_evidence(sentence)}" for sentence in sentences), ""]
    if picture:
        lines += ["## Key slices", "", f"![The key slice of each positive finding]({picture})", ""]
    if not report.outside_training:
        lines += ["## Findings head", "", "| finding | probability |", "|---|---|"]
        by_probability = sorted(report.probabilities.items(), key=lambda item: -item[1])
        vocabulary = find_vocabulary(report.vocabulary)
        lines += [f"| {vocabulary.kind(name).label} | {probability:.2f} |" for name, probability in by_probability]
        lines.append("")
    lines += ["## What was read", "", f"Series used: {', '.join(report.series_used)}.", ""]
    lines += [f"- left out: {_escaped(item.name)}: {_escaped(item.reason)}" for item in report.left_out]
    lines += [""] * bool(report.left_out) + [f"Model: {report.model}. Status: {report.status}.", ""]
    return "\n".join(lines)


def _with_evidence(sentence: Sentence) -> str:
    note = sentence_note(sentence)
    return f"{_escaped(sentence.text)} *({note})*" if note else _escaped(sentence.text)


def sentence_note(sentence: Sentence) -> str:
    """Returns the evidence and the support of a sentence as text; empty where it has neither."""
    support = f"support {sentence.support:.2f}" if sentence.support is not None else ""
    return "; ".join(part for part in (evidence_text(sentence), support) if part)


def _first_of(reasons: tuple[str, ...]) -> str:
    more = f" (and {len(reasons) - 1} more series)" if len(reasons) > 1 else ""
    return f"{reasons[0]}{more}"


def _escaped(text: str) -> str:
    """Escapes text of a file or a model, so that it cannot become markup."""
    for character in "\\`*_[]<>|":
        text = text.replace(character, "\\" + character)
    return text
