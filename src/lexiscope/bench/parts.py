"""Where the time of our step goes: its parts, by watching which functions run.

The interpreter tells when a function starts and ends; the functions below are the doors of the kernels, so their times
add up to the parts. What runs outside of them is the rest. Processors only: a GPU works on after a function has ended.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import itertools
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import CodeType, FrameType
from typing import Any

from lexiscope.bench.ours import kernels, make_trainer
from lexiscope.bench.workload import Workload
from lexiscope.core.progress import SILENT, Progress
from lexiscope.saes import Batch

DOORS = {
    "lexiscope.saes.kernels.select:select_topk": "select",
    "lexiscope.saes.kernels.select:select_above": "select",
    "lexiscope.saes.kernels.select:select_batch_topk": "select",
    "lexiscope.saes.kernels.gather:weighted_rows": "decode",
    "lexiscope.saes.kernels.gather:row_dots": "value gradients",
    "lexiscope.saes.kernels.gather:weighted_columns_and_dots": "value and decoder gradients",
    "lexiscope.saes.kernels.gather:weighted_columns": "weight gradients",
    "lexiscope.saes.kernels.gather:weighted_columns_and_sums": "encoder gradients",
    "lexiscope.saes.kernels.gather:column_sums": "encoder gradients",
    "lexiscope.saes.kernels.error:mean_square": "loss",
    "lexiscope.train.adam:Adam.step": "optimizer",
    "lexiscope.core.codes:SparseCodes.fired": "bookkeeping",
    "lexiscope.train.dead:DeadLatents.update": "bookkeeping",
}
"""Function → part. The outermost one that runs gets the time."""
REST = "rest"


@dataclass(frozen=True)
class Breakdown:
    """Of one path: median milliseconds per step of each part, and of the whole step."""

    workload: str
    architecture: str
    path: str
    parts_ms: dict[str, float]
    total_ms: float


def break_down(
    workload: Workload, architecture: str, path: str, *, rounds: int = 5, progress: Progress = SILENT
) -> Breakdown:
    """Take some steps and watch them. Parts are medians of their own, so their sum is only about the total."""
    batches = itertools.cycle(workload.batches())
    dead = workload.dead_latents()
    watched: list[dict[str, float]] = []
    title = f"Parts of {workload.name} {architecture} {path}"
    with kernels(path), progress.task(title, total=rounds + 2, unit="steps") as task:
        trainer = make_trainer(architecture, workload, next(batches))
        for number in range(rounds + 2):
            batch = Batch.same(next(batches))
            trainer.dead.silent_tokens_F[dead] = trainer.dead.dead_after_tokens
            times = watch(functools.partial(trainer.step, batch), doors())
            if number >= 2:
                watched.append(times)
            task.advance(1)
    names = list(dict.fromkeys(itertools.chain.from_iterable(watched)))
    medians = {name: 1e3 * statistics.median(times.get(name, 0.0) for times in watched) for name in names}
    total = 1e3 * statistics.median(sum(times.values()) for times in watched)
    return Breakdown(workload.name, architecture, path, medians, total)


def doors() -> dict[CodeType, str]:
    """`DOORS` as what the interpreter calls them."""
    return {_code(place): part for place, part in DOORS.items()}


def watch(work: Callable[[], Any], parts: dict[CodeType, str]) -> dict[str, float]:
    """Seconds in each part while ``work`` runs, and in the rest."""
    times: dict[str, float] = {}
    inside: list[tuple[FrameType, float]] = []

    def see(frame: FrameType, event: str, argument: object) -> None:  # noqa: ARG001
        if event == "call" and not inside and frame.f_code in parts:
            inside.append((frame, time.perf_counter()))
        elif event == "return" and inside and inside[0][0] is frame:
            part = parts[frame.f_code]
            times[part] = times.get(part, 0.0) + time.perf_counter() - inside.pop()[1]

    before = sys.getprofile()
    sys.setprofile(see)
    began = time.perf_counter()
    try:
        work()
    finally:
        ended = time.perf_counter()
        sys.setprofile(before)
    return {**times, REST: ended - began - sum(times.values())}


def _code(place: str) -> CodeType:
    module, _, name = place.partition(":")
    found: Any = importlib.import_module(module)
    for part in name.split("."):
        found = getattr(found, part)
    code: CodeType = inspect.unwrap(found).__code__
    return code
