"""Where slices lie: DICOM's frame to ours, even and uneven gaps, tilt. Millimetres."""

import numpy as np
from numpy.typing import NDArray

from msvlm.study import SPACING_TOLERANCE_MM, Series, neighbours_in_words

LPS_TO_RAS = np.array((-1.0, -1.0, 1.0))
"""DICOM counts towards left, posterior, superior; msvlm and NIfTI towards right, anterior, superior."""

TILT_TOLERANCE_DEGREES = 0.1
SHIFT_TOLERANCE_MM = 0.1


def even_gap_mm(gaps_mm: NDArray[np.float64]) -> float:
    """The usual distance between neighbouring slices; 0 for a single slice."""
    return float(np.median(np.abs(gaps_mm))) if len(gaps_mm) else 0.0


def odd_gaps(gaps_mm: NDArray[np.float64]) -> NDArray[np.int64]:
    """Which gaps differ from the usual one by more than the house's tolerance."""
    usual_mm = even_gap_mm(gaps_mm)
    tolerance_mm = max(SPACING_TOLERANCE_MM, 0.01 * usual_mm)
    return np.flatnonzero(np.abs(np.abs(gaps_mm) - usual_mm) > tolerance_mm)


def distinct_gaps_mm(gaps_mm: NDArray[np.float64]) -> tuple[float, ...]:
    """The gaps that occur, ascending, each told once within the house's tolerance."""
    distinct: list[float] = []
    for gap_mm in np.sort(np.abs(gaps_mm)):
        if not distinct or gap_mm - distinct[-1] > max(SPACING_TOLERANCE_MM, 0.01 * distinct[-1]):
            distinct.append(float(gap_mm))
    return tuple(distinct)


def notes_on_places(series: Series) -> tuple[str, ...]:
    """What a reader should know of where the slices lie: missing slices, uneven gaps, tilt, shifts in plane."""
    if len(series.voxels) < 2:
        return ("a single image",)
    notes = []
    gaps_mm = series.slice_gaps_mm
    odd = odd_gaps(gaps_mm)
    if len(odd):
        notes.append(_note_on_gaps(series, odd))
    if series.tilt_degrees > TILT_TOLERANCE_DEGREES:
        notes.append(f"tilted by {series.tilt_degrees:.1f} degrees against the scan axis; kept as they are")
    shift_mm = _largest_shift_mm(series)
    if shift_mm > SHIFT_TOLERANCE_MM:
        notes.append(f"slices are shifted in their plane by up to {shift_mm:.1f} mm; kept as they are")
    return tuple(notes)


def _note_on_gaps(series: Series, odd: NDArray[np.int64]) -> str:
    gaps_mm = series.slice_gaps_mm
    usual_mm = even_gap_mm(gaps_mm)
    multiples = np.abs(gaps_mm[odd]) / usual_mm
    whole = np.rint(multiples)
    where = f"between {neighbours_in_words(int(odd[0]), series.instance_numbers)}"
    if len(odd) > 1:
        where += f" and at {len(odd) - 1} more"
    if len(odd) * 4 <= len(gaps_mm) and np.all(whole >= 2) and np.all(np.abs(multiples - whole) < 0.05):
        missing = int((whole - 1).sum())
        found = ", ".join(f"{gap:.2f}" for gap in distinct_gaps_mm(gaps_mm[odd]))
        verb = "slice is" if missing == 1 else "slices are"
        return (
            f"gaps of {usual_mm:.2f} mm, but of {found} mm {where}: {missing} {verb} missing; "
            "export the series again to have them"
        )
    found = ", ".join(f"{gap:.2f}" for gap in distinct_gaps_mm(gaps_mm)[:6])
    return f"unevenly spaced: gaps of {found} mm, the first odd one {where}; kept as they are"


def _largest_shift_mm(series: Series) -> float:
    """How far slices stray from the straight line through the first and the last."""
    offsets = series.positions_ras_mm - series.positions_ras_mm[0]
    along_mm = offsets @ series.normals_ras[0]
    if along_mm[-1] == 0.0:
        return float(np.linalg.norm(offsets, axis=1).max())
    line = np.outer(along_mm / along_mm[-1], offsets[-1])
    return float(np.linalg.norm(offsets - line, axis=1).max())
