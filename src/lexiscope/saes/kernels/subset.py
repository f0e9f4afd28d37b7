"""Some latents of a dictionary reconstruct a target by themselves, as in AuxK: the error, and all gradients in one go.

    f = the k largest positive entries of x W_encᵀ + b_enc,   error = Σ ‖W_decᵀ f - target‖²

k is often a third or so of the latents at hand. Lists of what fires are then slower than matrix products over all of
them, which here run on blocks of tokens that stay in cache. x and the target are constants.

T tokens, D model width, F latents, G of them at hand.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lexiscope.core import memory
from lexiscope.saes.kernels import backend
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.kernels.encode import encode_topk
from lexiscope.saes.kernels.native.library import F32, SIZE, Function

FULL_SHARE = 1 / 8
"""Share of the latents from which k is many."""
SCORES_PER_BLOCK = 2**20
"""4 MB of fp32."""

_KEEP_LARGEST = Function("lx_keep_largest", F32, SIZE, SIZE, SIZE)


def subset_error(
    x_TD: Tensor, target_TD: Tensor, latents_G: Tensor, W_enc_FD: Tensor, b_enc_F: Tensor, W_dec_FD: Tensor, k: int
) -> Tensor:
    """Σ ‖W_decᵀ f - target‖², with gradients for the weights. ``x_TD`` has its centre taken away already."""
    if k < FULL_SHARE * len(latents_G):
        W_enc_GD, b_enc_G, W_dec_GD = (weights.index_select(0, latents_G) for weights in (W_enc_FD, b_enc_F, W_dec_FD))
        codes = encode_topk(x_TD, x_TD.new_zeros(x_TD.shape[1]), W_enc_GD, b_enc_G, k)
        return (decode_rows(codes, W_dec_GD) - target_TD).square().sum()
    error = _SubsetError.apply(x_TD, target_TD, latents_G, W_enc_FD, b_enc_F, W_dec_FD, k)  # type: ignore[no-untyped-call]
    return cast(Tensor, error)


def keep_largest(scores_TG: Tensor, k: int) -> None:
    """Sets to zero all but the k largest positive entries of every row; of equal ones it may keep any."""
    if k >= scores_TG.shape[1]:
        scores_TG.relu_()
    elif backend.path(scores_TG) == "native":
        _KEEP_LARGEST(scores_TG, len(scores_TG), scores_TG.shape[1], k)
    else:
        values_TK, best_TK = scores_TG.topk(k, dim=1, sorted=False)
        scores_TG.zero_().scatter_(1, best_TK, values_TK.relu_())


class _SubsetError(torch.autograd.Function):
    """Finds the gradients with the error and keeps them: the products share their blocks."""

    @staticmethod
    def forward(
        ctx: Any,
        x_TD: Tensor,
        target_TD: Tensor,
        latents_G: Tensor,
        W_enc_FD: Tensor,
        b_enc_F: Tensor,
        W_dec_FD: Tensor,
        k: int,
    ) -> Tensor:
        W_enc_GD, b_enc_G, W_dec_GD = (weights.index_select(0, latents_G) for weights in (W_enc_FD, b_enc_F, W_dec_FD))
        grads = torch.zeros_like(W_enc_GD), torch.zeros_like(b_enc_G), torch.zeros_like(W_dec_GD)
        total = torch.zeros((), dtype=torch.float64, device=x_TD.device)
        rows = max(1, SCORES_PER_BLOCK // len(latents_G))
        codes_TG, slopes_TG = (x_TD.new_empty(min(rows, len(x_TD)), len(latents_G)) for _ in range(2))
        rest_TD = x_TD.new_empty(len(codes_TG), target_TD.shape[1])
        for start in range(0, len(x_TD), rows):
            x, target = x_TD[start : start + rows], target_TD[start : start + rows]
            codes, slopes, rest = codes_TG[: len(x)], slopes_TG[: len(x)], rest_TD[: len(x)]
            keep_largest(torch.addmm(b_enc_G, x, W_enc_GD.t(), out=codes), k)
            torch.addmm(target, codes, W_dec_GD, beta=-1, out=rest)
            total += torch.linalg.vector_norm(rest, dtype=torch.float64).square()
            torch.mm(rest, W_dec_GD.t(), out=slopes).mul_(codes.sign())
            grads[0].addmm_(slopes.t(), x)
            grads[1].add_(slopes.sum(0))
            grads[2].addmm_(codes.t(), rest)
        ctx.save_for_backward(latents_G, *grads)
        ctx.num_latents = len(W_enc_FD)
        return total.to(x_TD.dtype)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        latents_G, *grads = ctx.saved_tensors
        full = (_scattered(2 * grad * rows, latents_G, ctx.num_latents) for rows in grads)
        return None, None, None, *full, None


def _scattered(rows: Tensor, latents_G: Tensor, num_latents: int) -> Tensor:
    shape = (num_latents, *rows.shape[1:])
    full = memory.empty(shape, rows.dtype) if rows.device.type == "cpu" else rows.new_empty(shape)
    return full.zero_().index_copy_(0, latents_G, rows)
