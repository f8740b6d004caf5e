"""The slices that a sentence rests on, in a reader's words: counted from 1, and by image number where it is known."""

from collections.abc import Sequence

from msvlm.report import Evidence, Sentence

NO_SINGLE_SLICE = "no single slice changes this sentence"


def evidence_text(sentence: Sentence) -> str:
    """What a sentence rests on; empty where it denies something and rests on no slice.

    For example `s2 images 70, 64 (slices 31, 37 of 100)`. Where a sentence states something and no slice by itself
    makes it less likely, that is said, and the slice is named that the findings head looked at most.
    """
    grounds = [piece for piece in sentence.evidence if not piece.is_faint]
    if grounds:
        return "; ".join(place_text(pieces) for pieces in _by_series(grounds))
    if sentence.evidence:
        return f"{NO_SINGLE_SLICE}; looked at most: {place_text(sentence.evidence[:1])}"
    return NO_SINGLE_SLICE if sentence.is_positive else ""


def place_text(pieces: Sequence[Evidence]) -> str:
    """Some slices of one series, and how many it has where that is known."""
    many = "s" if len(pieces) > 1 else ""
    slices = f"slice{many} {', '.join(str(piece.slice_index + 1) for piece in pieces)}"
    if pieces[0].slice_count is not None:
        slices += f" of {pieces[0].slice_count}"
    images = [str(piece.instance_number) for piece in pieces if piece.instance_number is not None]
    if len(images) == len(pieces):
        slices = f"image{many} {', '.join(images)} ({slices})"
    return f"{pieces[0].series_key} {slices}"


def _by_series(pieces: Sequence[Evidence]) -> list[list[Evidence]]:
    of_series: dict[str, list[Evidence]] = {}
    for piece in pieces:
        of_series.setdefault(piece.series_key, []).append(piece)
    return list(of_series.values())
