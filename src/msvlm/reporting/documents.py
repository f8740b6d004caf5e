"""Report -> documents for people: report.json, report.md, and one picture of the key slices."""

from dataclasses import dataclass
from pathlib import Path

from msvlm.findings import label_of
from msvlm.report import Report, Sentence
from msvlm.reporting.key_slices import draw_key_slices
from msvlm.study import Study


@dataclass(frozen=True)
class Documents:
    """Where the documents of one report lie."""

    report_json: Path
    report_markdown: Path
    key_slices: Path


def write_documents(report: Report, study: Study, folder: Path) -> Documents:
    """Writes report.json, report.md and key_slices.png into a folder, which is made where it is not there."""
    folder.mkdir(parents=True, exist_ok=True)
    documents = Documents(folder / "report.json", folder / "report.md", folder / "key_slices.png")
    documents.report_json.write_text(report.to_json() + "\n", encoding="utf-8")
    documents.report_markdown.write_text(to_markdown(report, documents.key_slices.name), encoding="utf-8")
    draw_key_slices(report, study).save(documents.key_slices, optimize=True)
    return documents


def to_markdown(report: Report, picture: str = "") -> str:
    """The report as Markdown; each sentence is followed by its slices, counted from 1, and by its support."""
    lines = [f"# Report of study {report.study_key}", "", f"**{report.disclaimer}**", ""]
    lines += [f"> Warning: {warning}" for warning in report.warnings] + [""] * bool(report.warnings)
    for title, sentences in (("Findings", report.findings_sentences), ("Impression", report.impression_sentences)):
        lines += [f"## {title}", "", *(f"- {_with_evidence(sentence)}" for sentence in sentences), ""]
    if picture:
        lines += ["## Key slices", "", f"![The key slice of each positive finding]({picture})", ""]
    lines += ["## Findings head", "", "| finding | probability |", "|---|---|"]
    by_probability = sorted(report.probabilities.items(), key=lambda item: -item[1])
    lines += [f"| {label_of(name)} | {probability:.2f} |" for name, probability in by_probability]
    lines += ["", "## What was read", "", f"Series used: {', '.join(report.series_used)}.", ""]
    lines += [f"- left out: {_escaped(item.name)}: {_escaped(item.reason)}" for item in report.left_out]
    lines += [""] * bool(report.left_out) + [f"Model: {report.model}. Status: {report.status}.", ""]
    return "\n".join(lines)


def evidence_text(sentence: Sentence) -> str:
    """The slices of a sentence in a reader's words, slices counted from 1; empty where it has none."""
    slices: dict[str, list[int]] = {}
    for piece in sentence.evidence:
        slices.setdefault(piece.series_key, []).append(piece.slice_index + 1)
    return "; ".join(
        f"{key} slice{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
        for key, numbers in slices.items()
    )


def _with_evidence(sentence: Sentence) -> str:
    evidence = evidence_text(sentence)
    note = "; ".join(part for part in (evidence, f"support {sentence.support:.2f}") if part)
    return f"{_escaped(sentence.text)} *({note})*"


def _escaped(text: str) -> str:
    """Text of a file or a model cannot become markup."""
    for character in "\\`*_[]<>|":
        text = text.replace(character, "\\" + character)
    return text
