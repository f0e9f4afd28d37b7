"""The decoder as a sparse product, forward and backward.

T tokens, D model width, F latents, N active entries.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.kernels.gather import row_dots, weighted_columns, weighted_columns_and_dots, weighted_rows


def decode_rows(codes: SparseCodes, W_FD: Tensor, bias_D: Tensor | None = None) -> Tensor:
    """The product codes · W, plus the bias, float [T, D], with gradients for the values of the codes, W and bias."""
    if not torch.is_grad_enabled():
        return weighted_rows(W_FD.detach(), codes.latents, codes.offsets, codes.values, bias_D)
    out_TD = _Decode.apply(codes.values, W_FD, bias_D, codes.offsets, codes.latents)  # type: ignore[no-untyped-call]
    return cast(Tensor, out_TD)


class _Decode(torch.autograd.Function):
    """out[t] = bias + Σ values[n] · W[latents[n]] over the entries of token t."""

    @staticmethod
    def forward(
        ctx: Any, values_N: Tensor, W_FD: Tensor, bias_D: Tensor | None, offsets: Tensor, latents_N: Tensor
    ) -> Tensor:
        ctx.save_for_backward(values_N, W_FD, offsets, latents_N)
        return weighted_rows(W_FD, latents_N, offsets, values_N, bias_D)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_TD: Tensor) -> tuple[Tensor | None, ...]:
        values_N, W_FD, offsets, latents_N = ctx.saved_tensors
        grad_TD = grad_TD.contiguous()
        needs_values, needs_W, needs_bias = ctx.needs_input_grad[:3]
        grad_values = grad_W = grad_bias = None
        if needs_values and needs_W:
            grad_W, grad_values = weighted_columns_and_dots(grad_TD, latents_N, offsets, values_N, W_FD)
        elif needs_values:
            grad_values = row_dots(grad_TD, W_FD, latents_N, offsets)
        elif needs_W:
            grad_W = weighted_columns(grad_TD, latents_N, offsets, values_N, len(W_FD))
        if needs_bias:
            grad_bias = grad_TD.sum(0)
        return grad_values, grad_W, grad_bias, None, None
