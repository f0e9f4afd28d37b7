"""Work beside the model: the next batch is packed and the last one written while the model runs on this one."""

from __future__ import annotations

import os
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Self, TypeVar

T = TypeVar("T")

_WAITING_JOBS = 2


def _worker() -> ThreadPoolExecutor:
    """One thread that runs in the gaps the model leaves: taking a core from one of its threads would stall them all."""
    return ThreadPoolExecutor(1, initializer=_step_back)


def _step_back() -> None:
    if sys.platform == "linux":  # elsewhere the priority is of the whole process
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 10)


def one_ahead(items: Iterator[T]) -> Generator[T, None, None]:
    """The same items, the next one always being made in a thread; never more than one, so what is read is certain.

    An error is raised where its item would have come. Close it when breaking off early.
    """
    end = object()
    with _worker() as thread:
        coming: Future[T | object] = thread.submit(next, items, end)
        while (item := coming.result()) is not end:
            coming = thread.submit(next, items, end)
            yield item  # type: ignore[misc]  # not the end, so a T


class Behind:
    """Does jobs in order in a thread. At most two wait, so that memory stays bounded; leaving the block waits for all.

    The error of a job is raised by a later `do` or at the end of the block; jobs after it are not done.
    """

    def __init__(self) -> None:
        self._thread = _worker()
        self._jobs: deque[Future[None]] = deque()
        self._failed = False

    def do(self, job: Callable[[T], None], argument: T) -> None:
        while len(self._jobs) > _WAITING_JOBS:
            self._jobs.popleft().result()
        self._jobs.append(self._thread.submit(self._unless_failed, job, argument))

    def _unless_failed(self, job: Callable[[T], None], argument: T) -> None:
        if self._failed:
            return
        self._failed = True
        job(argument)
        self._failed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._thread.shutdown(cancel_futures=kind is not None)
        if kind is None:
            for job in self._jobs:
                job.result()
