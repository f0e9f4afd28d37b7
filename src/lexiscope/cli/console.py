"""What the command line shows. Bars and remarks go to standard error, results to standard output."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn

from lexiscope.core.progress import VARIABLE

_SECONDS_BETWEEN = 0.5
errors = Console(stderr=True, highlight=False)
output = Console(highlight=False)


class Bar:
    """One running bar with its rate."""

    def __init__(self, bars: Progress, title: str, total: float | None, unit: str) -> None:
        self._bars, self._unit, self._began, self._done = bars, unit, time.monotonic(), 0.0
        self._note = ""
        self._id = bars.add_task(title, total=total, rate="", note="")

    def advance(self, amount: float, note: str = "") -> None:
        self._done += amount
        rate = self._done / max(time.monotonic() - self._began, 1e-9)
        self._note = note or self._note
        self._bars.update(self._id, advance=amount, rate=f"{rate:,.0f} {self._unit}/s", note=self._note)


class Lines:
    """What a bar is where nobody watches: one line when it begins and one when it ends.

    A program that watches asks for more by `lexiscope.core.progress.VARIABLE`.
    """

    def __init__(self, title: str, total: float | None, unit: str) -> None:
        self._title, self._unit, self._began, self._done = title, unit, time.monotonic(), 0.0
        self._total, self._told = total, -_SECONDS_BETWEEN
        self._for_programs = os.environ.get(VARIABLE) == "lines"
        errors.print(f"{title} ...")

    def advance(self, amount: float, note: str = "") -> None:  # noqa: ARG002
        self._done += amount
        if self._for_programs and (now := time.monotonic()) - self._told >= _SECONDS_BETWEEN:
            self._told = now
            said = {"title": self._title, "done": self._done, "total": self._total, "unit": self._unit}
            errors.file.write(f"progress {json.dumps(said)}\n")
            errors.file.flush()

    def close(self) -> None:
        seconds = time.monotonic() - self._began
        errors.print(f"{self._title}: {self._done:,.0f} {self._unit} in {seconds:.1f} s")


class ConsoleProgress:
    """Bars with rate and time left on a terminal, plain lines elsewhere."""

    @contextmanager
    def task(self, title: str, total: float | None, unit: str) -> Iterator[Bar | Lines]:
        if not errors.is_terminal:
            lines = Lines(title, total, unit)
            yield lines
            lines.close()
            return
        columns = [
            SpinnerColumn(),
            TextColumn("{task.description:<24}"),
            BarColumn(bar_width=30),
            TextColumn("{task.fields[rate]:>20}"),
            TimeElapsedColumn(),
            TimeRemainingColumn(),
            TextColumn("{task.fields[note]}", style="dim"),
        ]
        with Progress(*columns, console=errors) as bars:
            yield Bar(bars, title, total, unit)


def say(text: str) -> None:
    """A line for people, on standard error, so that standard output holds results only."""
    errors.print(text, markup=False, soft_wrap=True)


def show_json(value: object) -> None:
    """One object on standard output, for machines."""
    json.dump(value, sys.stdout, indent=1, ensure_ascii=False, allow_nan=False)
    sys.stdout.write("\n")
