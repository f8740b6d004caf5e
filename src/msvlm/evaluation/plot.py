"""scores.png: macro F1 of each system and F1 of each finding, with 95 % intervals over patients."""

import io
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from msvlm.errors import MetricError
from msvlm.evaluation.systems import ALL_POSITIVE, FINDINGS_HEAD, GENERATED, HU_RIDGE
from msvlm.evaluation.tables import Evaluation
from msvlm.vocabulary import find_vocabulary

if TYPE_CHECKING:
    from matplotlib.axes import Axes

WIDTH, DPI = 1200, 100
"""Pixels, and pixels per inch."""
_COLOURS = {GENERATED: "#1660b2", FINDINGS_HEAD: "#70a8dc", HU_RIDGE: "#de7a1c", ALL_POSITIVE: "#787e88"}
_OTHER_COLOUR = "#babfc7"
_MARKERS = {ALL_POSITIVE: "|", HU_RIDGE: "D", GENERATED: "o"}
"""Systems in the second panel, the last one on top."""


def draw_scores(evaluation: Evaluation) -> bytes:
    """Returns a PNG; the same evaluation gives the same bytes.

    Raises:
        MetricError: matplotlib is not installed.
    """
    try:
        from matplotlib.figure import Figure  # noqa: PLC0415  # optional; and not pyplot, which looks for a display
    except ModuleNotFoundError as error:
        raise MetricError('matplotlib is not installed; run: pip install "msvlm[eval]"') from error
    systems, findings = evaluation.systems, evaluation.systems[0].presence.findings
    height = 2.2 + 0.32 * (len(systems) + len(findings))
    figure = Figure(figsize=(WIDTH / DPI, height), dpi=DPI, layout="constrained")
    first, second = figure.subplots(2, height_ratios=(len(systems), len(findings)))
    studies = f"{evaluation.studies} {evaluation.split} studies of {evaluation.patients} patients"
    figure.suptitle(f"{evaluation.model}\n{studies}; thin lines: 95 % over patients", x=0.01, ha="left", fontsize=12)

    _set_up(first, "Macro F1 of each system", [system.name for system in systems])
    for row, system in enumerate(systems):
        macro = system.presence.macro_f1
        first.barh(row, macro.value, height=0.6, color=_COLOURS.get(system.name, _OTHER_COLOUR))
        _draw_interval(first, row, (macro.value, macro.low, macro.high), "black")

    labels = [
        f"{find_vocabulary(evaluation.vocabulary).kind(finding.name).label} ({finding.studies_with})"
        for finding in findings
    ]
    _set_up(second, "F1 of each finding (studies with it)", labels)
    for name in (name for name in _MARKERS if name in {system.name for system in systems}):
        scores = evaluation.system(name).presence.findings
        values = [math.nan if score.f1 is None else score.f1 for score in scores]
        second.plot(values, range(len(values)), _MARKERS[name], color=_COLOURS[name], ms=9, label=name, clip_on=False)
        second.legend(loc="lower right", bbox_to_anchor=(1.0, 1.0), ncols=len(_MARKERS), frameon=False)
        for row, score in enumerate(scores if name == GENERATED else ()):
            if score.f1 is not None and score.f1_low is not None and score.f1_high is not None:
                _draw_interval(second, row, (score.f1, score.f1_low, score.f1_high), _COLOURS[name])
    png = io.BytesIO()
    figure.savefig(png, format="png")
    return png.getvalue()


def _set_up(axes: "Axes", title: str, labels: Sequence[str]) -> None:
    axes.set_title(title, loc="left", fontsize=11)
    axes.set_yticks(range(len(labels)), labels)
    axes.set(xlim=(0.0, 1.0), ylim=(len(labels) - 0.5, -0.5))
    axes.grid(axis="x", color="#dadee4")
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)


def _draw_interval(axes: "Axes", row: int, score: tuple[float, float, float], colour: str) -> None:
    """Draws an interval, and its numbers to the right of the axes; `score` is value, low, high."""
    axes.plot(score[1:], (row, row), "|-", color=colour, linewidth=1.2, clip_on=False)
    numbers = "{:.2f}  ({:.2f}-{:.2f})".format(*score)
    axes.text(1.02, row, numbers, va="center", fontsize=9, transform=axes.get_yaxis_transform())
