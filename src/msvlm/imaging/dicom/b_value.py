"""Diffusion b-values from before DICOM had an element for them: where each vendor keeps its own, s/mm2."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydicom.tag import BaseTag, Tag

_BLOCKS = range(0x10, 0x20)
"""Private blocks that are looked at; DICOM PS3.5 7.8.1 allows 0x10 to 0xFF, writers take the first that is free."""

_GE_MARK = 1_000_000_000
"""GE adds this to b-values of some software versions."""

_LARGEST = 100_000.0


@dataclass(frozen=True)
class _PrivateElement:
    """A private element: its group, the creator that reserves its block, and its number within the block."""

    group: int
    creator: str
    element: int


_PHILIPS = _PrivateElement(0x2001, "Philips Imaging DD 001", 0x03)
_SIEMENS = _PrivateElement(0x0019, "SIEMENS MR HEADER", 0x0C)
_GE = _PrivateElement(0x0043, "GEMS_PARM_01", 0x39)
_ELEMENTS = (_SIEMENS, _GE, _PHILIPS)

B_VALUE_TAGS = tuple(
    Tag(each.group, number) for each in _ELEMENTS for block in _BLOCKS for number in (block, block << 8 | each.element)
)
"""The elements to read of a file: those that name the blocks' creators, and the values."""


def private_b_value(value_of: Callable[[BaseTag], object]) -> float | None:
    """The b-value of an MR image, None where no vendor's element tells a sensible one.

    Args:
        value_of: gives the value of an element, None where it is absent or malformed.
    """
    for element in _ELEMENTS:
        for block in _BLOCKS:
            if str(value_of(Tag(element.group, block)) or "").strip(" \0") != element.creator:
                continue
            number = _first_number(value_of(Tag(element.group, block << 8 | element.element)), element is _PHILIPS)
            if number is not None:
                return number % _GE_MARK if element is _GE else number
    return None


def _first_number(value: object, is_binary: bool) -> float | None:
    """The first number of a value of whatever type: number, text, or bytes, as files in Implicit VR leave them."""
    if isinstance(value, bytes):
        if is_binary and len(value) == 4:
            value = struct.unpack("<f", value)[0]
        else:
            value = value.decode("ascii", errors="replace").split("\\")[0].strip(" \0")
    elif isinstance(value, Sequence) and not isinstance(value, str):
        value = value[0] if len(value) else None
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if 0.0 <= number <= _LARGEST or _GE_MARK <= number <= _GE_MARK + _LARGEST else None
