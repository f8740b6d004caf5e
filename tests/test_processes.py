"""The same work on many things in processes that may fail or die."""

import os
import signal
import subprocess
import sys

import pytest

from msvlm.errors import ConfigError, DataError
from msvlm.processes import run_jobs

JOBS_THAT_OUTLAST_A_START = 8000
"""So many that they are not yet all handed out when the first process has started."""


def half(number: int) -> int:
    """Fails in as many ways as there are."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 5:
        raise DataError("5: cannot be halved; pass an even number")
    if number == 7:
        raise PermissionError(13, "Permission denied", "/somewhere/secret")
    if number == 9:
        raise ZeroDivisionError("secret")
    return number // 2


def die_of_the_first(number: int) -> int:
    """The first job ends its process the moment that it is begun."""
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_what_fails_or_dies_is_named_and_stops_nothing_else() -> None:
    found = list(run_jobs(half, list(range(10)), 2, "halve"))
    assert {outcome.job: outcome.result for outcome in found if not outcome.failure} == {
        0: 0,
        1: 0,
        2: 1,
        4: 2,
        6: 3,
        8: 4,
    }
    outcomes = {outcome.job: outcome.failure for outcome in found}
    assert sorted(outcomes) == list(range(10))
    assert {job for job, failure in outcomes.items() if failure} == {3, 5, 7, 9}
    assert outcomes[3] == "the process that worked on it died, as when memory runs out"
    assert outcomes[5] == "5: cannot be halved; pass an even number"
    assert outcomes[7] == "a file cannot be used: Permission denied"
    assert outcomes[9].startswith("unexpected ZeroDivisionError")
    assert not any("secret" in failure for failure in outcomes.values())


def test_a_process_that_dies_while_jobs_are_still_handed_out_stops_nothing() -> None:
    jobs = list(range(JOBS_THAT_OUTLAST_A_START))
    outcomes = list(run_jobs(die_of_the_first, jobs, 2, "count"))
    assert sorted(outcome.job for outcome in outcomes) == jobs
    assert [outcome.job for outcome in outcomes if outcome.failure] == [0]
    assert all(outcome.result == outcome.job for outcome in outcomes if not outcome.failure)


def test_without_a_number_of_workers_there_is_one_for_each_usable_core() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from msvlm.processes import usable_cores; print(usable_cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_nothing_to_do_starts_nothing_and_no_worker_is_refused() -> None:
    assert list(run_jobs(half, [], 2, "halve")) == []
    with pytest.raises(ConfigError, match="0 workers"):
        list(run_jobs(half, [1], 0, "halve"))
