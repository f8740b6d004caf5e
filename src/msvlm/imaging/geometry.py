"""Geometry of a stack of slices, in mm: conversion from LPS to RAS, gaps between slices, tilt, in-plane shifts."""

import numpy as np
from numpy.typing import NDArray

from msvlm.study import SPACING_TOLERANCE_MM, Series, describe_slice_pair

LPS_TO_RAS = np.array((-1.0, -1.0, 1.0))
"""Factors from DICOM's axes (left, posterior, superior) to those of msvlm and NIfTI (right, anterior, superior)."""

TILT_TOLERANCE_DEGREES = 0.1
SHIFT_TOLERANCE_MM = 0.1


def median_gap_mm(gaps_mm: NDArray[np.float64]) -> float:
    """Returns the median distance between neighbouring slices; 0 for a single slice."""
    return float(np.median(np.abs(gaps_mm))) if len(gaps_mm) else 0.0


def uneven_gaps(gaps_mm: NDArray[np.float64]) -> NDArray[np.int64]:
    """Returns the indices of the gaps that differ from the median gap by more than the tolerance of `msvlm.study`."""
    usual_mm = median_gap_mm(gaps_mm)
    tolerance_mm = max(SPACING_TOLERANCE_MM, 0.01 * usual_mm)
    return np.flatnonzero(np.abs(np.abs(gaps_mm) - usual_mm) > tolerance_mm)


def distinct_gaps_mm(gaps_mm: NDArray[np.float64]) -> tuple[float, ...]:
    """Returns the distinct gaps in ascending order; gaps equal within the tolerance are listed once."""
    distinct: list[float] = []
    for gap_mm in np.sort(np.abs(gaps_mm)):
        if not distinct or gap_mm - distinct[-1] > max(SPACING_TOLERANCE_MM, 0.01 * distinct[-1]):
            distinct.append(float(gap_mm))
    return tuple(distinct)


def describe_geometry(series: Series) -> tuple[str, ...]:
    """Returns notes on unusual geometry: missing slices, uneven gaps, tilt, in-plane shifts."""
    if len(series.voxels) < 2:
        return ("a single image",)
    notes = []
    gaps_mm = series.slice_gaps_mm
    uneven = uneven_gaps(gaps_mm)
    if len(uneven):
        notes.append(_describe_gaps(series, uneven))
    if series.tilt_degrees > TILT_TOLERANCE_DEGREES:
        notes.append(f"tilted by {series.tilt_degrees:.1f} degrees relative to the scan axis; not corrected")
    shift_mm = _largest_shift_mm(series)
    if shift_mm > SHIFT_TOLERANCE_MM:
        notes.append(f"slices are shifted in plane by up to {shift_mm:.1f} mm; not corrected")
    return tuple(notes)


def _describe_gaps(series: Series, uneven: NDArray[np.int64]) -> str:
    gaps_mm = series.slice_gaps_mm
    usual_mm = median_gap_mm(gaps_mm)
    multiples = np.abs(gaps_mm[uneven]) / usual_mm
    whole = np.rint(multiples)
    where = f"between {describe_slice_pair(int(uneven[0]), series.instance_numbers)}"
    if len(uneven) > 1:
        where += f" and {len(uneven) - 1} more"
    if len(uneven) * 4 <= len(gaps_mm) and np.all(whole >= 2) and np.all(np.abs(multiples - whole) < 0.05):
        missing = int((whole - 1).sum())
        found = ", ".join(f"{gap:.2f}" for gap in distinct_gaps_mm(gaps_mm[uneven]))
        verb = "slice is" if missing == 1 else "slices are"
        return (
            f"gaps of {usual_mm:.2f} mm, but of {found} mm {where}: {missing} {verb} missing; export the series again"
        )
    found = ", ".join(f"{gap:.2f}" for gap in distinct_gaps_mm(gaps_mm)[:6])
    return f"unevenly spaced: gaps of {found} mm, first deviation {where}; not resampled"


def _largest_shift_mm(series: Series) -> float:
    """Returns the largest distance of a slice's position from the line through the first and the last position."""
    offsets = series.positions_ras_mm - series.positions_ras_mm[0]
    along_mm = offsets @ series.normals_ras[0]
    if along_mm[-1] == 0.0:
        return float(np.linalg.norm(offsets, axis=1).max())
    line = np.outer(along_mm / along_mm[-1], offsets[-1])
    return float(np.linalg.norm(offsets - line, axis=1).max())
