"""What the quality scripts of the peers share: the job they are given, the same activations, the same judge.

A script is run by the peer's own interpreter with this package on its path. Every line that it reads is a `Job` in
JSON: it trains with the peer's own trainer, takes what that saves, and prints the result after the word RESULT.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.measure.worlds.linear import HOOK, Config, LinearWorld
from lexiscope.measure.worlds.recovery import score


@dataclass(frozen=True)
class Job:
    """One training run."""

    world: dict[str, Any]
    architecture: str
    num_latents: int
    prefixes: list[int]
    """Latents of every prefix of a Matryoshka dictionary, the whole of it last."""
    l0: float
    """k, or the target of a sparsity penalty."""
    steps: int
    batch_tokens: int
    lr: float | None
    """None: the peer's recipe as it is. A number: that rate, with our warm-up and decay."""
    coefficient: float | None
    """Of the sparsity penalty; None: the peer's default."""
    dead_after_tokens: int
    seed: int
    """Of the weights."""
    data_seed: int
    """Of the stream of activations."""
    threads: int

    @property
    def warmup_steps(self) -> int:
        """As `lexiscope.train.config` chooses it."""
        return min(1000, self.steps // 20)

    @property
    def decay_steps(self) -> int:
        return self.steps // 5


class Activations:
    """The training stream. Every loop over it starts at its beginning, so that estimating a norm uses nothing up."""

    def __init__(self, world: LinearWorld, job: Job) -> None:
        self._world, self._job = world, job

    def __iter__(self) -> Iterator[Tensor]:
        job = self._job
        yield from self._world.batches(HOOK, batch_tokens=job.batch_tokens, seed=job.data_seed)


class Judged:
    """Another library's autoencoder as `lexiscope.measure.worlds.recovery.Dictionary`, through dense codes."""

    def __init__(
        self,
        encode: Callable[[Tensor], Tensor],
        decode: Callable[[Tensor], Tensor],
        rows_FD: Tensor,
        threshold: Tensor | None = None,
    ) -> None:
        """``threshold``: what stands in for a choice over the batch, if something does; changed in place."""
        self._encode, self._decode, self.directions_FD = encode, decode, rows_FD.detach().float()
        self._threshold = threshold

    def encode(self, x_TD: Tensor) -> SparseCodes:
        return SparseCodes.from_dense(self._encode(x_TD).detach())

    def decode(self, codes: SparseCodes) -> Tensor:
        return self._decode(codes.dense()).detach()

    @torch.no_grad()
    def calibrate(self, x_TD: Tensor, l0: float) -> float:
        """Bisect the threshold until mean L0 is ``l0``, if there is one; returns the L0 before."""
        before = len(self.encode(x_TD)) / len(x_TD)
        if self._threshold is not None:
            low, high = 0.0, float(x_TD.norm(dim=1).max())
            for _ in range(30):
                self._threshold.fill_((low + high) / 2)
                if len(self.encode(x_TD)) > l0 * len(x_TD):
                    low = (low + high) / 2
                else:
                    high = (low + high) / 2
        return before


def run(train: Callable[[Job, Activations], Judged]) -> None:
    """Train as each job says, and print what came out."""
    for line in sys.stdin:
        job = Job(**json.loads(line))
        torch.set_num_threads(job.threads)
        world = LinearWorld(Config.read(job.world, "the job"))
        activations = Activations(world, job)
        began = time.perf_counter()
        judged = train(job, activations)
        seconds = time.perf_counter() - began
        first = next(iter(activations)).double()
        (x_TD,) = islice(world.batches(HOOK, batch_tokens=8192, seed=job.data_seed, split="all"), 1)
        saved_l0 = judged.calibrate(x_TD, job.l0)
        found = score(world, judged)
        result = {**found._asdict(), "saved_l0": saved_l0, "s": seconds, "first_batch": first.square().sum().item()}
        print(f"\nRESULT {json.dumps(result)}", flush=True)
