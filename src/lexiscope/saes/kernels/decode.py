"""The decoder as a sparse product, forward and backward.

T tokens, D model width, F latents, N active entries.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.kernels.gather import row_dots, weighted_columns, weighted_rows


def decode_rows(codes: SparseCodes, W_FD: Tensor) -> Tensor:
    """The product codes · W, float [T, D], with gradients for the values of the codes and for W."""
    out_TD = _Decode.apply(codes.values, W_FD, codes.offsets, codes.latents)  # type: ignore[no-untyped-call]
    return cast(Tensor, out_TD)


class _Decode(torch.autograd.Function):
    """out[t] = Σ values[n] · W[latents[n]] over the entries of token t."""

    @staticmethod
    def forward(ctx: Any, values_N: Tensor, W_FD: Tensor, offsets: Tensor, latents_N: Tensor) -> Tensor:
        ctx.save_for_backward(values_N, W_FD, offsets, latents_N)
        return weighted_rows(W_FD, latents_N, offsets, values_N)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TD: Tensor) -> tuple[Tensor | None, ...]:
        values_N, W_FD, offsets, latents_N = ctx.saved_tensors
        grad_TD = grad_TD.contiguous()
        grad_values = grad_W = None
        if ctx.needs_input_grad[0]:
            grad_values = row_dots(grad_TD, W_FD, latents_N, offsets)
        if ctx.needs_input_grad[1]:
            grad_W = weighted_columns(grad_TD, latents_N, offsets, values_N, len(W_FD))
        return grad_values, grad_W, None, None
