"""Evaluation: the scores of all systems on the same studies, as text tables, JSON and CSV.

The tables are at most 120 columns wide.
"""

import csv
import io
import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from msvlm.evaluation.bootstrap import Estimate, PairedDifference
from msvlm.evaluation.evidence_metrics import EvidenceScores
from msvlm.evaluation.finding_metrics import Calibration, FindingScore
from msvlm.evaluation.systems import (
    ALL_POSITIVE,
    ANOTHER_IMAGE,
    FINDINGS_HEAD,
    GENERATED,
    HU_RIDGE,
    NO_IMAGE,
    SystemScores,
)
from msvlm.study import LeftOut
from msvlm.vocabulary import find_vocabulary
from msvlm.vocabulary.vocabulary import Vocabulary

_SYSTEM_WIDTHS = (24, 22, 10, 8, 8, 8, 8, 8, 8, 8, 8)
_INTERVAL_WIDTHS = (24, 13, 13, 13, 13, 13, 13, 13)
_TEXT_WIDTHS = (24, 10, 11, 12, 9, 9, 9, 21, 9)
_FINDING_WIDTHS = (35, 8, 7, 7, 21, 7, 7, 7, 7, 7, 7)
_NODULE_WIDTHS = (24, 8, 21, 21, 21, 25)
_EVIDENCE_WIDTHS = (35, 12, 21, 8)
_NODULE_SYSTEMS = (GENERATED, FINDINGS_HEAD, NO_IMAGE, ANOTHER_IMAGE)
_NAMED = 10


@dataclass(frozen=True)
class Evaluation:
    """Scores of a model's reports on one split, beside baselines and controls.

    Attributes:
        model: name of the model and hash of its weights.
        vocabulary: name of the vocabulary of the findings.
        systems: the generated reports first.
        evidence: the evidence against lesion masks; None where no study has masks.
        calibration: of the findings head.
        against: the paired test against another model; None where none is given.
        not_prepared: keys of the split's studies that are not scored since they are not prepared.
        reconstructions: studies that are not scored since they are other reconstructions of scored ones.
        outside: number of studies with a series outside the training domain; None where the model has no
            training domain.
        systems_left_out: systems that cannot be scored on these studies, with the reason.
    """

    model: str
    vocabulary: str
    split: str
    studies: int
    patients: int
    systems: tuple[SystemScores, ...]
    evidence: EvidenceScores | None = None
    calibration: Calibration | None = None
    against: PairedDifference | None = None
    not_prepared: tuple[str, ...] = ()
    reconstructions: tuple[LeftOut, ...] = ()
    outside: int | None = None
    systems_left_out: tuple[LeftOut, ...] = ()

    def system(self, name: str) -> SystemScores:
        """Returns the scores of the named system."""
        return next(system for system in self.systems if system.name == name)

    def to_text(self) -> str:
        """Returns all tables, one below the other."""
        left_out = [f"{item.name:<24}left out: {item.reason}" for item in self.systems_left_out]
        parts = [
            _heading(self),
            _system_table(self.systems) + left_out,
            _interval_table(self.systems),
            _text_table(self.systems),
            _finding_table(self.systems, self.calibration, find_vocabulary(self.vocabulary)),
            _nodule_table(self.systems),
            _evidence_table(self.evidence, find_vocabulary(self.vocabulary)) if self.evidence is not None else [],
        ]
        return "\n\n".join("\n".join(lines) for lines in parts if lines) + "\n"

    def to_json(self) -> str:
        """Returns all numbers as JSON."""
        return json.dumps(asdict(self), indent=2)

    def to_csv(self) -> str:
        """Returns one line for each system and finding, and macro and micro lines for each system."""
        out = io.StringIO()
        table = csv.writer(out, lineterminator="\n")
        numbers = ("precision", "recall", "f1", "f1_low", "f1_high", "crg", "auc")
        table.writerow(["system", "finding", "studies_with", "studies_known", *numbers])
        for system in self.systems:
            scores = system.presence
            areas = system.auc.findings if system.auc is not None else (None,) * len(scores.findings)
            for one, area in zip(scores.findings, areas, strict=True):
                cells = (one.precision, one.recall, one.f1, one.f1_low, one.f1_high, one.crg, area)
                table.writerow([system.name, one.name, one.studies_with, one.studies_known, *map(_csv_cell, cells)])
            macro, micro, crg = scores.macro_f1, scores.micro_f1, scores.crg.value if scores.crg is not None else None
            area = macro_auc.value if (macro_auc := _macro_auc(system)) is not None else None
            means = (scores.macro_precision, scores.macro_recall, macro.value, macro.low, macro.high, None, area)
            table.writerow([system.name, "macro", self.studies, self.studies, *map(_csv_cell, means)])
            pooled = (scores.micro_precision, scores.micro_recall, micro.value, micro.low, micro.high, crg, None)
            table.writerow([system.name, "micro", self.studies, self.studies, *map(_csv_cell, pooled)])
        return out.getvalue()


def _heading(evaluation: Evaluation) -> list[str]:
    """Returns the lines on model, studies, studies that are not scored, and the paired test."""
    lines = [f"{evaluation.model} on {evaluation.studies} {evaluation.split} studies of {evaluation.patients} patients"]
    if evaluation.outside is not None:
        lines.append(f"{evaluation.outside} of them are outside the training domain of the model")
    if evaluation.not_prepared:
        lines.append(f"not scored, not prepared: {_name_some(evaluation.not_prepared)}")
    if evaluation.reconstructions:
        keys = [item.name for item in evaluation.reconstructions]
        lines.append(f"not scored, other reconstructions of scored studies: {_name_some(keys)}")
    if evaluation.against is not None:
        f1, p_value = evaluation.against.macro_f1, evaluation.against.p_value
        lines.append(
            f"macro F1 {f1.value:+.3f} against {evaluation.against.other} "
            f"({f1.low:+.3f} to {f1.high:+.3f}, 95 % over patients; p = {p_value:.4f})"
        )
    return lines


def _system_table(systems: Sequence[SystemScores]) -> list[str]:
    """Returns the scores of each system; precision and recall are means over the findings."""
    heads = ("", "macro F1 (95 %)", "micro F1", "prec.", "recall", "CRG", "AUC", "side", "lobe", "size", "mm off")
    lines = [_line(_SYSTEM_WIDTHS, heads)]
    for system in systems:
        *shares, error_mm = _locations(system)
        cells = (
            system.name,
            _number(system.presence.macro_f1),
            _value(system.presence.micro_f1),
            _number(system.presence.macro_precision),
            _number(system.presence.macro_recall),
            *(_value(one) for one in (system.presence.crg, _macro_auc(system), *shares)),
            _value(error_mm, 1),
        )
        lines.append(_line(_SYSTEM_WIDTHS, cells))
    return lines


def _interval_table(systems: Sequence[SystemScores]) -> list[str]:
    """Returns the intervals of the scores that the first table prints without."""
    lines = [
        _line(_INTERVAL_WIDTHS, ("95 % over patients", "micro F1", "CRG", "AUC", "side", "lobe", "size", "mm off"))
    ]
    for system in systems:
        *shares, error_mm = _locations(system)
        known = (system.presence.micro_f1, system.presence.crg, _macro_auc(system), *shares)
        lines.append(_line(_INTERVAL_WIDTHS, (system.name, *map(_interval, known), _interval(error_mm, 1))))
    return lines


def _text_table(systems: Sequence[SystemScores]) -> list[str]:
    """Returns diversity and similarity to the reference reports, of the systems that write texts."""
    heads = (
        "texts",
        "distinct",
        "sentences",
        "words used",
        "BLEU-1",
        "BLEU-4",
        "ROUGE-L",
        "METEOR (exact+stem)",
        "CIDEr",
    )
    lines = []
    for system in systems:
        if system.diversity is not None:
            diversity, text = system.diversity, system.text
            similarities = (
                (text.bleu_1, text.bleu_4, text.rouge_l, text.meteor, text.cider) if text is not None else (None,) * 5
            )
            counts = (_number(diversity.distinct), str(diversity.sentences), _number(diversity.vocabulary))
            cells = (*counts, *map(_number, similarities))
            lines.append(_line(_TEXT_WIDTHS, (system.name, *cells)))
    return [_line(_TEXT_WIDTHS, heads), *lines] if lines else []


def _finding_table(
    systems: Sequence[SystemScores], calibration: Calibration | None, vocabulary: Vocabulary
) -> list[str]:
    """Returns a line for each finding: the first system, the findings head, and F1 of two baselines."""
    named = {system.name: system for system in systems}
    auc = named[FINDINGS_HEAD].auc if FINDINGS_HEAD in named else None
    errors = dict(zip(calibration.names, calibration.errors, strict=True)) if calibration is not None else {}
    heads = ("finding", "studies", "prec.", "recall", "F1 (95 %)", "CRG", "F1", "AUC", "ECE", "ridge", "pos.")
    lines = [
        f"{'':<45}{f' {systems[0].name} ':-^40} {f' {FINDINGS_HEAD} ':-^20}{'HU':>7}{'all':>7}",
        _line(_FINDING_WIDTHS, heads),
    ]
    for index, kind in enumerate(vocabulary.findings):
        own = systems[0].presence.findings[index]
        f1 = {name: system.presence.findings[index].f1 for name, system in named.items()}
        cells = (
            own.precision,
            own.recall,
            _f1_estimate(own),
            own.crg,
            f1.get(FINDINGS_HEAD),
            auc.findings[index] if auc is not None else None,
            errors.get(kind.name),
            f1.get(HU_RIDGE),
            f1.get(ALL_POSITIVE),
        )
        lines.append(_line(_FINDING_WIDTHS, (kind.label, str(own.studies_with), *map(_number, cells))))
    if calibration is not None:
        known = [error for error in calibration.errors if error is not None]
        mean = sum(known) / max(len(known), 1)
        errors_text = f"mean of the findings {mean:.3f}, all decisions pooled {_number(calibration.error)}"
        lines.append(f"ECE, the calibration error of the findings head: {errors_text}")
    return lines


def _f1_estimate(score: FindingScore) -> Estimate | None:
    if score.f1 is None or score.f1_low is None or score.f1_high is None:
        return None
    return Estimate(score.f1, score.f1_low, score.f1_high, score.studies_with)


def _nodule_table(systems: Sequence[SystemScores]) -> list[str]:
    """Returns the recall of nodules in each diameter class."""
    shown = [system for system in systems if system.nodules and system.name in _NODULE_SYSTEMS]
    if not shown:
        return []
    lines = [_line(_NODULE_WIDTHS, ("nodule recall (95 %)", "studies", *(system.name for system in shown)))]
    for index, nodule_class in enumerate(shown[0].nodules):
        if nodule_class.recall is not None:
            name = (
                f"{nodule_class.from_mm:.0f} mm or more"
                if nodule_class.below_mm is None
                else f"{nodule_class.from_mm:.0f} to {nodule_class.below_mm:.0f} mm"
            )
            cells = (_number(system.nodules[index].recall) for system in shown)
            lines.append(_line(_NODULE_WIDTHS, (name, str(nodule_class.recall.count), *cells)))
    return lines


def _evidence_table(evidence: EvidenceScores, vocabulary: Vocabulary) -> list[str]:
    """Returns the shares of top slices inside the lesion."""
    title = f"top slice inside the lesion, {evidence.studies} studies with masks"
    if evidence.overall is None:
        return [f"{title}: no report correctly states a focal finding"]
    lines = [title, _line(_EVIDENCE_WIDTHS, ("finding", "statements", "share (95 %)", "chance"))]
    for share in (evidence.overall, *evidence.findings):
        name = vocabulary.kind(share.finding).label if share.finding else "all focal findings"
        count = f"{round(share.inside.value * share.inside.count)} of {share.inside.count}"
        lines.append(_line(_EVIDENCE_WIDTHS, (name, count, _number(share.inside), _number(share.chance))))
    return lines


def _line(widths: tuple[int, ...], cells: Sequence[str]) -> str:
    first, *others = cells
    return f"{first:<{widths[0]}}" + "".join(
        f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=False)
    )


def _number(value: float | Estimate | None) -> str:
    """Formats an estimate with its interval, or a number."""
    if isinstance(value, Estimate):
        return f"{value.value:.3f} ({value.low:.3f}-{value.high:.3f})"
    return "-" if value is None else f"{value:.3f}"


def _value(value: Estimate | None, digits: int = 3) -> str:
    """Formats an estimate without its interval."""
    return "-" if value is None else f"{value.value:.{digits}f}"


def _interval(value: Estimate | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value.low:.{digits}f}-{value.high:.{digits}f}"


def _macro_auc(system: SystemScores) -> Estimate | None:
    return system.auc.macro if system.auc is not None else None


def _locations(system: SystemScores) -> tuple[Estimate | None, ...]:
    """Returns the scores of side, lobe and size, and the mean absolute size error in mm; None where not scored."""
    scores = system.locations
    return (None,) * 4 if scores is None else (scores.side, scores.lobe, scores.size, scores.size_error_mm)


def _name_some(keys: Sequence[str]) -> str:
    """Returns the first keys; scores.json has all."""
    more = f" and {len(keys) - _NAMED} more" if len(keys) > _NAMED else ""
    return ", ".join(keys[:_NAMED]) + more


def _csv_cell(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
