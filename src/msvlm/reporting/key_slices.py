"""Draws one picture: the key slice of each positive finding, in the window that shows it, above its sentence."""

import textwrap
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from msvlm.imaging.preprocess import to_display_orientation
from msvlm.report import Report, Sentence
from msvlm.reporting.evidence_text import NO_SINGLE_SLICE, slices_text
from msvlm.study import Modality, Plane, Series, Study
from msvlm.vocabulary import find_vocabulary
from msvlm.vocabulary.vocabulary import FindingKind

TILE_PIXELS = 288
OUTSIDE = "This study lies outside what the model was trained on"
_CAPTION_LINES = 5
_LINE_PIXELS = 17
_MARGIN = 10
_SIDES = {Plane.AXIAL: ("R", "L"), Plane.CORONAL: ("R", "L"), Plane.SAGITTAL: ("A", "P")}
"""Labels of the left and the right edge of a slice in display orientation."""


@dataclass(frozen=True)
class _KeySlice:
    title: str
    slices: tuple[str, ...]
    sentence: str
    picture: Image.Image


@dataclass(frozen=True)
class KeyFinding:
    """A positive finding, and the first sentence with evidence that states it."""

    finding: str
    sentence: Sentence


def key_findings(report: Report) -> tuple[KeyFinding, ...]:
    """Returns each positive finding with evidence once, in reading order; a sentence may state several."""
    chosen: dict[str, KeyFinding] = {}
    for sentence in report.sentences:
        for finding in sentence.positive_findings if sentence.evidence else ():
            chosen.setdefault(finding, KeyFinding(finding, sentence))
    return tuple(chosen.values())


def draw_key_slices(report: Report, study: Study) -> Image.Image:
    """Draws the picture, or the words that there is no positive finding. The same input gives the same pixels."""
    by_key = {series.key: series for series in study.series}
    vocabulary = find_vocabulary(report.vocabulary)
    tiles = [
        _key_slice(key, vocabulary.kind(key.finding), by_key[key.sentence.evidence[0].series_key])
        for key in key_findings(report)
    ]
    columns = max(1, min(4, len(tiles)))
    rows = max(1, -(-len(tiles) // columns))
    tile_height = TILE_PIXELS + (_CAPTION_LINES + 1) * _LINE_PIXELS + _MARGIN
    width = max(columns, 2) * (TILE_PIXELS + _MARGIN) + _MARGIN
    warning = [OUTSIDE] if report.outside_training else []
    notices = [*textwrap.wrap(report.disclaimer, width // 7)[:2], *warning]
    header = _LINE_PIXELS * max(2, len(notices)) + _MARGIN
    sheet = Image.new("L", (width, header + rows * tile_height if tiles else header + 3 * _LINE_PIXELS), 0)
    draw = ImageDraw.Draw(sheet)
    small, large = ImageFont.load_default(13), ImageFont.load_default(15)
    for line, text in enumerate(notices):
        draw.text((_MARGIN, 6 + line * _LINE_PIXELS), text, 255 if text == OUTSIDE else 200, small)
    if not tiles:
        draw.text((_MARGIN, header), "No positive finding was written.", 255, large)
    for index, tile in enumerate(tiles):
        left = _MARGIN + (index % columns) * (TILE_PIXELS + _MARGIN)
        top = header + (index // columns) * tile_height
        sheet.paste(tile.picture, (left, top))
        draw.text((left, top + TILE_PIXELS + 2), tile.title, 255, large)
        room = _CAPTION_LINES - len(tile.slices)
        words = wrapped(tile.sentence, small, room)
        for line, text in enumerate((*tile.slices, *words)):
            draw.text((left, top + TILE_PIXELS + 4 + (line + 1) * _LINE_PIXELS), text, 200, small)
    return sheet


def wrapped(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, most_lines: int) -> list[str]:
    """Breaks text into lines no wider than a tile, shortened with dots where there are too many."""
    for characters in range(len(text) + 1, 0, -1):
        lines = textwrap.wrap(text, characters, max_lines=most_lines, placeholder=" ...")
        if all(font.getlength(line) <= TILE_PIXELS for line in lines):
            return lines
    return []


def _key_slice(key: KeyFinding, kind: FindingKind, series: Series) -> _KeySlice:
    evidence = key.sentence.evidence[0]
    shown, slice_indices = to_display_orientation(series)
    index = int(np.flatnonzero(slice_indices == evidence.slice_index)[0])
    slices = (slices_text([evidence]), *([NO_SINGLE_SLICE] if evidence.is_faint else []))
    picture = _tile(shown, index, _window(kind, shown))
    return _KeySlice(kind.label, slices, key.sentence.text, picture)


def _window(kind: FindingKind, series: Series) -> tuple[float, float]:
    if series.modality is Modality.MR:
        low, high = np.percentile(series.voxels, (1.0, 99.5))
        return float(low), float(max(high, low + 1.0))
    return kind.window_hu


def _tile(series: Series, index: int, window: tuple[float, float]) -> Image.Image:
    """Returns the slice in a black square, with the proportions of the patient and its sides labelled."""
    low, high = window
    grey: NDArray[np.uint8] = (np.clip((series.voxels[index] - low) / (high - low), 0.0, 1.0) * 255).astype(np.uint8)
    row_mm, column_mm = series.pixel_spacing_mm
    height_mm, width_mm = grey.shape[0] * row_mm, grey.shape[1] * column_mm
    scale = TILE_PIXELS / max(height_mm, width_mm)
    size = (max(1, round(width_mm * scale)), max(1, round(height_mm * scale)))
    tile = Image.new("L", (TILE_PIXELS, TILE_PIXELS), 0)
    resized = Image.fromarray(grey).resize(size, Image.Resampling.BICUBIC)
    tile.paste(resized, ((TILE_PIXELS - size[0]) // 2, (TILE_PIXELS - size[1]) // 2))
    draw = ImageDraw.Draw(tile)
    for side, left, anchor in zip(_SIDES[series.plane], (4, TILE_PIXELS - 4), ("lm", "rm"), strict=True):
        draw.text(
            (left, TILE_PIXELS // 2), side, 255, ImageFont.load_default(15), anchor, stroke_width=2, stroke_fill=0
        )
    return tile
