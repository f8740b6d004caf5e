"""Silences logs and warnings of pydicom, which may quote patient data; safe across threads."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from threading import Lock

from pydicom import config

_QUOTING = r"(pydicom|msvlm\.imaging|PIL|pylibjpeg|openjpeg|rle|jpeg_ls|gdcm)(\.|$)"
"""Modules whose warnings may quote values of a file: pydicom, its decoders, and the callers in msvlm."""


@dataclass
class _Silence:
    """Settings before the first of several overlapping uses, restored after the last."""

    lock: Lock = field(default_factory=Lock)
    uses: int = 0
    level: int = logging.NOTSET
    validation: int = config.WARN
    warning_filters: list[object] = field(default_factory=list)


_SILENCE = _Silence()


@contextmanager
def quiet_pydicom() -> Iterator[None]:
    """Keeps values of files out of logs and warnings, and turns off pydicom's validation of values.

    Uses may overlap, in one thread or in several, which `warnings.catch_warnings` does not allow.
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
        with suppress(ValueError):  # other code has replaced the filters meanwhile
            warnings.filters.remove(each)  # type: ignore[attr-defined]  # a list, although its stub says Sequence
