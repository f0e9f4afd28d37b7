"""The parent's end of a worker: start it, ask for a step, measure its memory, and stop it."""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from lexiscope.bench.workload import Workload

SOURCE = Path(__file__).parents[2]
_START = """
import sys, types
sys.path[:] = [folder for folder in sys.path if folder]
if sys.argv[3]:
    package = types.ModuleType("lexiscope")
    package.__path__ = [sys.argv[1] + "/lexiscope"]
    sys.modules["lexiscope"] = package
else:
    sys.path.insert(0, sys.argv[1])
from lexiscope.bench.worker import main
main(sys.argv[2])
"""
"""Another interpreter may have no lexiscope: it gets this one by its folder, and reads only what needs torch alone."""


@dataclass(frozen=True)
class Contender:
    """One training loop: which module runs it, in which interpreter, on what."""

    name: str
    module: str
    architecture: str
    workload: Workload
    threads: int
    python: str = sys.executable
    options: Mapping[str, Any] = field(default_factory=dict)
    environment: Mapping[str, str] = field(default_factory=dict)
    medium: bool = False
    """Force fp32 products to oneDNN, see `lexiscope.bench.tuning`."""


class WorkerError(Exception):
    """A worker gave up; the message is what it said."""


class Worker:
    """A running loop. Use it as a context."""

    def __init__(self, contender: Contender, measure: str = "time") -> None:
        """``measure``: ``time`` waits for `step`; ``memory`` and ``product`` answer once."""
        self.contender = contender
        self._errors = tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace")  # noqa: SIM115  closed in `close`
        spec = {**dataclasses.asdict(contender), "measure": measure}
        foreign = "" if contender.python == sys.executable else "foreign"
        threads = dict.fromkeys(("OMP_NUM_THREADS", "MKL_NUM_THREADS"), str(contender.threads))
        self._process = subprocess.Popen(  # noqa: S603  an interpreter that the user named
            [contender.python, "-c", _START, str(SOURCE), json.dumps(spec), foreign],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            text=True,
            env={**os.environ, **threads, **contender.environment},
            cwd=tempfile.gettempdir(),
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def answer(self) -> dict[str, Any]:
        """The next thing it says; blocks."""
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        said = json.loads(line) if line else {"error": f"it ended with exit code {self._process.wait()}"}
        if "error" in said:
            raise WorkerError(f"{self.contender.name}: {said['error']}\n{self._last_words()}".rstrip())
        return said

    def step(self) -> dict[str, float]:
        """One step: ``seconds`` and ``cpu_seconds``."""
        assert self._process.stdin is not None
        with contextlib.suppress(BrokenPipeError):  # what went wrong is what it said last
            self._process.stdin.write("step\n")
            self._process.stdin.flush()
        return self.answer()

    def close(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with contextlib.suppress(BrokenPipeError):
            self._process.stdin.close()
        try:
            self._process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def _last_words(self, lines: int = 5) -> str:
        self._errors.seek(0)
        return "\n".join(self._errors.read().splitlines()[-lines:])


def peak_bytes(contender: Contender) -> int:
    """Peak memory of a few steps in a fresh process, less what it held before the model was made."""
    with Worker(contender, "memory") as worker:
        return int(worker.answer()["peak_bytes"])
