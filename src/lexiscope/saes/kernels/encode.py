"""Encoders that touch only the latents that fire, forward and backward.

T tokens, D model width, F latents, N active entries.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lexiscope.core import memory
from lexiscope.core.codes import SparseCodes
from lexiscope.saes.kernels.gather import (
    column_sums,
    weighted_columns,
    weighted_columns_and_sums,
    weighted_rows,
)
from lexiscope.saes.kernels.select import select_above, select_batch_topk, select_positive, select_topk


def encode_topk(x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor, k: int) -> SparseCodes:
    """The k largest positive entries of (x - centre) Wᵀ + b in every row, with gradients for all four tensors."""
    centred_TD = _centred(x_TD, centre_D)
    return _attach(x_TD, centre_D, W_FD, b_F, centred_TD, select_topk(centred_TD, W_FD, b_F, k))


def encode_relu(x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor) -> SparseCodes:
    """Every positive entry of (x - centre) Wᵀ + b, with gradients for all four tensors."""
    centred_TD = _centred(x_TD, centre_D)
    return _attach(x_TD, centre_D, W_FD, b_F, centred_TD, select_positive(centred_TD, W_FD, b_F))


def encode_above(
    x_TD: Tensor,
    centre_D: Tensor,
    W_FD: Tensor,
    b_F: Tensor,
    floor_F: Tensor | float,
    first: tuple[int, Tensor] | None = None,
) -> SparseCodes:
    """Every entry of (x - centre) Wᵀ + b above the floor, with gradients for all four tensors, not the floor.

    Args:
        first: so many of the first tokens have another floor.
    """
    centred_TD = _centred(x_TD, centre_D)
    if first is None or not first[0]:
        codes = select_above(centred_TD, W_FD, b_F, floor_F)
    else:
        count, floor_of_first_F = first
        parts = [(centred_TD[:count], floor_of_first_F), (centred_TD[count:], floor_F)]
        found = [select_above(part_TD, W_FD, b_F, floor) for part_TD, floor in parts if len(part_TD)]
        codes = found[0] if len(found) == 1 else SparseCodes.concat(found)
    return _attach(x_TD, centre_D, W_FD, b_F, centred_TD, codes)


def encode_batch_topk(x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor, k: float) -> SparseCodes:
    """The round(k · T) largest positive entries of (x - centre) Wᵀ + b, with gradients for all four tensors."""
    centred_TD = _centred(x_TD, centre_D)
    return _attach(x_TD, centre_D, W_FD, b_F, centred_TD, select_batch_topk(centred_TD, W_FD, b_F, k))


def _centred(x_TD: Tensor, centre_D: Tensor) -> Tensor:
    if torch.is_grad_enabled():
        x_TD, centre_D = x_TD.detach(), centre_D.detach()
    if x_TD.device.type != "cpu" or x_TD.numel() * x_TD.itemsize < memory.LARGE_BYTES:
        return x_TD - centre_D
    return torch.sub(x_TD, centre_D, out=memory.empty(x_TD.shape, torch.result_type(x_TD, centre_D)))


def _attach(
    x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor, centred_TD: Tensor, codes: SparseCodes
) -> SparseCodes:
    if not torch.is_grad_enabled():
        return codes
    values_N = _LinearAt.apply(  # type: ignore[no-untyped-call]
        x_TD, centre_D, W_FD, b_F, centred_TD, codes.offsets, codes.latents, codes.values
    )
    return SparseCodes(codes.offsets, codes.latents, values_N, codes.num_latents)


class _LinearAt(torch.autograd.Function):
    """values[n] = ⟨x[t] - centre, W[f]⟩ + b[f] at the selected (t, f); they are known already, so forward is free."""

    @staticmethod
    def forward(
        ctx: Any,
        _x_TD: Tensor,
        _centre_D: Tensor,
        W_FD: Tensor,
        _b_F: Tensor,
        centred_TD: Tensor,
        offsets: Tensor,
        latents_N: Tensor,
        values_N: Tensor,
    ) -> Tensor:
        ctx.save_for_backward(centred_TD, W_FD, offsets, latents_N)
        return values_N.view_as(values_N)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_N: Tensor) -> tuple[Tensor | None, ...]:
        centred_TD, W_FD, offsets, latents_N = ctx.saved_tensors
        needs_x, needs_centre, needs_W, needs_b = ctx.needs_input_grad[:4]
        grad_N = grad_N.contiguous()
        grad_x = grad_centre = grad_W = grad_b = None
        if needs_x:
            grad_x = weighted_rows(W_FD, latents_N, offsets, grad_N)
        if needs_W and (needs_b or needs_centre):
            grad_W, grad_b = weighted_columns_and_sums(centred_TD, latents_N, offsets, grad_N, len(W_FD))
        elif needs_W:
            grad_W = weighted_columns(centred_TD, latents_N, offsets, grad_N, len(W_FD))
        elif needs_b or needs_centre:
            grad_b = column_sums(latents_N, grad_N, len(W_FD))
        if needs_centre:
            assert grad_b is not None
            grad_centre = -(grad_b @ W_FD)  # the sum over tokens first: one matrix-vector product
        return grad_x, grad_centre, grad_W, grad_b if needs_b else None, None, None, None, None
