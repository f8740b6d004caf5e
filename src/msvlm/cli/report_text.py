"""A drafted report as text for a terminal."""

import textwrap

from msvlm.report import Report, Sentence
from msvlm.reporting.documents import notices, sentence_note
from msvlm.vocabulary import find_vocabulary

_WIDTH = 100


def report_to_text(report: Report) -> str:
    """Returns a drafted report for a terminal: notices, probabilities, then each sentence with its evidence."""
    lines = [wrapped(notice, 0) for notice in notices(report)]
    if not report.outside_training:
        lines += ["", "Findings head (probability that the finding is present)"]
        ranked = sorted(report.probabilities.items(), key=lambda item: -item[1])
        vocabulary = find_vocabulary(report.vocabulary)
        cells = [f"{probability:5.2f}  {vocabulary.kind(name).label:<38}" for name, probability in ranked]
        half = -(-len(cells) // 2)
        lines += ["".join(cells[row::half]).rstrip() for row in range(half)]
    for title, sentences in (("Findings", report.findings_sentences), ("Impression", report.impression_sentences)):
        lines += ["", title]
        lines += [_sentence(sentence) for sentence in sentences] or ["  (the model wrote nothing here)"]
    return "\n".join([*lines, "", f"Model: {report.model}. Status: {report.status}."])


def wrapped(text: str, indent: int) -> str:
    """Returns text broken into lines for a terminal, indented by `indent` spaces."""
    return textwrap.fill(text, _WIDTH, initial_indent=" " * indent, subsequent_indent=" " * (indent + 2))


def _sentence(sentence: Sentence) -> str:
    note = sentence_note(sentence)
    return "\n".join([wrapped(sentence.text, 2), *([wrapped(f"[{note}]", 6)] if note else [])])
