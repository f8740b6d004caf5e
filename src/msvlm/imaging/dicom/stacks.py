"""Splits a DICOM series into stacks of one matrix, orientation, image type and b-value, sorted by position."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msvlm.imaging.dicom.header import DicomHeader
from msvlm.study import SPACING_TOLERANCE_MM

ORIENTATION_TOLERANCE = 1e-3
"""Direction cosines, and pixel spacings in mm, count as equal where they differ by at most this."""


@dataclass(frozen=True)
class Stack:
    """Slices of one volume, ordered by position along their normal.

    Attributes:
        separated_by: the property that distinguishes it from the other stacks of its series, empty for a single stack.
        label: suffix of the series key that distinguishes stacks, free of patient data, for example `b800` or `a2`.
    """

    headers: tuple[DicomHeader, ...]
    separated_by: str = ""
    label: str = ""


def split_into_stacks(headers: Sequence[DicomHeader]) -> tuple[Stack, ...]:
    """Splits one series into stacks, ordered by their lowest instance number.

    Acquisitions that follow one another along the normal stay together (step-and-shoot CT has one acquisition number
    for each table position); where they overlap, each becomes a separate stack.
    """
    stacks: list[Stack] = []
    groups = _group_compatible(headers)
    for group in groups:
        separated_by = _difference(group, groups) if len(groups) > 1 else ""
        label = _b_value_label(group[0]) if separated_by == "b-value" else ""
        for part in _split_overlaps(group):
            stacks.append(
                Stack(
                    sort_along_normal(part.headers),
                    " and ".join(filter(None, (separated_by, part.separated_by))),
                    "-".join(filter(None, (label, part.label))),
                )
            )
    return tuple(sorted(stacks, key=lambda stack: min(map(_instance_number, stack.headers))))


def sort_along_normal(headers: Sequence[DicomHeader]) -> tuple[DicomHeader, ...]:
    """Sorts slices along the normal of the first one; slices at the same position by instance number."""
    along_mm = positions_along_normal_mm(headers)
    order = sorted(range(len(headers)), key=lambda index: (along_mm[index], _instance_number(headers[index])))
    return tuple(headers[index] for index in order)


def positions_along_normal_mm(headers: Sequence[DicomHeader]) -> NDArray[np.float64]:
    """Returns (slices,), positions along the first slice's normal (DICOM PS3.3 C.7.6.2.1.1)."""
    across, down = np.reshape(headers[0].orientation_lps or (), (2, 3))
    positions = np.array([header.position_lps_mm for header in headers], dtype=np.float64)
    along_mm: NDArray[np.float64] = positions @ np.cross(across, down)
    return along_mm


def _group_compatible(headers: Sequence[DicomHeader]) -> list[list[DicomHeader]]:
    """Groups slices that may form one stack: same matrix, b-value, orientation, pixel spacing and image type."""
    groups: list[list[DicomHeader]] = []
    for header in headers:
        for group in groups:
            if not _difference([header], [group]):
                group.append(header)
                break
        else:
            groups.append([header])
    return groups


def _difference(group: Sequence[DicomHeader], groups: Sequence[Sequence[DicomHeader]]) -> str:
    """Names the property in which a group differs from the first other group that differs; empty where none does."""
    first = group[0]
    for other in (members[0] for members in groups if members is not group):
        if (first.rows, first.columns) != (other.rows, other.columns):
            return "matrix"
        if first.b_value_s_mm2 != other.b_value_s_mm2:
            return "b-value"
        if not _are_close(first.orientation_lps, other.orientation_lps):
            return "orientation"
        if not _are_close(first.pixel_spacing_mm, other.pixel_spacing_mm):
            return "pixel spacing"
        if _image_type(first) != _image_type(other):
            return "image type"
    return ""


def _are_close(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    return all(
        abs(a - b) <= ORIENTATION_TOLERANCE * max(1.0, abs(a)) for a, b in zip(one or (), other or (), strict=True)
    )


def _image_type(header: DicomHeader) -> tuple[str, ...]:
    """Returns modality and Image Type; of CT only three values, because scanners mark single slices in later ones."""
    kept = header.image_type[:3] if header.modality == "CT" else header.image_type
    return (header.modality, *kept)


def _split_overlaps(group: list[DicomHeader]) -> list[Stack]:
    """Splits a group into stacks with one slice per position, as far as headers distinguish the slices."""
    if group[0].modality == "CT":
        parts = _join_consecutive(_partition(group, lambda header: str(header.acquisition_number)))
        if len(parts) > 1 and _count_duplicates(parts) <= _count_duplicates([group]):
            return [
                Stack(tuple(part), "acquisition", f"a{number}")
                for number, whole in enumerate(parts, start=1)
                for part in (rest.headers for rest in _split_duplicates(whole))
            ]
    return _split_duplicates(group)


def _split_duplicates(group: list[DicomHeader]) -> list[Stack]:
    if not _count_duplicates([group]):
        return [Stack(tuple(group))]
    for place, (name, _) in enumerate(group[0].distinguishing_values):
        parts = _partition(group, lambda header, place=place: header.distinguishing_values[place][1])  # type: ignore[misc]  # mypy cannot infer a lambda that binds by default
        if 1 < len(parts) <= len(group) / 2 and _count_duplicates(parts) < _count_duplicates([group]):
            return [
                Stack(rest.headers, name, "-".join(filter(None, (f"{name[0]}{number}", rest.label))))
                for number, part in enumerate(parts, start=1)
                for rest in _split_duplicates(part)
            ]
    return [Stack(tuple(group))]


def _partition(group: Sequence[DicomHeader], key: Callable[[DicomHeader], str]) -> list[list[DicomHeader]]:
    """Partitions slices by a property; the part with the lowest instance number comes first."""
    parts: dict[str, list[DicomHeader]] = {}
    for header in sorted(group, key=_instance_number):
        parts.setdefault(key(header), []).append(header)
    return list(parts.values())


def _join_consecutive(parts: list[list[DicomHeader]]) -> list[list[DicomHeader]]:
    """Joins acquisitions whose ranges along the normal do not overlap."""
    joined: list[list[DicomHeader]] = []
    ranges: list[list[tuple[float, float]]] = []
    for part in parts:
        along_mm = positions_along_normal_mm([parts[0][0], *part])[1:]
        low, high = float(along_mm.min()), float(along_mm.max())
        for stack, taken in zip(joined, ranges, strict=True):
            if all(high < start - SPACING_TOLERANCE_MM or low > end + SPACING_TOLERANCE_MM for start, end in taken):
                stack.extend(part)
                taken.append((low, high))
                break
        else:
            joined.append(list(part))
            ranges.append([(low, high)])
    return joined


def _count_duplicates(parts: Sequence[Sequence[DicomHeader]]) -> int:
    """Counts the slices that have the same position as another slice of their part."""
    return sum(int((np.diff(np.sort(positions_along_normal_mm(part))) <= SPACING_TOLERANCE_MM).sum()) for part in parts)


def _instance_number(header: DicomHeader) -> int:
    return header.instance_number if header.instance_number is not None else header.source.number


def _b_value_label(header: DicomHeader) -> str:
    return "b" if header.b_value_s_mm2 is None else f"b{header.b_value_s_mm2:g}"
