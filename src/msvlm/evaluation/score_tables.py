"""Scores as tables for reading: 120 columns wide at most, names to the left, numbers to the right."""

from collections.abc import Sequence

from msvlm.evaluation.bootstrap import Estimate
from msvlm.evaluation.calibration import Calibration
from msvlm.evaluation.evidence_agreement import EvidenceAgreement
from msvlm.evaluation.paired_test import PairedDifference
from msvlm.evaluation.score_row import (
    ALL_POSITIVE,
    ANOTHER_IMAGE,
    FINDINGS_HEAD,
    GENERATED,
    HU_RIDGE,
    NO_IMAGE,
    ScoreRow,
)
from msvlm.findings import CHEST_FINDINGS, label_of

_ROW_WIDTHS = (24, 22, 10, 8, 8, 8, 8, 8, 8, 8, 8)
_INTERVAL_WIDTHS = (24, 13, 13, 13, 13, 13, 13, 13)
_TEXT_WIDTHS = (24, 10, 11, 12, 9, 9, 9, 9, 9)
_FINDING_WIDTHS = (35, 8, 7, 7, 21, 7, 7, 7, 7, 7, 7)
_NODULE_WIDTHS = (24, 8, 21, 21, 21, 25)
_EVIDENCE_WIDTHS = (35, 12, 21, 8)
_NODULE_ROWS = (GENERATED, FINDINGS_HEAD, NO_IMAGE, ANOTHER_IMAGE)


def row_table(rows: Sequence[ScoreRow]) -> list[str]:
    """The scores of each answer; precision and recall are means over the findings."""
    heads = ("", "macro F1 (95 %)", "micro F1", "prec.", "recall", "CRG", "AUC", "side", "lobe", "size", "mm off")
    lines = [_line(_ROW_WIDTHS, heads)]
    for row in rows:
        *shares, error_mm = _placed(row)
        cells = (
            row.name,
            _number(row.scores.macro_f1),
            _value(row.scores.micro_f1),
            _number(row.scores.macro_precision),
            _number(row.scores.macro_recall),
            *(_value(one) for one in (row.scores.crg, _area(row), *shares)),
            _value(error_mm, 1),
        )
        lines.append(_line(_ROW_WIDTHS, cells))
    return lines


def interval_table(rows: Sequence[ScoreRow]) -> list[str]:
    """Between what the other scores lie in 95 % of the draws of patients."""
    lines = [
        _line(_INTERVAL_WIDTHS, ("95 % over patients", "micro F1", "CRG", "AUC", "side", "lobe", "size", "mm off"))
    ]
    for row in rows:
        *shares, error_mm = _placed(row)
        known = (row.scores.micro_f1, row.scores.crg, _area(row), *shares)
        lines.append(_line(_INTERVAL_WIDTHS, (row.name, *map(_interval, known), _interval(error_mm, 1))))
    return lines


def text_table(rows: Sequence[ScoreRow]) -> list[str]:
    """How the texts differ from one another and how like the true reports they are, of the answers that are texts."""
    heads = ("texts", "distinct", "sentences", "words used", "BLEU-1", "BLEU-4", "ROUGE-L", "METEOR", "CIDEr")
    lines = []
    for row in rows:
        if row.diversity is not None:
            found, like = row.diversity, row.likeness
            known = (
                (like.bleu_1, like.bleu_4, like.rouge_l, like.meteor, like.cider) if like is not None else (None,) * 5
            )
            cells = (_number(found.distinct), str(found.sentences), _number(found.vocabulary), *map(_number, known))
            lines.append(_line(_TEXT_WIDTHS, (row.name, *cells)))
    return [_line(_TEXT_WIDTHS, heads), *lines] if lines else []


def finding_table(rows: Sequence[ScoreRow], calibration: Calibration | None) -> list[str]:
    """Finding by finding: the first row's texts, the findings head, and F1 of what is to be beaten."""
    named = {row.name: row for row in rows}
    areas = named[FINDINGS_HEAD].areas if FINDINGS_HEAD in named else None
    errors = dict(zip(calibration.names, calibration.errors, strict=True)) if calibration is not None else {}
    heads = ("finding", "studies", "prec.", "recall", "F1 (95 %)", "CRG", "F1", "AUC", "ECE", "ridge", "pos.")
    lines = [
        f"{'':<45}{f' {rows[0].name} ':-^40} {f' {FINDINGS_HEAD} ':-^20}{'HU':>7}{'all':>7}",
        _line(_FINDING_WIDTHS, heads),
    ]
    for index, kind in enumerate(CHEST_FINDINGS):
        own = rows[0].scores.findings[index]
        f1 = {name: row.scores.findings[index].f1 for name, row in named.items()}
        cells = (
            own.precision,
            own.recall,
            Estimate(own.f1, own.f1_low, own.f1_high, own.studies_with),
            own.crg,
            f1.get(FINDINGS_HEAD),
            areas.findings[index] if areas is not None else None,
            errors.get(kind.name),
            f1.get(HU_RIDGE),
            f1.get(ALL_POSITIVE),
        )
        lines.append(_line(_FINDING_WIDTHS, (kind.label, str(own.studies_with), *map(_number, cells))))
    if calibration is not None:
        mean = sum(calibration.errors) / len(calibration.errors)
        told = f"mean of the findings {mean:.3f}, all decisions pooled {calibration.error:.3f}"
        lines.append(f"ECE, the calibration error of the findings head: {told}")
    return lines


def nodule_table(rows: Sequence[ScoreRow]) -> list[str]:
    """How many of the studies whose largest nodule has such a diameter are said to have a nodule."""
    shown = [row for row in rows if row.nodules and row.name in _NODULE_ROWS]
    if not shown:
        return []
    lines = [_line(_NODULE_WIDTHS, ("nodule recall (95 %)", "studies", *(row.name for row in shown)))]
    for index, one in enumerate(shown[0].nodules):
        if one.recall is not None:
            name = (
                f"{one.from_mm:.0f} mm or more"
                if one.below_mm is None
                else f"{one.from_mm:.0f} to {one.below_mm:.0f} mm"
            )
            cells = (_number(row.nodules[index].recall) for row in shown)
            lines.append(_line(_NODULE_WIDTHS, (name, str(one.recall.count), *cells)))
    return lines


def evidence_table(evidence: EvidenceAgreement) -> list[str]:
    """How often the top slice of a sentence lies inside the lesion that the sentence rightly states."""
    told = f"top slice inside the lesion, {evidence.studies} studies with masks"
    if evidence.overall is None:
        return [f"{told}: no focal finding was rightly stated"]
    lines = [told, _line(_EVIDENCE_WIDTHS, ("finding", "statements", "share (95 %)", "chance"))]
    for share in (evidence.overall, *evidence.findings):
        name = label_of(share.finding) if share.finding else "all focal findings"
        count = f"{round(share.inside.value * share.inside.count)} of {share.inside.count}"
        lines.append(_line(_EVIDENCE_WIDTHS, (name, count, _number(share.inside), _number(share.chance))))
    return lines


def against_line(against: PairedDifference) -> str:
    """The difference from another model in one line."""
    found = against.macro_f1
    return (
        f"macro F1 {found.value:+.3f} against {against.other} "
        f"({found.low:+.3f} to {found.high:+.3f}, 95 % over patients; p = {against.p_value:.4f})"
    )


def _line(widths: tuple[int, ...], cells: Sequence[str]) -> str:
    first, *others = cells
    return f"{first:<{widths[0]}}" + "".join(
        f"{cell:>{width}}" for cell, width in zip(others, widths[1:], strict=False)
    )


def _number(value: float | Estimate | None) -> str:
    """An estimate with its interval."""
    if isinstance(value, Estimate):
        return f"{value.value:.3f} ({value.low:.3f}-{value.high:.3f})"
    return "-" if value is None else f"{value:.3f}"


def _value(value: Estimate | None, digits: int = 3) -> str:
    """An estimate without its interval."""
    return "-" if value is None else f"{value.value:.{digits}f}"


def _interval(value: Estimate | None, digits: int = 3) -> str:
    return "-" if value is None else f"{value.low:.{digits}f}-{value.high:.{digits}f}"


def _area(row: ScoreRow) -> Estimate | None:
    return row.areas.macro if row.areas is not None else None


def _placed(row: ScoreRow) -> tuple[Estimate | None, ...]:
    """Side, lobe, size, and the error of sizes."""
    found = row.agreement
    return (None,) * 4 if found is None else (found.side, found.lobe, found.size, found.size_error_mm)
