"""Our own training step, on one of the kernel paths, as a loop that takes batches.

A penalty decides how many latents of a ReLU, Gated or JumpReLU autoencoder fire, and at the start far too many do.
Their thresholds are set so that K fire in a mean token, as late in training; the others fire K by construction.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from lexiscope.bench.workload import Workload
from lexiscope.saes import Batch, create
from lexiscope.saes.kernels import backend, select, stock_shortlist
from lexiscope.saes.kernels.native import select as native_select
from lexiscope.saes.registry import read_config
from lexiscope.train.config import TrainConfig, resolve
from lexiscope.train.trainer import Trainer

STEPS = 1_000_000
"""Length of the run that its schedules are told."""
FLOAT32_ONLY = "-fp32"
"""Ending of a path that makes no pass in lower precision."""
WITH_K = {
    "topk": lambda workload: {"k": workload.k},
    "batch_topk": lambda workload: {"k": workload.k, "per_token_first": 0},
    "matryoshka": lambda workload: {
        "activation": {"name": "batch_topk", "k": workload.k, "per_token_first": 0},
        "prefixes": workload.prefixes[:-1],
    },
}
"""Settings of the architectures that are told how many latents fire; a batch chooses from the first step on."""


def make_trainer(architecture: str, workload: Workload, sample_TD: Tensor) -> Trainer:
    """Ready for its first step."""
    settings: dict[str, Any] = {"architecture": architecture, "num_latents": workload.num_latents}
    if architecture in WITH_K:
        settings |= WITH_K[architecture](workload)
    config = read_config(settings, f"bench of {architecture}")
    sae = create(config, Batch.same(sample_TD), seed=0)
    if architecture not in WITH_K:
        sae.start(sample_TD, workload.k)
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


@contextlib.contextmanager
def kernels(path: str | None) -> Iterator[None]:
    """A kernel path by name, one of `paths`; None: whatever is fastest."""
    with contextlib.ExitStack() as stack:
        if path is not None:
            stack.enter_context(backend.use(path.removesuffix(FLOAT32_ONLY)))
            if path.endswith(FLOAT32_ONLY):
                stack.enter_context(select.float32_only())
        yield


def paths(device: str) -> dict[str, str]:
    """Kernel paths that serve float32 tensors on a device, and the precision of their product. From slow to fast.

    Paths that shortlist in bf16, where the processor is good at that, are there without it too.
    """
    fastest = backend.path(torch.empty(0, device=device))
    found = {"dense": "fp32"}
    if device == "cpu" and stock_shortlist.has_fast_bfloat16():
        found |= {"stock" + FLOAT32_ONLY: "fp32", "stock": "bf16"}
    else:
        found["stock"] = "fp32"
    if fastest == "native":
        shortens = native_select.shortlist() != "none"
        if shortens:
            found["native" + FLOAT32_ONLY] = "fp32"
        found["native"] = "bf16" if shortens else "fp32"
    elif fastest == "triton":
        found["triton"] = "fp32"
    return found
