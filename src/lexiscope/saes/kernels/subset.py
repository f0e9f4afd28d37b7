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
from lexiscope.saes.kernels.native import gemm
from lexiscope.saes.kernels.native.library import F32, SIZE, Function

FULL_SHARE = 1 / 8
"""Share of the latents from which k is many."""
SCORES_PER_BLOCK = 2**21
"""8 MB of fp32."""

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
    x_TD, target_TD, W_enc_GD, b_enc_G, W_dec_GD = (
        tensor.contiguous() for tensor in (x_TD, target_TD, W_enc_GD, b_enc_G, W_dec_GD)
    )
    grads = [torch.zeros_like(weights) for weights in (W_enc_GD, b_enc_G, W_dec_GD)]
    total = torch.zeros((), dtype=torch.float64, device=x_TD.device)
    rows = max(1, SCORES_PER_BLOCK // len(W_enc_GD))
    codes_TG, slopes_TG = (x_TD.new_empty(min(rows, len(x_TD)), len(W_enc_GD)) for _ in range(2))
    rest_TD = x_TD.new_empty(len(codes_TG), target_TD.shape[1])
    for start in range(0, len(x_TD), rows):
        x, target = x_TD[start : start + rows], target_TD[start : start + rows]
        codes, slopes, rest = codes_TG[: len(x)], slopes_TG[: len(x)], rest_TD[: len(x)]
        _multiply(codes, x, W_enc_GD, b_t=True, beta=1, plus=b_enc_G)
        keep_largest(codes, k)
        _multiply(rest, codes, W_dec_GD, beta=-1, plus=target)
        total += torch.dot(rest.flatten(), rest.flatten())
        _multiply(slopes, rest, W_dec_GD, b_t=True)
        slopes.mul_(codes.sign())
        _multiply(grads[0], slopes, x, a_t=True, beta=1)
        grads[1].add_(slopes.sum(0))
        _multiply(grads[2], codes, rest, a_t=True, beta=1)
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


def _multiply(
    out: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    a_t: bool = False,
    b_t: bool = False,
    beta: float = 0,
    plus: Tensor | None = None,
) -> None:
    """``out = a b + beta plus``; ``plus`` is ``out`` if not given."""
    if backend.path(out, a, b) == "native" and gemm.available():
        gemm.matmul_into(out, a, b, a_t=a_t, b_t=b_t, beta=beta, plus=plus)
    else:
        torch.addmm(out if plus is None else plus, a.t() if a_t else a, b.t() if b_t else b, beta=beta, out=out)


@torch.enable_grad()
def _by_lists(x_TD: Tensor, target_TD: Tensor, W_enc_GD: Tensor, b_enc_G: Tensor, W_dec_GD: Tensor, k: int) -> Found:
    weights = [weight.detach().requires_grad_() for weight in (W_enc_GD, b_enc_G, W_dec_GD)]
    codes = encode_topk(x_TD, x_TD.new_zeros(x_TD.shape[1]), weights[0], weights[1], k)
    error = (decode_rows(codes, weights[2]) - target_TD).square().sum()
    return Found(error.detach(), *torch.autograd.grad(error, weights))
