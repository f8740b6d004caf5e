"""The same work on many things in several processes; one that fails, or kills its process, does not stop the others."""

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

_DIED = "the process that worked on it died, as when memory runs out"


@dataclass(frozen=True)
class Outcome(Generic[Job, Result]):
    """How the work on one thing ended.

    Attributes:
        job: the thing.
        result: what the work gave; None where it failed.
        failure: why it could not be done; empty where it was.
    """

    job: Job
    result: Result | None = None
    failure: str = ""


def usable_cores() -> int:
    """How many cores this process may use; a container or a batch system may grant fewer than the machine has."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def run_jobs(
    work: Callable[[Job], Result], jobs: Sequence[Job], workers: int | None, title: str
) -> Iterator[Outcome[Job, Result]]:
    """Does the work in so many processes; yields outcomes as they come, with a progress bar on a terminal.

    The processes are started afresh, not forked, and end when this one does, even when it is killed. Where one of
    them dies, what was under way is done again one by one, to find the thing that it died of. Without a number of
    workers there is one for each usable core.
    """
    if workers is None:
        workers = usable_cores()
    if workers < 1:
        raise ConfigError(f"{workers} workers; at least 1 is wanted")
    with tqdm(total=len(jobs), desc=title, disable=None) as bar:
        waiting = deque(jobs)
        while waiting:
            suspects = yield from _run(work, waiting, min(workers, len(waiting)), bar)
            for suspect in suspects:
                if (yield from _run(work, deque([suspect]), 1, bar)):
                    bar.update()
                    yield Outcome(suspect, failure=_DIED)


def _run(
    work: Callable[[Job], Result], waiting: deque[Job], workers: int, bar: tqdm
) -> Generator[Outcome[Job, Result], None, list[Job]]:
    """Outcomes of the jobs, taken from the left of `waiting`, until all are done or a process dies.

    Gives the jobs that were under way then. Few are handed out at a time, so that few are under suspicion.
    """
    died: list[Job] = []
    under_way: dict[Future[Result], Job] = {}
    is_whole = True
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_watch_parent) as pool:
        while under_way or (waiting and is_whole):
            while waiting and is_whole and len(under_way) < 2 * workers:
                future = _submitted(pool, work, waiting[0])
                if future is None:
                    is_whole = False
                else:
                    under_way[future] = waiting.popleft()
            for future in wait(under_way, return_when=FIRST_COMPLETED).done:
                job, error = under_way.pop(future), future.exception()
                if isinstance(error, BrokenProcessPool):
                    is_whole = False
                    died.append(job)
                else:
                    bar.update()
                    yield Outcome(job, None if error else future.result(), _reason(error))
    return died


def _submitted(pool: ProcessPoolExecutor, work: Callable[[Job], Result], job: Job) -> Future[Result] | None:
    """The job, handed out; None where one of the pool's processes has died."""
    try:
        with _one_thread_each():
            return pool.submit(work, job)
    except BrokenProcessPool:
        return None


def _reason(error: BaseException | None) -> str:
    """A failure in words that tell no path and no patient."""
    if error is None:
        return ""
    if isinstance(error, MsvlmError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"a file cannot be used: {error.strerror}"
    return f"unexpected {type(error).__name__}; `msvlm inspect` may tell more"


@contextmanager
def _one_thread_each() -> Iterator[None]:
    """What is started inside keeps to one thread: the processes share the cores already.

    Libraries read this when they load, which in a new process is before any code of ours runs. Two threads that wait
    for each other in every matrix product made preparing six times slower on a busy machine.
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
