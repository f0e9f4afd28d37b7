"""Step: what one optimizer step tells whoever looks on. T tokens, D model width."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.saes import Batch
from lexiscope.train.dead import DeadLatents


class Step(NamedTuple):
    """What happened in one optimizer step. Scalars stay tensors until somebody reads them."""

    number: int
    codes: SparseCodes
    terms: dict[str, Tensor]
    grad_norm: Tensor
    lr: float
    dead: DeadLatents
    sparsity_scale: float
    batch: Batch
    output_TD: Tensor
    spike: str | None = None
    """What is wrong with its loss."""
    left_out: bool = False
    """Whether it was therefore not learned from."""
