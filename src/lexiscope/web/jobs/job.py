"""Job: what was asked for, how it goes, and the process that is at it."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Literal

from lexiscope.core.errors import InputError
from lexiscope.web.jobs.process import began
from lexiscope.web.view import View

Verb = Literal["index", "measure", "verify"]
State = Literal["waiting", "running", "stopping", "stopped", "done", "failed"]
PREFIX = "progress {"
"""How lines begin that say how far a command is."""


class UnknownJobError(InputError):
    """No job has this number, or there is nothing here that it could be asked of."""


class BusyError(InputError):
    """What is asked for has to wait for something that is under way."""


class JobProgress(View):
    """One bar."""

    title: str
    done: float
    total: float | None
    """None where nobody can know."""
    unit: str


class Job(View):
    number: int
    verb: Verb
    path: str
    """Of the artifact, relative to the folder that is shown."""
    state: State
    asked: str
    """When, ISO 8601."""
    ended: str = ""
    said: str = ""
    """How it ended, in a sentence."""
    process: int | None = None
    process_began: str = ""
    """Tells the process from another one with its number."""

    @property
    def active(self) -> bool:
        return self.state in {"waiting", "running", "stopping"}

    @property
    def is_alive(self) -> bool:
        """Whether its process still runs."""
        return self.process is not None and self.process_began != "" and began(self.process) == self.process_began


def progress(line: str) -> JobProgress | None:
    """What a line says of how far a command is; None: something else."""
    if not line.startswith(PREFIX):
        return None
    try:
        return JobProgress.model_validate(json.loads(line.removeprefix("progress ")))
    except ValueError:
        return None


def now() -> str:
    """The time of day, ISO 8601."""
    return datetime.now(UTC).isoformat(timespec="seconds")
