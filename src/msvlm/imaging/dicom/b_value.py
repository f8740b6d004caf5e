"""Reads diffusion b-values (s/mm2) from the private elements of Siemens, GE and Philips."""

import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from pydicom.tag import BaseTag, Tag

_BLOCKS = range(0x10, 0x20)
"""Private blocks that are searched; DICOM PS3.5 7.8.1 allows 0x10 to 0xFF, writers use the first free one."""

_GE_OFFSET = 1_000_000_000
"""Some GE software versions add this to the b-value."""

_LARGEST = 100_000.0


@dataclass(frozen=True)
class _PrivateElement:
    """A private element: its group, the private creator that reserves its block, and its number within the block."""

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
"""The elements to read from a file: the private creators of the blocks, and the values."""


def read_private_b_value(value_of: Callable[[BaseTag], object]) -> float | None:
    """Returns the b-value of an MR image, None where no vendor's element contains a valid one.

    Args:
        value_of: returns the value of an element, None where it is absent or malformed.
    """
    for element in _ELEMENTS:
        for block in _BLOCKS:
            if str(value_of(Tag(element.group, block)) or "").strip(" \0") != element.creator:
                continue
            number = _first_number(value_of(Tag(element.group, block << 8 | element.element)), element is _PHILIPS)
            if number is not None:
                return number % _GE_OFFSET if element is _GE else number
    return None


def _first_number(value: object, is_binary: bool) -> float | None:
    """Returns the first number of a value that is a number, text, or bytes (as in files with Implicit VR)."""
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
    return number if 0.0 <= number <= _LARGEST or _GE_OFFSET <= number <= _GE_OFFSET + _LARGEST else None
