"""The evidence of a sentence as text: slices counted from 1, with image numbers where they are known."""

from collections.abc import Sequence

from msvlm.report import Evidence, Sentence

NO_SINGLE_SLICE = "no single slice changes this sentence"


def evidence_text(sentence: Sentence) -> str:
    """Returns the slices on which a sentence rests; empty where it states no finding and rests on no slice.

    For example `s2 images 70, 64 (slices 31, 37 of 100)`. Where a sentence states a finding and no slice by itself
    makes it less probable, the text says so and names the slice with the most attention of the findings head.
    """
    strong = [piece for piece in sentence.evidence if not piece.is_faint]
    if strong:
        return "; ".join(slices_text(pieces) for pieces in _by_series(strong))
    if sentence.evidence:
        return f"{NO_SINGLE_SLICE}; most attention: {slices_text(sentence.evidence[:1])}"
    return NO_SINGLE_SLICE if sentence.positive_findings else ""


def slices_text(pieces: Sequence[Evidence]) -> str:
    """Returns the names of some slices of one series, with the number of its slices where it is known."""
    many = "s" if len(pieces) > 1 else ""
    slices = f"slice{many} {', '.join(str(piece.slice_index + 1) for piece in pieces)}"
    if pieces[0].slice_count is not None:
        slices += f" of {pieces[0].slice_count}"
    images = [str(piece.instance_number) for piece in pieces if piece.instance_number is not None]
    if len(images) == len(pieces):
        slices = f"image{many} {', '.join(images)} ({slices})"
    return f"{pieces[0].series_key} {slices}"


def _by_series(pieces: Sequence[Evidence]) -> list[list[Evidence]]:
    by_series: dict[str, list[Evidence]] = {}
    for piece in pieces:
        by_series.setdefault(piece.series_key, []).append(piece)
    return list(by_series.values())
