"""How long work reports where it is. Stages take a `Progress`; only the command line draws one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Protocol

VARIABLE = "LEXISCOPE_PROGRESS"
"""Set to "lines" in the environment: whoever watches a command reads how far it is from lines of its standard error,
each ``progress`` and an object of JSON with title, done, total and unit."""


class Task(Protocol):
    """One bar: ``advance`` by units done, with a few words on how it goes."""

    def advance(self, amount: float, note: str = "") -> None: ...


class Progress(Protocol):
    """Opens a bar for a piece of work; ``total`` is None where nobody can know."""

    def task(self, title: str, total: float | None, unit: str) -> AbstractContextManager[Task]: ...


class Silent:
    """Reports nothing. What stages use when the caller gives no `Progress`."""

    @contextmanager
    def task(self, title: str, total: float | None, unit: str) -> Iterator[Silent]:  # noqa: ARG002
        yield self

    def advance(self, amount: float, note: str = "") -> None:
        pass


SILENT: Progress = Silent()
