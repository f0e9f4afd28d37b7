"""Training loops timed in turn: every round asks each for one step, in another order, while the others wait.

What else the machine does then falls on all of them alike, and ratios can be trusted where milliseconds can't.
"""

from __future__ import annotations

import random
import statistics
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TypeVar

from lexiscope.bench.process import Contender, Worker, WorkerError
from lexiscope.core.progress import SILENT, Progress

WARM_UP_ROUNDS = 2
"""Rounds that do not count: the first steps of every library make its buffers and its optimizer's state."""
PAUSE_SECONDS = 0.01
"""Between two turns, for threads that spin a little before they sleep."""
T = TypeVar("T")


@dataclass(frozen=True)
class Timing:
    """Of one contender, per step. Milliseconds of wall clock, and of processor time over all threads."""

    median_ms: float
    fastest_ms: float
    slowest_ms: float
    quartiles_ms: tuple[float, float]
    cpu_ms: float
    rounds: int


@dataclass(frozen=True)
class Race:
    """What came of it, by name of the contender."""

    timings: dict[str, Timing]
    failures: dict[str, str]


def race(contenders: Sequence[Contender], rounds: int, progress: Progress = SILENT, title: str = "Steps") -> Race:
    """One step of each in every round. A loop that fails is left out, and the others go on."""
    failures: dict[str, str] = {}
    taken: dict[str, list[dict[str, float]]] = {contender.name: [] for contender in contenders}

    def ask(worker: Worker, question: Callable[[], T]) -> T | None:
        try:
            return question()
        except WorkerError as error:
            failures[worker.contender.name] = str(error)
            return None

    turns = len(contenders) * (1 + WARM_UP_ROUNDS + rounds)
    with ExitStack() as stack, progress.task(title, total=turns, unit="steps") as task:
        workers = [stack.enter_context(Worker(contender)) for contender in contenders]  # they start side by side
        for worker in workers:
            ask(worker, worker.answer)
            task.advance(1, f"{worker.contender.name} starts")
        for number in range(WARM_UP_ROUNDS + rounds):
            for worker in random.Random(number).sample(workers, len(workers)):
                task.advance(1, worker.contender.name)
                if worker.contender.name in failures:
                    continue
                step = ask(worker, worker.step)
                if step is not None and number >= WARM_UP_ROUNDS:
                    taken[worker.contender.name].append(step)
                time.sleep(PAUSE_SECONDS)
    return Race({name: timing(steps) for name, steps in taken.items() if name not in failures}, failures)


def timing(steps: Sequence[dict[str, float]]) -> Timing:
    """Of steps with their ``seconds`` and ``cpu_seconds``."""
    ms = sorted(1e3 * step["seconds"] for step in steps)
    lower, _, upper = statistics.quantiles(ms, n=4, method="inclusive") if len(ms) > 1 else (ms[0],) * 3
    cpu = statistics.median(1e3 * step["cpu_seconds"] for step in steps)
    return Timing(statistics.median(ms), ms[0], ms[-1], (lower, upper), cpu, len(ms))
