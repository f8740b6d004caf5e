"""Slices of one DICOM series -> stacks: one orientation, matrix, kind of image and b-value; one slice per position."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from msvlm.imaging.dicom.header import DicomHeader
from msvlm.study import SPACING_TOLERANCE_MM

SAME_DIRECTION = 1e-3
"""Cosines of an orientation, and pixel spacings in mm, that differ by no more are the same."""


@dataclass(frozen=True)
class Stack:
    """Slices that make one volume, ordered by position along their normal.

    Attributes:
        told_apart_by: the property that parts it from the other stacks of its series, empty where it is alone.
        label: short and free of patient data, to part the keys of stacks, for example `b800` or `a2`.
    """

    headers: tuple[DicomHeader, ...]
    told_apart_by: str = ""
    label: str = ""


def stacks_of(headers: Sequence[DicomHeader]) -> tuple[Stack, ...]:
    """The stacks of one series, the first acquired first.

    Acquisitions that follow one another along the normal stay together (step-and-shoot CT counts one for each table
    position); where they overlap, each is a stack of its own.
    """
    stacks: list[Stack] = []
    families = _families(headers)
    for family in families:
        told_apart_by = _difference(family, families) if len(families) > 1 else ""
        label = _b_label(family[0]) if told_apart_by == "b-value" else ""
        for part in _without_overlap(family):
            stacks.append(
                Stack(
                    in_order(part.headers),
                    " and ".join(filter(None, (told_apart_by, part.told_apart_by))),
                    "-".join(filter(None, (label, part.label))),
                )
            )
    return tuple(sorted(stacks, key=lambda stack: min(map(_instance, stack.headers))))


def in_order(headers: Sequence[DicomHeader]) -> tuple[DicomHeader, ...]:
    """Ascending along the normal of the first slice; at one position by instance number."""
    along_mm = positions_along_normal_mm(headers)
    order = sorted(range(len(headers)), key=lambda index: (along_mm[index], _instance(headers[index])))
    return tuple(headers[index] for index in order)


def positions_along_normal_mm(headers: Sequence[DicomHeader]) -> NDArray[np.float64]:
    """(slices,), along the first slice's normal (DICOM PS3.3 C.7.6.2.1.1)."""
    across, down = np.reshape(headers[0].orientation_lps or (), (2, 3))
    positions = np.array([header.position_lps_mm for header in headers], dtype=np.float64)
    along_mm: NDArray[np.float64] = positions @ np.cross(across, down)
    return along_mm


def _families(headers: Sequence[DicomHeader]) -> list[list[DicomHeader]]:
    """Slices that could lie in one stack: what differs between families never mixes."""
    families: list[list[DicomHeader]] = []
    for header in headers:
        for family in families:
            if not _difference([header], [family]):
                family.append(header)
                break
        else:
            families.append([header])
    return families


def _difference(family: Sequence[DicomHeader], families: Sequence[Sequence[DicomHeader]]) -> str:
    """What parts a family from the first other one, in words; empty where nothing does."""
    first = family[0]
    for other in (members[0] for members in families if members is not family):
        if (first.rows, first.columns) != (other.rows, other.columns):
            return "matrix"
        if first.b_value_s_mm2 != other.b_value_s_mm2:
            return "b-value"
        if not _alike(first.orientation_lps, other.orientation_lps):
            return "orientation"
        if not _alike(first.pixel_spacing_mm, other.pixel_spacing_mm):
            return "pixel spacing"
        if _kind_of_image(first) != _kind_of_image(other):
            return "image type"
    return ""


def _alike(one: tuple[float, ...] | None, other: tuple[float, ...] | None) -> bool:
    return all(abs(a - b) <= SAME_DIRECTION * max(1.0, abs(a)) for a, b in zip(one or (), other or (), strict=True))


def _kind_of_image(header: DicomHeader) -> tuple[str, ...]:
    """CT scanners mark single slices of a stack in the later values of Image Type; MR tells phase from magnitude."""
    kept = header.image_type[:3] if header.modality == "CT" else header.image_type
    return (header.modality, *kept)


def _without_overlap(family: list[DicomHeader]) -> list[Stack]:
    """Parts of a family with one slice per position, as far as the headers tell slices apart."""
    if family[0].modality == "CT":
        parts = _joined_where_they_follow(_parts(family, lambda header: str(header.acquisition_number)))
        if len(parts) > 1 and _duplicates(parts) <= _duplicates([family]):
            return [
                Stack(tuple(part), "acquisition", f"a{number}")
                for number, whole in enumerate(parts, start=1)
                for part in (rest.headers for rest in _told_apart(whole))
            ]
    return _told_apart(family)


def _told_apart(family: list[DicomHeader]) -> list[Stack]:
    if not _duplicates([family]):
        return [Stack(tuple(family))]
    for place, (name, _) in enumerate(family[0].tell_apart):
        parts = _parts(family, lambda header, place=place: header.tell_apart[place][1])  # type: ignore[misc]  # mypy cannot infer a lambda that binds by default
        if 1 < len(parts) <= len(family) / 2 and _duplicates(parts) < _duplicates([family]):
            return [
                Stack(rest.headers, name, "-".join(filter(None, (f"{name[0]}{number}", rest.label))))
                for number, part in enumerate(parts, start=1)
                for rest in _told_apart(part)
            ]
    return [Stack(tuple(family))]


def _parts(family: Sequence[DicomHeader], key: Callable[[DicomHeader], str]) -> list[list[DicomHeader]]:
    """By a property, the part with the lowest instance number first."""
    parts: dict[str, list[DicomHeader]] = {}
    for header in sorted(family, key=_instance):
        parts.setdefault(key(header), []).append(header)
    return list(parts.values())


def _joined_where_they_follow(parts: list[list[DicomHeader]]) -> list[list[DicomHeader]]:
    """Acquisitions whose ranges along the normal do not overlap make one stack."""
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


def _duplicates(parts: Sequence[Sequence[DicomHeader]]) -> int:
    """How many slices lie where another slice of their part lies."""
    return sum(int((np.diff(np.sort(positions_along_normal_mm(part))) <= SPACING_TOLERANCE_MM).sum()) for part in parts)


def _instance(header: DicomHeader) -> int:
    return header.instance_number if header.instance_number is not None else header.source.number


def _b_label(header: DicomHeader) -> str:
    return "b" if header.b_value_s_mm2 is None else f"b{header.b_value_s_mm2:g}"
