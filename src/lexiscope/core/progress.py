"""How long work reports where it is. Stages take a `Progress`; only the command line draws one."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Task(Protocol):
    """One bar: ``advance`` by units done, with a few words on how it goes."""

    def advance(self, amount: float, note: str = "") -> None: ...


class Progress(Protocol):
    def task(self, title: str, total: float | None, unit: str) -> AbstractTask: ...


class AbstractTask(Protocol):
    def __enter__(self) -> Task: ...
    def __exit__(self, *exc: object) -> None: ...


class Silent:
    """Reports nothing. What stages use when the caller gives no `Progress`."""

    @contextmanager
    def task(self, title: str, total: float | None, unit: str) -> Iterator[Silent]:
        yield self

    def advance(self, amount: float, note: str = "") -> None:
        pass


SILENT: Progress = Silent()  # type: ignore[assignment]
