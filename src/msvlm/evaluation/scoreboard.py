"""Several ways of answering the same studies, scored side by side: as tables for reading, as JSON and as CSV."""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from msvlm.evaluation.calibration import Calibration
from msvlm.evaluation.evidence_agreement import EvidenceAgreement
from msvlm.evaluation.paired_test import PairedDifference
from msvlm.evaluation.score_row import ScoreRow
from msvlm.evaluation.score_tables import (
    against_line,
    evidence_table,
    finding_table,
    interval_table,
    nodule_table,
    row_table,
    text_table,
)
from msvlm.study import LeftOut

_NAMED = 10


@dataclass(frozen=True)
class Evaluation:
    """How one model's reports fare on one split, beside what a score must be read beside.

    Attributes:
        model: name of the model, or its folder's name, and the hash of its weights.
        rows: the generated reports first.
        evidence: whether the slices that sentences rest on lie inside the lesions; None where no study has masks.
        calibration: of the findings head.
        against: the difference from another model, where one is named.
        not_prepared: keys of the split's studies that could not be scored, as no prepared slices of them are there.
        reconstructions: studies that are not scored, as they are other reconstructions of one that is.
        outside: how many studies have a series that does not look like what the model was trained on; None where the
            model has no record of that.
        rows_left_out: rows that could not be made of these studies, and why.
    """

    model: str
    split: str
    studies: int
    patients: int
    rows: tuple[ScoreRow, ...]
    evidence: EvidenceAgreement | None = None
    calibration: Calibration | None = None
    against: PairedDifference | None = None
    not_prepared: tuple[str, ...] = ()
    reconstructions: tuple[LeftOut, ...] = ()
    outside: int | None = None
    rows_left_out: tuple[LeftOut, ...] = ()

    def row(self, name: str) -> ScoreRow:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)

    def to_text(self) -> str:
        """All tables, one below the other."""
        parts = [
            _heading(self),
            [*row_table(self.rows), *(f"{item.name:<24}left out: {item.reason}" for item in self.rows_left_out)],
            interval_table(self.rows),
            text_table(self.rows),
            finding_table(self.rows, self.calibration),
            nodule_table(self.rows),
            evidence_table(self.evidence) if self.evidence is not None else [],
        ]
        return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"

    def to_json(self) -> str:
        """All numbers."""
        return json.dumps(asdict(self), indent=2)

    def to_csv(self) -> str:
        """One line for each answer and finding; macro and micro lines for each answer."""
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        numbers = ("precision", "recall", "f1", "f1_low", "f1_high", "crg", "auc")
        table.writerow(["answer", "finding", "studies_with", *numbers])
        for row in self.rows:
            scores = row.scores
            areas = row.areas.findings if row.areas is not None else (None,) * len(scores.findings)
            for one, area in zip(scores.findings, areas, strict=True):
                known = (one.precision, one.recall, one.f1, one.f1_low, one.f1_high, one.crg, area)
                table.writerow([row.name, one.name, one.studies_with, *map(_written, known)])
            macro, micro, crg = scores.macro_f1, scores.micro_f1, scores.crg.value if scores.crg is not None else None
            means = (scores.macro_precision, scores.macro_recall, macro.value, macro.low, macro.high, None, _auc(row))
            table.writerow([row.name, "macro", self.studies, *map(_written, means)])
            pooled = (scores.micro_precision, scores.micro_recall, micro.value, micro.low, micro.high, crg, None)
            table.writerow([row.name, "micro", self.studies, *map(_written, pooled)])
        return out.getvalue()


def _heading(evaluation: Evaluation) -> list[str]:
    """Of whom the scores are, and which studies are not in them."""
    lines = [f"{evaluation.model} on {evaluation.studies} {evaluation.split} studies of {evaluation.patients} patients"]
    if evaluation.outside is not None:
        lines.append(f"{evaluation.outside} of them said to lie outside what the model was trained on")
    if evaluation.not_prepared:
        lines.append(f"not scored, as they are not prepared: {_named(evaluation.not_prepared)}")
    if evaluation.reconstructions:
        keys = [item.name for item in evaluation.reconstructions]
        lines.append(f"not scored, as they are other reconstructions of studies that are: {_named(keys)}")
    if evaluation.against is not None:
        lines.append(against_line(evaluation.against))
    return lines


def _named(keys: Sequence[str]) -> str:
    """Some of the keys; scores.json names all."""
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more


def _auc(row: ScoreRow) -> float | None:
    return row.areas.macro.value if row.areas is not None and row.areas.macro is not None else None


def _written(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
