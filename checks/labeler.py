"""Scores the rules of `msvlm.labeling` on real reports against manual labels.

The table of 800 CT-RATE reports (github ibrahimethemhamamci/CT-CLIP, text_classifier/data/train.csv, licence
CC BY-NC-SA 4.0) is not part of this repository. It has three parts: `development`, on which rules are written;
`held-out`, chosen by a hash of the keys; `first-held-out`, chosen at random before the first rules were written.
Rules are changed on `development` only, without reading the other parts. An uncertain finding counts as present.
"""

import argparse
import csv
import hashlib
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from msvlm.evaluation.bootstrap import PatientBootstrap
from msvlm.evaluation.finding_metrics import PresenceScores, presence_matrix, score_presence
from msvlm.labeling.label import label_report, label_sentence
from msvlm.labeling.scope import split_sentences
from msvlm.vocabulary.chest import CHEST
from msvlm.vocabulary.vocabulary import Statements

HELD_OUT_REPORTS = 200
FIRST_HELD_OUT_SEED = 20240501
PARTS = ("development", "held-out", "first-held-out")


@dataclass(frozen=True)
class LabelledReport:
    """A report and its manual labels.

    Attributes:
        key: the table's AccessionNo.
        findings: names of the findings that are labelled present.
    """

    key: str
    text: str
    findings: frozenset[str]


def read_table(table: Path) -> tuple[LabelledReport, ...]:
    """Returns all reports of the table, in its order."""
    with table.open(newline="", encoding="utf-8") as file:
        return tuple(
            LabelledReport(
                row["AccessionNo"],
                row["report_text"],
                frozenset(kind.name for kind in CHEST.findings if float(row[kind.label]) > 0),
            )
            for row in csv.DictReader(file)
        )


def held_out_keys(keys: Sequence[str]) -> frozenset[str]:
    """Returns the keys with the smallest SHA-256."""
    return frozenset(sorted(keys, key=lambda key: hashlib.sha256(key.encode()).hexdigest())[:HELD_OUT_REPORTS])


def first_held_out_keys(keys: Sequence[str]) -> frozenset[str]:
    """Returns the keys that were held out before the first rule was written, by their row in the table."""
    order = np.random.default_rng(FIRST_HELD_OUT_SEED).permutation(len(keys))[:HELD_OUT_REPORTS]
    return frozenset(keys[place] for place in order)


def reports_of_part(reports: Sequence[LabelledReport], part: str) -> tuple[LabelledReport, ...]:
    """Returns the reports of one of `PARTS`; development excludes texts that occur in another part."""
    keys = [report.key for report in reports]
    held_out_parts = {"held-out": held_out_keys(keys), "first-held-out": first_held_out_keys(keys)}
    if part in held_out_parts:
        return tuple(report for report in reports if report.key in held_out_parts[part])
    held_out = frozenset[str]().union(*held_out_parts.values())
    texts = {report.text for report in reports if report.key in held_out}
    return tuple(report for report in reports if report.text not in texts)


def score(reports: Sequence[LabelledReport], read: Sequence[Statements]) -> PresenceScores:
    """Returns the scores of the rules' statements against the manual labels, with bootstrap intervals over reports."""
    bootstrap = PatientBootstrap.of([report.key for report in reports])
    return score_presence(_labels(reports), presence_matrix(read, CHEST), bootstrap, CHEST.names)


def _labels(reports: Sequence[LabelledReport]) -> NDArray[np.bool_]:
    """Returns the manual labels (reports, findings)."""
    return np.array([[name in report.findings for name in CHEST.names] for report in reports])


def table_of(scores: PresenceScores) -> str:
    """Returns a line for each finding, and the means over findings."""
    lines = [f"{'':36} precision  recall      F1  reports with it"]
    lines += [
        f"{CHEST.kind(row.name).label:36} {row.precision:9.3f} {row.recall:7.3f} {row.f1:7.3f} {row.studies_with:8}"
        for row in scores.findings
    ]
    macro = scores.macro_f1
    lines.append(f"{'macro':36} {scores.macro_precision:9.3f} {scores.macro_recall:7.3f} {macro.value:7.3f}")
    lines.append(f"{'micro F1':36} {scores.micro_f1.value:25.3f}")
    return "\n".join([*lines, f"{'macro F1, 95 % interval':36} {macro.low:16.3f} to {macro.high:.3f}"])


def errors_of(reports: Sequence[LabelledReport], read: Sequence[Statements], name: str) -> list[str]:
    """Returns for each disagreement on a finding the report, the direction and the sentences about the finding."""
    lines = []
    for report, statements in zip(reports, read, strict=True):
        stated = any(item.name == name and item.certainty.is_positive for item in statements)
        if stated != (name in report.findings):
            lines.append(f"{report.key}: {'false positive' if stated else 'false negative'}")
            lines += [f"    {sentence}" for sentence in _sentences_about(report.text, name)] or ["    (not mentioned)"]
    return lines


def _sentences_about(text: str, name: str) -> list[str]:
    found = []
    for sentence in split_sentences(text):
        said = [item.certainty.value for item in label_sentence(sentence, CHEST) if item.name == name]
        found += [f"[{certainty}] {sentence}" for certainty in said]
    return found


def main() -> int:
    """Prints the scores of a part, or the disagreements on one finding in `development`."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("table", type=Path, help="ct_clip_800_labelled_reports.csv")
    parser.add_argument("--part", choices=PARTS, default=PARTS[0])
    parser.add_argument(
        "--errors", choices=CHEST.names, help="print the disagreements on this finding instead of scores"
    )
    arguments = parser.parse_args()
    if arguments.errors and arguments.part != PARTS[0]:
        parser.error(f"held-out reports must not be read; use --errors with --part {PARTS[0]}")
    reports = reports_of_part(read_table(arguments.table), arguments.part)
    start = time.process_time()
    read = [label_report(report.text, CHEST) for report in reports]
    seconds = time.process_time() - start
    if arguments.errors:
        print("\n".join(errors_of(reports, read, arguments.errors)))
    else:
        print(f"{len(reports)} reports, {arguments.part}; {len(reports) / seconds:.0f} reports per second on one core")
        print(table_of(score(reports, read)))
    return 0


if __name__ == "__main__":
    sys.exit(main())
