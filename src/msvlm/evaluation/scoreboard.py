"""Several ways of answering the same studies, scored side by side, as a table, as JSON and as CSV."""

import csv
import io
import json
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from msvlm.evaluation.clinical_metrics import (
    Interval,
    PlaceAgreement,
    PresenceScores,
    area_under_curve,
    bootstrap_interval,
    distinct_share,
    macro_f1,
    place_agreement,
    presence_matrix,
    score_presence,
)
from msvlm.findings import CHEST_FINDINGS, Statements
from msvlm.labeling import label_report
from msvlm.study import LeftOut


@dataclass(frozen=True)
class Answer:
    """What one way of answering says of every study.

    Attributes:
        name: as it stands in the table.
        presence: (studies, findings), which findings it says are there.
        statements: the same with places, where it has any.
        texts: the reports, where it writes any.
        scores: (studies, findings), higher is more likely, where it gives any.
    """

    name: str
    presence: NDArray[np.bool_]
    statements: tuple[Statements, ...] | None = None
    texts: tuple[str, ...] | None = None
    scores: NDArray[np.floating] | None = None


@dataclass(frozen=True)
class ScoreRow:
    """One answer's scores. None where the answer has nothing to score in that way.

    Attributes:
        macro_f1_interval: 95 %, over patients.
        auc: of each finding, None where all studies agree on it.
        distinct: how many of the texts differ, as a share.
    """

    name: str
    scores: PresenceScores
    macro_f1_interval: Interval
    auc: tuple[float | None, ...] | None = None
    places: PlaceAgreement | None = None
    distinct: float | None = None

    @property
    def macro_auc(self) -> float | None:
        """The mean over the findings that have one."""
        known = [area for area in self.auc or () if area is not None]
        return float(np.mean(known)) if known else None


@dataclass(frozen=True)
class Evaluation:
    """How one model's reports fare on one split, beside what a score must be read beside.

    Attributes:
        model: name of the model, or its folder's name, and the hash of its weights.
        rows: the generated reports first.
        not_prepared: keys of the split's studies that could not be scored, as no prepared slices of them are there.
        outside: how many studies have a series that does not look like what the model was trained on; None where the
            model has no record of that.
        rows_left_out: rows that could not be made of these studies, and why.
    """

    model: str
    split: str
    studies: int
    patients: int
    rows: tuple[ScoreRow, ...]
    not_prepared: tuple[str, ...] = ()
    outside: int | None = None
    rows_left_out: tuple[LeftOut, ...] = ()

    def row(self, name: str) -> ScoreRow:
        """The row of that name."""
        return next(row for row in self.rows if row.name == name)

    def to_text(self) -> str:
        """The rows as a table, then F1 and AUC finding by finding."""
        lines = [f"{self.model} on {self.studies} {self.split} studies of {self.patients} patients", ""]
        if self.outside is not None:
            lines[1:1] = [f"{self.outside} of them said to lie outside what the model was trained on"]
        if self.not_prepared:
            lines[1:1] = [f"not scored, as they are not prepared: {', '.join(self.not_prepared)}"]
        lines.append(
            f"{'':<28}{'macro F1 (95 %)':<22}{'micro F1':>9}{'prec.':>7}{'recall':>7}{'AUC':>7}"
            f"{'side':>7}{'lobe':>7}{'distinct':>9}"
        )
        for row in self.rows:
            interval = f"{row.scores.macro_f1:.3f} ({row.macro_f1_interval.low:.3f}-{row.macro_f1_interval.high:.3f})"
            lines.append(
                f"{row.name:<28}{interval:<22}{row.scores.micro_f1:>9.3f}{row.scores.macro_precision:>7.3f}"
                f"{row.scores.macro_recall:>7.3f}{_number(row.macro_auc, 7)}"
                f"{_number(row.places.side if row.places else None, 7)}"
                f"{_number(row.places.lobe if row.places else None, 7)}{_number(row.distinct, 9)}"
            )
        lines += [f"{item.name:<28}left out: {item.reason}" for item in self.rows_left_out]
        shown = [row for row in self.rows if row.auc is not None or row.places is not None][:4]
        heads = "".join(f"{row.name[:18]:>20}" for row in shown)
        lines += ["", f"{'F1 (AUC)':<38}{'studies':>8}{heads}"]
        for index, kind in enumerate(CHEST_FINDINGS):
            cells = []
            for row in shown:
                area = row.auc[index] if row.auc is not None else None
                cell = f"{row.scores.findings[index].f1:.3f}" + (f" ({area:.3f})" if area is not None else "")
                cells.append(f"{cell:>20}")
            count = self.rows[0].scores.findings[index].studies_with
            lines.append(f"{kind.label:<38}{count:>8}{''.join(cells)}")
        return "\n".join(lines) + "\n"

    def to_json(self) -> str:
        """All numbers."""
        return json.dumps(asdict(self), indent=2)

    def to_csv(self) -> str:
        """One line for each answer and finding; macro and micro lines for each answer."""
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        table.writerow(["answer", "finding", "studies_with", "precision", "recall", "f1", "f1_low", "f1_high", "auc"])
        for row in self.rows:
            areas = row.auc or (None,) * len(row.scores.findings)
            for finding, area in zip(row.scores.findings, areas, strict=True):
                numbers = [finding.precision, finding.recall, finding.f1, None, None, area]
                table.writerow([row.name, finding.name, finding.studies_with, *_written(numbers)])
            interval = row.macro_f1_interval
            scores = row.scores
            macro = [scores.macro_precision, scores.macro_recall, scores.macro_f1, interval.low, interval.high]
            table.writerow([row.name, "macro", self.studies, *_written([*macro, row.macro_auc])])
            table.writerow(
                [row.name, "micro", self.studies, *_written([None, None, scores.micro_f1, None, None, None])]
            )
        return out.getvalue()


def answer_of_texts(name: str, texts: tuple[str, ...]) -> Answer:
    """The answer that reports give, as the rule labeler reads them."""
    statements = tuple(label_report(text) for text in texts)
    return Answer(name, presence_matrix(statements), statements, texts)


def score_answer(answer: Answer, truth: tuple[Statements, ...], patients: tuple[str, ...]) -> ScoreRow:
    """Scores an answer against the truth of the same studies, in the same order."""
    there = presence_matrix(truth)
    auc = None
    if answer.scores is not None:
        auc = tuple(None if np.isnan(area) else float(area) for area in area_under_curve(there, answer.scores))
    return ScoreRow(
        name=answer.name,
        scores=score_presence(there, answer.presence),
        macro_f1_interval=bootstrap_interval(patients, lambda rows: macro_f1(there[rows], answer.presence[rows])),
        auc=auc,
        places=place_agreement(truth, answer.statements) if answer.statements is not None else None,
        distinct=distinct_share(answer.texts) if answer.texts is not None else None,
    )


def _number(value: float | None, width: int) -> str:
    return f"{'-' if value is None else f'{value:.3f}':>{width}}"


def _written(values: list[float | None]) -> list[str]:
    return ["" if value is None else f"{value:.4f}" for value in values]
