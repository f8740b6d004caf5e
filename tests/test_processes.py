"""Jobs in several processes that may fail or die."""

import os
import signal
import subprocess
import sys

import pytest

from msvlm.errors import ConfigError, DataError
from msvlm.processes import run_jobs

MANY_JOBS = 8000
"""More than are submitted before the first process has started."""


def half(number: int) -> int:
    """Halves a number; fails in a different way for each of 3, 5, 7 and 9."""
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 5:
        raise DataError("5: cannot be halved; pass an even number")
    if number == 7:
        raise PermissionError(13, "Permission denied", "/somewhere/secret")
    if number == 9:
        raise ZeroDivisionError("secret")
    return number // 2


def die_at_zero(number: int) -> int:
    """Returns the number; job 0 kills its process at once."""
    if number == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return number


def test_a_job_that_fails_or_dies_is_named_and_does_not_stop_the_others() -> None:
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
    assert outcomes[3] == "its process ended unexpectedly, perhaps because memory ran out"
    assert outcomes[5] == "5: cannot be halved; pass an even number"
    assert outcomes[7] == "a file cannot be used: Permission denied"
    assert outcomes[9].startswith("unexpected ZeroDivisionError")
    assert not any("secret" in failure for failure in outcomes.values())


def test_a_process_that_dies_while_jobs_are_submitted_does_not_stop_the_others() -> None:
    jobs = list(range(MANY_JOBS))
    outcomes = list(run_jobs(die_at_zero, jobs, 2, "count"))
    assert sorted(outcome.job for outcome in outcomes) == jobs
    assert [outcome.job for outcome in outcomes if outcome.failure] == [0]
    assert all(outcome.result == outcome.job for outcome in outcomes if not outcome.failure)


def test_without_a_number_of_workers_there_is_one_for_each_usable_core() -> None:
    code = "import os; os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})\n"
    code += "from msvlm.processes import usable_cores; print(usable_cores())"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "1\n"


def test_no_jobs_give_no_outcomes_and_0_workers_are_refused() -> None:
    assert list(run_jobs(half, [], 2, "halve")) == []
    with pytest.raises(ConfigError, match="0 workers"):
        list(run_jobs(half, [1], 0, "halve"))
