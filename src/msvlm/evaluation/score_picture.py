"""One picture of an evaluation: macro F1 of every way of answering, and F1 of every finding, with their intervals."""

from PIL import Image, ImageDraw, ImageFont

from msvlm.evaluation.score_row import ALL_POSITIVE, FINDINGS_HEAD, GENERATED, HU_RIDGE, ScoreRow
from msvlm.evaluation.scoreboard import Evaluation
from msvlm.findings import CHEST_FINDINGS, label_of

WIDTH = 1200
_FINER = 2
"""The picture is drawn so many times larger and made smaller, which smooths its edges."""
_LEFT, _RIGHT = 340, 1000
"""Where F1 is 0 and 1."""
_MARGIN, _HEAD, _TITLE, _STEP, _AXIS = 30, 88, 58, 32, 40

_Colour = tuple[int, int, int]
_WHITE, _INK, _FAINT, _LINES, _STRIPE = (255, 255, 255), (30, 34, 42), (104, 110, 120), (218, 222, 228), (247, 248, 250)
_COLOURS: dict[str, _Colour] = {
    GENERATED: (22, 96, 178),
    FINDINGS_HEAD: (112, 168, 220),
    HU_RIDGE: (222, 122, 28),
    ALL_POSITIVE: (120, 126, 136),
}
_OTHER = (186, 191, 199)


def draw_scores(evaluation: Evaluation) -> Image.Image:
    """The picture; the same evaluation gives the same pixels."""
    rows, findings = len(evaluation.rows), len(CHEST_FINDINGS)
    first_top = _HEAD + _TITLE
    second_top = first_top + rows * _STEP + _AXIS + _TITLE
    sheet = _Sheet(WIDTH, second_top + findings * _STEP + _AXIS + 10)
    sheet.text(_MARGIN, 34, evaluation.model, 23)
    patients = f"{evaluation.studies} {evaluation.split} studies of {evaluation.patients} patients"
    sheet.text(_MARGIN, 66, f"{patients}. Thin lines: 95 % over patients.", 17, _FAINT)
    sheet.text(_MARGIN, first_top - _TITLE / 2, "Macro F1 of each way of answering", 20)
    sheet.stripes(first_top, rows)
    for number, row in enumerate(evaluation.rows):
        _draw_row(sheet, first_top + (number + 0.5) * _STEP, row)
    sheet.text(_MARGIN, second_top - _TITLE / 2, "F1 of each finding (studies with it)", 20)
    shown = [row for row in evaluation.rows if row.name in (GENERATED, HU_RIDGE, ALL_POSITIVE)]
    _draw_legend(sheet, second_top - _TITLE / 2, shown)
    sheet.stripes(second_top, findings)
    for number in range(findings):
        _draw_finding(sheet, second_top + (number + 0.5) * _STEP, number, shown)
    return sheet.finished()


def _draw_row(sheet: "_Sheet", middle: float, row: ScoreRow) -> None:
    score = row.scores.macro_f1
    sheet.text(_LEFT - 14, middle, row.name, 17, anchor="rm")
    sheet.bar(middle, score.value, _COLOURS.get(row.name, _OTHER))
    sheet.whisker(middle, score.low, score.high, _INK)
    sheet.text(_RIGHT + 22, middle, f"{score.value:.2f}  ({score.low:.2f}-{score.high:.2f})", 16, anchor="lm")


def _draw_finding(sheet: "_Sheet", middle: float, number: int, rows: list[ScoreRow]) -> None:
    """Signs that would hide one another are drawn with the generated report's on top."""
    for row in sorted(rows, key=lambda one: one.name == GENERATED):
        score = row.scores.findings[number]
        if row.name == GENERATED:
            sheet.whisker(middle, score.f1_low, score.f1_high, _COLOURS[GENERATED])
            told = f"{score.f1:.2f}  ({score.f1_low:.2f}-{score.f1_high:.2f})"
            sheet.text(_RIGHT + 22, middle, told, 16, anchor="lm")
        sheet.mark(row.name, _place(score.f1), middle)
        sheet.text(_LEFT - 14, middle, f"{label_of(score.name)} ({score.studies_with})", 16, anchor="rm")


def _draw_legend(sheet: "_Sheet", middle: float, rows: list[ScoreRow]) -> None:
    x = 540.0
    for row in rows:
        sheet.mark(row.name, x, middle)
        sheet.text(x + 15, middle, row.name, 16)
        x += 55 + sheet.length(row.name, 16)


class _Sheet:
    """A canvas, its places in pixels of the finished picture."""

    def __init__(self, width: int, height: int) -> None:
        self._image = Image.new("RGB", (width * _FINER, height * _FINER), _WHITE)
        self._draw = ImageDraw.Draw(self._image)

    def finished(self) -> Image.Image:
        """The picture in its own size, in few colours."""
        size = (self._image.width // _FINER, self._image.height // _FINER)
        return self._image.resize(size, Image.Resampling.LANCZOS).quantize(128)

    def text(self, x: float, middle: float, text: str, size: int, colour: _Colour = _INK, anchor: str = "lm") -> None:
        """Words, the middle of their height at `middle`."""
        font = ImageFont.load_default(size * _FINER)
        self._draw.text((x * _FINER, middle * _FINER), text, colour, font, anchor)

    def length(self, text: str, size: int) -> float:
        """How wide words are."""
        return ImageFont.load_default(size * _FINER).getlength(text) / _FINER

    def stripes(self, top: float, rows: int) -> None:
        """The ground of a panel: every second row tinted, a line and a number at each fifth of F1."""
        for number in range(0, rows, 2):
            self._box(_MARGIN, top + number * _STEP, WIDTH - _MARGIN, top + (number + 1) * _STEP, _STRIPE)
        for fifth in range(6):
            x, bottom = _place(fifth / 5), top + rows * _STEP
            self._box(x - 0.5, top, x + 0.5, bottom + 5, _LINES)
            self.text(x, bottom + 17, f"{fifth / 5:.1f}", 15, _FAINT, "mm")

    def bar(self, middle: float, value: float, colour: _Colour) -> None:
        """From 0 to a value."""
        self._box(_place(0.0), middle - 9, _place(value), middle + 9, colour)

    def whisker(self, middle: float, low: float, high: float, colour: _Colour) -> None:
        """An interval."""
        self._box(_place(low), middle - 1, _place(high), middle + 1, colour)
        for end in (low, high):
            self._box(_place(end) - 1, middle - 5, _place(end) + 1, middle + 5, colour)

    def mark(self, name: str, x: float, middle: float) -> None:
        """The sign of a row: a disc, a diamond, or an upright line."""
        colour, (x, y) = _COLOURS[name], (x * _FINER, middle * _FINER)
        if name == GENERATED:
            self._draw.circle((x, y), 7 * _FINER, colour)
        elif name == HU_RIDGE:
            reach = 7 * _FINER
            self._draw.polygon([(x - reach, y), (x, y - reach), (x + reach, y), (x, y + reach)], colour)
        else:
            self._box(x / _FINER - 1.5, middle - 9, x / _FINER + 1.5, middle + 9, colour)

    def _box(self, left: float, top: float, right: float, bottom: float, colour: _Colour) -> None:
        right = max(right, left + 1)
        self._draw.rectangle((left * _FINER, top * _FINER, right * _FINER - 1, bottom * _FINER - 1), colour)


def _place(value: float) -> float:
    """Where a value of F1 lies from left to right."""
    return _LEFT + value * (_RIGHT - _LEFT)
