"""The same work on many things in several processes; one that fails, or kills its process, does not stop the others."""

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import dataclass
from multiprocessing import connection, get_context, parent_process
from typing import Generic, TypeVar

from tqdm import tqdm

from msvlm.errors import ConfigError, MsvlmError

Job = TypeVar("Job")


@dataclass(frozen=True)
class Outcome(Generic[Job]):
    """How the work on one thing ended.

    Attributes:
        job: the thing.
        failure: why it could not be done; empty where it was.
    """

    job: Job
    failure: str = ""


def work_apart(work: Callable[[Job], None], jobs: Sequence[Job], workers: int, title: str) -> Iterator[Outcome[Job]]:
    """Does the work in so many processes; yields outcomes as they come, with a progress bar on a terminal.

    The processes are started afresh, not forked, and end when this one does, even when it is killed. Where one of
    them dies, what was under way is done again one by one, to find the thing that it died of.
    """
    if workers < 1:
        raise ConfigError(f"{workers} workers; at least 1 is wanted")
    with tqdm(total=len(jobs), desc=title, disable=None) as bar:
        waiting = list(jobs)
        while waiting:
            died = []
            for outcome in _work(work, waiting, min(workers, len(waiting))):
                if outcome.failure == _DIED:
                    died.append(outcome.job)
                else:
                    bar.update()
                    yield outcome
            suspects = died[: 2 * workers + 2]  # no more than these can have been under way or handed out
            for job in suspects:
                yield from _work(work, [job], 1)
                bar.update()
            waiting = died[len(suspects) :]


_DIED = "the process that worked on it died, as when memory runs out"


def _work(work: Callable[[Job], None], jobs: Sequence[Job], workers: int) -> Iterator[Outcome[Job]]:
    """Outcomes of all jobs as they come; last, in their order, those that were not done when a process died."""
    with ProcessPoolExecutor(workers, get_context("spawn"), initializer=_watch_parent) as pool:
        with _one_thread_each():
            job_of = {pool.submit(work, job): job for job in jobs}
        for future in as_completed(job_of):
            if not isinstance(future.exception(), BrokenProcessPool):
                yield Outcome(job_of[future], _reason(future.exception()))
    for future, job in job_of.items():
        if isinstance(future.exception(), BrokenProcessPool):
            yield Outcome(job, _DIED)


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
