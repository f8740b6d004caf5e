"""pydicom is silent while msvlm reads; its settings are restored afterwards, even where uses overlap."""

import logging
import warnings
from threading import Barrier, Thread

import pytest
from pydicom import config
from pydicom.dataelem import DataElement

from msvlm.imaging.dicom.quiet import quiet_pydicom


def state() -> tuple[object, ...]:
    return logging.getLogger("pydicom").level, config.settings.reading_validation_mode, list(warnings.filters)


def test_overlapping_uses_restore_the_settings() -> None:
    before = state()
    first, second = quiet_pydicom(), quiet_pydicom()
    first.__enter__()
    second.__enter__()
    first.__exit__(None, None, None)
    assert logging.getLogger("pydicom").level > logging.CRITICAL, "the second use is still active"
    assert config.settings.reading_validation_mode == config.IGNORE
    second.__exit__(None, None, None)
    assert state() == before


def test_two_threads_restore_the_settings() -> None:
    before = state()
    together = Barrier(2)

    def use(first_out: bool) -> None:
        for _ in range(50):
            with quiet_pydicom():
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


def test_an_error_inside_restores_the_settings() -> None:
    before = state()
    with pytest.raises(KeyError), quiet_pydicom():
        raise KeyError
    assert state() == before


def test_no_value_of_a_file_is_logged_or_warned_about(
    caplog: pytest.LogCaptureFixture, recwarn: pytest.WarningsRecorder
) -> None:
    caplog.set_level(logging.DEBUG)

    def output() -> str:
        caplog.clear()
        recwarn.clear()
        DataElement("PatientSex", "CS", "DOE^JANE")
        warn_from_pydicom("of DOE^JANE")
        return caplog.text + "".join(str(warning.message) for warning in recwarn.list)

    def warn_from_pydicom(text: str) -> None:
        warnings.warn_explicit(text, UserWarning, "valuerep.py", 1, module="pydicom.valuerep")

    assert output().count("DOE") >= 2, "without quiet_pydicom, pydicom quotes values"
    with quiet_pydicom():
        assert output() == ""
