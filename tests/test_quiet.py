"""pydicom is silent while we read, and afterwards as it was, however uses overlap."""

import logging
import warnings
from threading import Barrier, Thread

import pytest
from pydicom import config
from pydicom.dataelem import DataElement

from msvlm.imaging.dicom.quiet import silent_pydicom


def state() -> tuple[object, ...]:
    return logging.getLogger("pydicom").level, config.settings.reading_validation_mode, list(warnings.filters)


def test_uses_that_overlap_leave_all_as_it_was() -> None:
    before = state()
    first, second = silent_pydicom(), silent_pydicom()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert logging.getLogger("pydicom").level > logging.CRITICAL, "the second still reads"
    assert config.settings.reading_validation_mode == config.IGNORE
    second.__exit__(None, None, None)
    assert state() == before


def test_two_threads_leave_all_as_it_was() -> None:
    before = state()
    together = Barrier(2)

    def use(first_out: bool) -> None:
        for _ in range(50):
            with silent_pydicom():
                together.wait()
                if not first_out:
                    together.wait()
            if first_out:
                together.wait()

    threads = [Thread(target=use, args=(first_out,)) for first_out in (True, False)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert state() == before


def test_an_error_inside_leaves_all_as_it_was() -> None:
    before = state()
    with pytest.raises(KeyError), silent_pydicom():
        raise KeyError
    assert state() == before


def test_nothing_is_said_of_a_file(caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder) -> None:
    caplog.set_level(logging.DEBUG)

    def told() -> str:
        caplog.clear()
        recwarn.clear()
        DataElement("PatientSex", "CS", "DOE^JANE")
        warn_from_pydicom("of DOE^JANE")
        return caplog.text + "".join(str(warning.message) for warning in recwarn.list)

    def warn_from_pydicom(text: str) -> None:
        warnings.warn_explicit(text, UserWarning, "valuerep.py", 1, module="pydicom.valuerep")

    assert told().count("DOE") >= 2, "pydicom quotes values, else there is nothing to keep silent"
    with silent_pydicom():
        assert told() == ""
