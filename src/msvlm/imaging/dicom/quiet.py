"""pydicom kept from saying what a file holds, in however many threads it reads."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock

from pydicom import config

_QUOTING = r"(pydicom|msvlm\.imaging|PIL|pylibjpeg|openjpeg|rle|jpeg_ls|gdcm)(\.|$)"
"""Modules whose warnings quote values of a file: pydicom, what decodes for it, and those who call them."""


@dataclass
class _Silence:
    """What was there before the first of the uses that overlap, to be put back after the last."""

    lock: Lock = field(default_factory=Lock)
    uses: int = 0
    level: int = logging.NOTSET
    validation: int = config.WARN
    warning_filters: list[object] = field(default_factory=list)


_SILENCE = _Silence()


@contextmanager
def silent_pydicom() -> Iterator[None]:
    """No value of a file reaches a log or a warning, and odd values are let through to us.

    Uses may overlap, in one thread or in several. `warnings.catch_warnings` may not, so it is not used.
    """
    with _SILENCE.lock:
        _SILENCE.uses += 1
        if _SILENCE.uses == 1:
            _begin()
    try:
        yield
    finally:
        with _SILENCE.lock:
            _SILENCE.uses -= 1
            if _SILENCE.uses == 0:
                _end()


def _begin() -> None:
    logger = logging.getLogger("pydicom")
    _SILENCE.level, _SILENCE.validation = logger.level, config.settings.reading_validation_mode
    logger.setLevel(logging.CRITICAL + 1)
    config.settings.reading_validation_mode = config.IGNORE
    before = list(warnings.filters)
    warnings.filterwarnings("ignore", module=_QUOTING)
    _SILENCE.warning_filters = [each for each in warnings.filters if each not in before]


def _end() -> None:
    logging.getLogger("pydicom").setLevel(_SILENCE.level)
    config.settings.reading_validation_mode = _SILENCE.validation
    for each in _SILENCE.warning_filters:
        with suppress(ValueError):  # somebody else has put other filters in place meanwhile
            warnings.filters.remove(each)  # type: ignore[attr-defined]  # a list, whatever its stub says
