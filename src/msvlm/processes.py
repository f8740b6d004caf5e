"""Runs jobs in several processes; a job that fails or ends its process does not stop the others."""

import os
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from typing import Generic, TypeVar

from tqdm import tqdm

from msvlm.errors import ConfigError, MsvlmError

Job = TypeVar("Job")
Result = TypeVar("Result")

_DIED = "its process ended unexpectedly, perhaps because memory ran out"


@dataclass(frozen=True)
class Outcome(Generic[Job, Result]):
    """Result of one job.

    Attributes:
        job: the job.
        result: the result of the work; None if it failed.
        failure: the reason of the failure; empty if there was none.
    """

    job: Job
    result: Result | None = None
    failure: str = ""


def usable_cores() -> int:
    """Returns the number of cores this process may use; a container or a batch system may allow only some of them."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None, title: str
) -> Iterator[Outcome[Job, Result]]:
    """Runs jobs in several processes; yields outcomes in the order of completion, with a progress bar on a terminal.

    The processes are spawned, not forked, and end when this process ends, even if it is killed. If one of them dies,
    the jobs in progress are run again one by one, to find the job that it died of.

    Args:
        work: the function to run, in a module that a new process can import.
        jobs: its arguments, one for each call.
        workers: number of processes; None: one for each usable core.
        title: title of the progress bar.
    """
    if workers is None:
        workers = usable_cores()
    if workers < 1:
        raise ConfigError(f"{workers} workers; at least 1 is wanted")
    with tqdm(total=len(jobs), desc=title, disable=None) as bar:
        waiting = deque(jobs)
        while waiting:
            interrupted = yield from _run(work, waiting, min(workers, len(waiting)), bar)
            for job in interrupted:
                if (yield from _run(work, deque([job]), 1, bar)):
                    bar.update()
                    yield Outcome(job, failure=_DIED)


def _run(
    work: Callable[[Job], Result], waiting: deque[Job], workers: int, bar: tqdm
) -> Generator[Outcome[Job, Result], None, list[Job]]:
    """Runs the jobs of `waiting` from the left and yields their outcomes, until all are done or a process dies.

    Returns the jobs that were in progress when a process died. Few jobs are submitted at a time, so these are few.
    """
    interrupted: list[Job] = []
    in_progress: dict[Future[Result], Job] = {}
    is_intact = True
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_watch_parent) as pool:
        while in_progress or (waiting and is_intact):
            while waiting and is_intact and len(in_progress) < 2 * workers:
                future = _submit(pool, work, waiting[0])
                if future is None:
                    is_intact = False
                else:
                    in_progress[future] = waiting.popleft()
            for future in wait(in_progress, return_when=FIRST_COMPLETED).done:
                job, error = in_progress.pop(future), future.exception()
                if isinstance(error, BrokenProcessPool):
                    is_intact = False
                    interrupted.append(job)
                else:
                    bar.update()
                    yield Outcome(job, None if error else future.result(), _reason(error))
    return interrupted


def _submit(pool: ProcessPoolExecutor, work: Callable[[Job], Result], job: Job) -> Future[Result] | None:
    """Submits a job to the pool; returns None if a process of the pool has died."""
    try:
        with _single_threaded():
            return pool.submit(work, job)
    except BrokenProcessPool:
        return None


def _reason(error: BaseException | None) -> str:
    """Returns the reason of a failure, without paths or patient data."""
    if error is None:
        return ""
    if isinstance(error, MsvlmError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"a file cannot be used: {error.strerror}"
    return f"unexpected {type(error).__name__}; `msvlm inspect` may show more"


@contextmanager
def _single_threaded() -> Iterator[None]:
    """Limits processes that are started in the block to one thread each, since they share the cores already.

    Libraries read these variables when they are loaded, which in a new process is before our code runs. With two
    threads in each process, preparation took six times as long on a busy machine.
    """
    names = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "BLOSC_NTHREADS")
    added = [name for name in names if name not in os.environ]
    os.environ.update(dict.fromkeys(added, "1"))
    try:
        yield
    finally:
        for name in added:
            del os.environ[name]


def _watch_parent() -> None:
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = parent_process()
    assert parent is not None
    connection.wait([parent.sentinel])
    os._exit(1)
