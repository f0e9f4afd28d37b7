"""Some latents of a dictionary reconstruct a target by themselves, as in AuxK: the error and its gradients in one go.

    f = the k largest positive entries of x W_encᵀ + b_enc,   error = Σ ‖W_decᵀ f - target‖²

k is often a third or so of the latents at hand. Lists of what fires are then slower than matrix products over all of
them, which here run on blocks of tokens that stay in cache. x and the target are constants.

T tokens, D model width, G latents at hand.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.saes.kernels import backend
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.kernels.encode import encode_topk
from lexiscope.saes.kernels.native.library import F32, SIZE, Function

FULL_SHARE = 1 / 8
"""Share of the latents from which k is many."""
SCORES_PER_BLOCK = 2**20
"""4 MB of fp32."""

_KEEP_LARGEST = Function("lx_keep_largest", F32, SIZE, SIZE, SIZE)


class Found(NamedTuple):
    """An error, and its gradients for the three weights."""

    error: Tensor
    W_enc_GD: Tensor
    b_enc_G: Tensor
    W_dec_GD: Tensor


@torch.no_grad()
def subset_error(x_TD: Tensor, target_TD: Tensor, W_enc_GD: Tensor, b_enc_G: Tensor, W_dec_GD: Tensor, k: int) -> Found:
    """Σ ‖W_decᵀ f - target‖² and its gradients, which are worked out here and not left to autograd.

    Args:
        x_TD: with its centre taken away already.
    """
    if k < FULL_SHARE * len(W_enc_GD):
        return _by_lists(x_TD, target_TD, W_enc_GD, b_enc_G, W_dec_GD, k)
    grads = [torch.zeros_like(weights) for weights in (W_enc_GD, b_enc_G, W_dec_GD)]
    total = torch.zeros((), dtype=torch.float64, device=x_TD.device)
    rows = max(1, SCORES_PER_BLOCK // len(W_enc_GD))
    codes_TG, slopes_TG = (x_TD.new_empty(min(rows, len(x_TD)), len(W_enc_GD)) for _ in range(2))
    rest_TD = x_TD.new_empty(len(codes_TG), target_TD.shape[1])
    for start in range(0, len(x_TD), rows):
        x, target = x_TD[start : start + rows], target_TD[start : start + rows]
        codes, slopes, rest = codes_TG[: len(x)], slopes_TG[: len(x)], rest_TD[: len(x)]
        keep_largest(torch.addmm(b_enc_G, x, W_enc_GD.t(), out=codes), k)
        torch.addmm(target, codes, W_dec_GD, beta=-1, out=rest)
        total += torch.dot(rest.flatten(), rest.flatten())
        torch.mm(rest, W_dec_GD.t(), out=slopes).mul_(codes.sign())
        grads[0].addmm_(slopes.t(), x)
        grads[1].add_(slopes.sum(0))
        grads[2].addmm_(codes.t(), rest)
    return Found(total.to(x_TD.dtype), *(grad.mul_(2) for grad in grads))


def keep_largest(scores_TG: Tensor, k: int) -> None:
    """Sets to zero all but the k largest positive entries of every row; of equal ones it may keep any."""
    if k >= scores_TG.shape[1]:
        scores_TG.relu_()
    elif backend.path(scores_TG) == "native":
        _KEEP_LARGEST(scores_TG, len(scores_TG), scores_TG.shape[1], k)
    else:
        values_TK, best_TK = scores_TG.topk(k, dim=1, sorted=False)
        scores_TG.zero_().scatter_(1, best_TK, values_TK.relu_())


@torch.enable_grad()
def _by_lists(x_TD: Tensor, target_TD: Tensor, W_enc_GD: Tensor, b_enc_G: Tensor, W_dec_GD: Tensor, k: int) -> Found:
    weights = [weight.detach().requires_grad_() for weight in (W_enc_GD, b_enc_G, W_dec_GD)]
    codes = encode_topk(x_TD, x_TD.new_zeros(x_TD.shape[1]), weights[0], weights[1], k)
    error = (decode_rows(codes, weights[2]) - target_TD).square().sum()
    return Found(error.detach(), *torch.autograd.grad(error, weights))
