"""How the cost of a step grows with tokens, width and latents, each over a 64-fold range.

A step is linear in each of them, so log cost against log size has slope 1 where fixed costs no longer matter and the
weights no longer fit into the caches that cores have for themselves. Cost is per step for tokens, and per token for
width and latents.
"""

from __future__ import annotations

import dataclasses
import functools
import itertools
import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

import torch

from lexiscope.bench.clock import seconds
from lexiscope.bench.machine import cache_bytes
from lexiscope.bench.ours import kernels, make_trainer
from lexiscope.bench.workload import Workload
from lexiscope.core.progress import SILENT, Progress
from lexiscope.saes import Batch

BASE = Workload("scaling", width=256, num_latents=4096, k=32, tokens=2048)
SMALLEST = {
    "tokens": dataclasses.replace(BASE, tokens=256),
    "width": dataclasses.replace(BASE, width=64, num_latents=8192),
    "latents": dataclasses.replace(BASE, num_latents=2048),
}
FIELD = {"tokens": "tokens", "width": "width", "latents": "num_latents"}
DOUBLINGS = 6
"""64-fold."""


@dataclass(frozen=True)
class Scaling:
    """One curve."""

    axis: str
    path: str
    sizes: list[int]
    ms_per_step: list[float]
    tokens: list[int]
    past_cache: list[bool]
    """Whether the encoder's weights are larger than the caches."""
    exponent: float | None
    """Slope over the points past the caches; None with fewer than three."""
    exponent_over_all: float

    @property
    def cost(self) -> list[float]:
        """What the exponent is of: ms per step for tokens, µs per token for the others."""
        if self.axis == "tokens":
            return self.ms_per_step
        return [1e3 * ms / tokens for ms, tokens in zip(self.ms_per_step, self.tokens, strict=True)]


def workloads(axis: str, doublings: int = DOUBLINGS) -> list[Workload]:
    """From the smallest to 2^doublings times as large along one axis."""
    smallest = SMALLEST[axis]
    size = getattr(smallest, FIELD[axis])
    return [dataclasses.replace(smallest, **{FIELD[axis]: size << step}) for step in range(doublings + 1)]


def measure(
    axis: str,
    path: str,
    threads: int,
    *,
    rounds: int = 3,
    doublings: int = DOUBLINGS,
    device: str = "cpu",
    progress: Progress = SILENT,
) -> Scaling:
    """TopK steps of every size, one size after the other: the largest would not fit beside the others."""
    sizes = [dataclasses.replace(one, device=device) for one in workloads(axis, doublings)]
    with progress.task(f"Scaling over {axis}", total=len(sizes), unit="sizes") as task:
        ms = []
        for workload in sizes:
            ms.append(1e3 * _step_seconds(workload, path, rounds))
            task.advance(1, f"{getattr(workload, FIELD[axis]):,} {axis}")
    return curve(axis, path, sizes, ms, cache_bytes(threads))


def curve(axis: str, path: str, sizes: Sequence[Workload], ms: Sequence[float], cache: int) -> Scaling:
    """Put the points together and fit their slope."""
    places = [getattr(workload, FIELD[axis]) for workload in sizes]
    tokens = [workload.tokens for workload in sizes]
    past = [4 * workload.width * workload.num_latents > cache for workload in sizes]
    costs = [one / (1 if axis == "tokens" else count) for one, count in zip(ms, tokens, strict=True)]
    chosen = list(itertools.compress(zip(places, costs, strict=True), past))
    exponent = slope(chosen) if len(chosen) >= 3 else None
    everything = slope(list(zip(places, costs, strict=True)))
    return Scaling(axis, path, places, list(ms), tokens, past, exponent, everything)


def slope(points: Sequence[tuple[float, float]]) -> float:
    """Least squares of log y on log x."""
    logs = [(math.log(x), math.log(y)) for x, y in points]
    mean_x, mean_y = (statistics.fmean(column) for column in zip(*logs, strict=True))
    covariance = sum((x - mean_x) * (y - mean_y) for x, y in logs)
    return covariance / sum((x - mean_x) ** 2 for x, _ in logs)


def _step_seconds(workload: Workload, path: str, rounds: int) -> float:
    ring = workload.batches()
    # First weights from all of them: whitened by fewer tokens than the width, they would fit that one batch too well.
    sample_TD = torch.cat(ring)
    batches = itertools.cycle(ring[:2])
    with kernels(path):
        trainer = make_trainer("topk", workload, sample_TD)
        del sample_TD
        trainer.step(Batch.same(next(batches)))
        taken = [seconds(functools.partial(trainer.step, Batch.same(next(batches)))) for _ in range(rounds)]
    return statistics.median(taken)
