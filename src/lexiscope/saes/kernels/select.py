"""Which latents fire: scores x · Wᵀ + b of tokens and latents, and those of them that are wanted.

T tokens, D model width, F latents, K active. Which kernels do it is for `backend` to say; nothing here has a gradient,
`encode` attaches it. No path keeps the [T, F] matrix of scores (`dense`, the oracle, does).

Where a processor multiplies matrices of bfloat16 much faster than of float32, scores in bfloat16 make a shortlist, and
what is on it is scored in float32. A bound on their error leaves nothing out that could be selected, so results are
those of float32; `float32_only` switches it off all the same.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.kernels import backend, dense
from lexiscope.saes.kernels import stock_select as stock
from lexiscope.saes.kernels.kept import Kept, copy_at_hand
from lexiscope.saes.kernels.native import select as native

_may_shorten = True


def select_topk(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, k: int) -> SparseCodes:
    """The k largest positive scores of every token."""
    if _may_shorten and (copy := copy_at_hand(W_FD)) is not None:
        return native.select_few(x_TD, W_FD, b_F, None, k, copy)
    return _select_topk(x_TD, W_FD, b_F, k)


@torch.no_grad()
def _select_topk(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, k: int) -> SparseCodes:
    match backend.path(x_TD, W_FD, b_F):
        case "dense":
            return dense.select_topk(x_TD, W_FD, b_F, k)
        case "native":
            return native.select_topk(x_TD, W_FD, b_F, k, may_shorten=_may_shorten)
        case "triton":
            from lexiscope.saes.kernels.triton import select as triton

            return triton.select_topk(x_TD, W_FD, b_F, k)
    return stock.select_topk(x_TD, W_FD, b_F, k, may_shorten=_may_shorten)


def read_topk(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, k: int, wanted_J: Tensor, weights: Kept) -> Tensor | None:
    """Scores of some latents, int32 [J], where `select_topk` selects them, else 0: [T, J]. None: no shorter way yet."""
    copy = weights.copy_for(x_TD) if _may_shorten else None
    return None if copy is None else native.read_topk(x_TD, W_FD, b_F, k, copy, wanted_J)


def select_positive(x_TD: Tensor, W_FD: Tensor, b_F: Tensor) -> SparseCodes:
    """Every positive score."""
    return select_above(x_TD, W_FD, b_F, 0.0)


def select_above(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, floor_F: Tensor | float) -> SparseCodes:
    """Every score above the floor, which is one for all latents or one for each; values are the scores themselves."""
    if _may_shorten and (copy := copy_at_hand(W_FD)) is not None:
        return native.select_few(x_TD, W_FD, b_F, floor_F, 0, copy)
    return _select_above(x_TD, W_FD, b_F, floor_F)


@torch.no_grad()
def _select_above(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, floor_F: Tensor | float) -> SparseCodes:
    match backend.path(x_TD, W_FD, b_F):
        case "dense":
            return dense.select_above(x_TD, W_FD, b_F, floor_F)
        case "native":
            return native.select_above(x_TD, W_FD, b_F, floor_F, may_shorten=_may_shorten)
        case "triton":
            from lexiscope.saes.kernels.triton import select as triton

            return triton.select_above(x_TD, W_FD, b_F, floor_F)
    return stock.select_above(x_TD, W_FD, b_F, floor_F, may_shorten=_may_shorten)


@torch.no_grad()
def select_batch_topk(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, k: float) -> SparseCodes:
    """The round(k · T) largest positive scores of the whole batch."""
    match backend.path(x_TD, W_FD, b_F):
        case "dense":
            return dense.select_batch_topk(x_TD, W_FD, b_F, k)
        case "native":
            return native.select_batch_topk(x_TD, W_FD, b_F, k, may_shorten=_may_shorten)
        case "triton":
            from lexiscope.saes.kernels.triton import select as triton

            return triton.select_batch_topk(x_TD, W_FD, b_F, k)
    return stock.select_batch_topk(x_TD, W_FD, b_F, k, may_shorten=_may_shorten)


@contextlib.contextmanager
def float32_only() -> Iterator[None]:
    """No pass in low precision, in the whole process: to compare, and to show that nothing hangs on it."""
    global _may_shorten  # noqa: PLW0603
    before, _may_shorten = _may_shorten, False
    try:
        yield
    finally:
        _may_shorten = before
