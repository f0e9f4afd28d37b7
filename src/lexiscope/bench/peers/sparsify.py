"""sparsify: ``Trainer.fit``, which trains in a forward hook of a language model.

The model here has one module, which returns the next batch; what it costs is what it costs to return a tensor.
"""

from __future__ import annotations

import math
import os
import sys
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor, nn

from lexiscope.bench.workload import Workload

STEPS = 1_000_000
"""Length of the run that its schedules are told."""


class _Finished(Exception):  # noqa: N818  not an error: its loop has no other way to end early
    pass


class _Model(nn.Module):
    """As much of a language model as ``Trainer`` asks for."""

    def __init__(self, batches: Iterator[Tensor], workload: Workload) -> None:
        super().__init__()
        self.block = nn.Identity()
        self.batches, self.width, self.dead = batches, workload.width, workload.dead_latents()
        self.trainer: Any = None
        self.device = torch.device(workload.device)
        self.dummy_inputs = {"input_ids": torch.zeros(1, 1, dtype=torch.long)}

    @property
    def base_model(self) -> nn.Module:
        return self

    def forward(self, input_ids: Tensor) -> Any:
        if self.trainer is None:  # the trainer asks for the width of the hook point
            return self.block(torch.zeros(*input_ids.shape, self.width))
        x_TD = next(self.batches, None)
        if x_TD is None:
            raise _Finished
        if len(self.dead):
            self.trainer.num_tokens_since_fired["block"][self.dead] = 2 * self.trainer.cfg.dead_feature_threshold
        return self.block(x_TD.view(*input_ids.shape, self.width))


class _Sequences(torch.utils.data.Dataset[dict[str, Tensor]]):
    """Token ids that nobody reads, in the shape of a batch."""

    def __init__(self, length: int, count: int) -> None:
        self.item, self.count = {"input_ids": torch.zeros(length, dtype=torch.long)}, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, place: int) -> dict[str, Tensor]:
        return self.item


def run(architecture: str, workload: Workload, batches: Iterator[Tensor]) -> None:
    if not torch.cuda.is_available():
        os.environ["SPARSIFY_DISABLE_TRITON"] = "1"  # its own switch; otherwise it calls Triton and there is no driver
    sys.modules["bitsandbytes"] = None  # type: ignore[assignment]  # everyone has Adam in fp32
    from sparsify import SparseCoderConfig, TrainConfig, Trainer

    assert architecture == "topk"
    length = math.gcd(workload.tokens, 128)
    rows = workload.tokens // length
    model = _Model(batches, workload)
    config = TrainConfig(
        SparseCoderConfig(num_latents=workload.num_latents, k=workload.k),
        batch_size=rows,
        optimizer="adam",
        auxk_alpha=1 / 32 if workload.dead_fraction else 0.0,
        hookpoints=["block"],
        log_to_wandb=False,
        save_every=STEPS,
    )
    model.trainer = Trainer(config, _Sequences(length, rows * STEPS), model)
    try:
        model.trainer.fit()
    except _Finished:
        return
