"""The same work on many things in processes that may fail or die."""

import os
import signal

import pytest

from msvlm.data.work_apart import work_apart
from msvlm.errors import ConfigError, DataError


def half(number: int) -> None:
    """Fails in as many ways as there are."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 5:
        raise DataError("5: cannot be halved; pass an even number")
    if number == 7:
        raise PermissionError(13, "Permission denied", "/somewhere/secret")
    if number == 9:
        raise ZeroDivisionError("secret")


def test_what_fails_or_dies_is_named_and_stops_nothing_else() -> None:
    outcomes = {outcome.job: outcome.failure for outcome in work_apart(half, list(range(10)), 2, "halve")}
    assert sorted(outcomes) == list(range(10))
    assert {job for job, failure in outcomes.items() if failure} == {3, 5, 7, 9}
    assert outcomes[3] == "the process that worked on it died, as when memory runs out"
    assert outcomes[5] == "5: cannot be halved; pass an even number"
    assert outcomes[7] == "a file cannot be used: Permission denied"
    assert outcomes[9].startswith("unexpected ZeroDivisionError")
    assert not any("secret" in failure for failure in outcomes.values())


def test_nothing_to_do_starts_nothing_and_no_worker_is_refused() -> None:
    assert list(work_apart(half, [], 2, "halve")) == []
    with pytest.raises(ConfigError, match="0 workers"):
        list(work_apart(half, [1], 0, "halve"))
