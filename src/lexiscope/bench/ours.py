"""Our own training step, on one of the kernel paths, as a loop that takes batches.

A penalty decides how many latents of a ReLU, Gated or JumpReLU autoencoder fire, and at the start far too many do.
Their thresholds are set so that K fire in a mean token, as late in training; the others fire K by construction.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, nullcontext
from typing import Any

from torch import Tensor

from lexiscope.bench.workload import Workload
from lexiscope.saes import Batch, create
from lexiscope.saes.kernels import backend
from lexiscope.saes.registry import read_config
from lexiscope.train.config import TrainConfig, resolve
from lexiscope.train.trainer import Trainer

STEPS = 1_000_000
"""Length of the run that its schedules are told."""
WITH_K = {
    "topk": lambda workload: {"k": workload.k},
    "batch_topk": lambda workload: {"k": workload.k},
    "matryoshka": lambda workload: {
        "activation": {"name": "batch_topk", "k": workload.k},
        "prefixes": workload.prefixes[:-1],
    },
}
"""Settings of the architectures that are told how many latents fire."""


def make_trainer(architecture: str, workload: Workload, sample_TD: Tensor) -> Trainer:
    """Ready for its first step."""
    settings: dict[str, Any] = {"architecture": architecture, "num_latents": workload.num_latents}
    if architecture in WITH_K:
        settings |= WITH_K[architecture](workload)
    config = read_config(settings, f"bench of {architecture}")
    sae = create(config, Batch.same(sample_TD), seed=0)
    if architecture not in WITH_K:
        sae.calibrate(sample_TD, workload.k)
    asked = TrainConfig(tokens=STEPS * workload.tokens, batch_tokens=workload.tokens)
    train_config, _ = resolve(asked, config, workload.width)
    return Trainer(sae, train_config)


def run(architecture: str, workload: Workload, batches: Iterator[Tensor], *, path: str | None = None) -> None:
    dead = workload.dead_latents()
    trainer: Trainer | None = None
    with kernels(path):
        for x_TD in batches:
            trainer = trainer or make_trainer(architecture, workload, x_TD)
            trainer.dead.silent_tokens_F[dead] = trainer.dead.dead_after_tokens
            trainer.step(Batch.same(x_TD))


def kernels(path: str | None) -> AbstractContextManager[None]:
    """A kernel path by name; None: whatever is fastest."""
    return nullcontext() if path is None else backend.use(path)
