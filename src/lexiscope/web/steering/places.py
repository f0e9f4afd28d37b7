"""Places: how many may have texts written for them at the same time, and in which order they get on.

Each token is written by a thread that is borrowed for it, first come, first served: those who have a place get on at
the same pace, and the threads that answer pages are others. Where all places are taken one waits for one, without a
thread; where too many wait, or none becomes free, one is told so. Who goes away, waiting or not, leaves their place.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import anyio
from anyio import to_thread

from lexiscope.core.errors import InputError

AT_ONCE = 4
"""Texts under way; each keeps what its model remembers of two texts."""
WAITING = 12
WAITING_SECONDS = 30.0
_THREADS = 2
"""A model takes one token at a time; with a second thread another model gets on while one is loaded."""

Value = TypeVar("Value")


class FullError(InputError):
    """Too many have texts written for them."""


class Places:
    """Places to write at.

    Args:
        at_once: how many there are.
        waiting: how many may wait for one.
        seconds: how long.
    """

    def __init__(
        self, at_once: int = AT_ONCE, waiting: int = WAITING, seconds: float = WAITING_SECONDS, threads: int = _THREADS
    ) -> None:
        self._places, self._threads = anyio.CapacityLimiter(at_once), anyio.CapacityLimiter(threads)
        self._waiting, self._seconds = waiting, seconds

    @asynccontextmanager
    async def taken(self) -> AsyncIterator[None]:
        """A place, for as long as the block lasts.

        Raises:
            FullError: none becomes free in time, or too many wait for one.
        """
        me = object()
        if self._places.statistics().tasks_waiting >= self._waiting:
            raise FullError("as many as can wait for a place to steer do so already; try again in a minute")
        try:
            with anyio.fail_after(self._seconds):
                await self._places.acquire_on_behalf_of(me)
        except TimeoutError:
            raise FullError(
                f"{self._places.borrowed_tokens:g} others steer, and none of them has finished in "
                f"{self._seconds:g} seconds; try again in a minute"
            ) from None
        try:
            yield
        finally:
            self._places.release_on_behalf_of(me)

    async def turn(self, do: Callable[[], Value]) -> Value:
        """What a function gives, called in a thread when it is its turn."""
        return await to_thread.run_sync(do, limiter=self._threads)
