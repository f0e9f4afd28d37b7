"""The reference: what every kernel computes, written in plain dense torch with matrices of all tokens and latents.

Slow and hungry. It is the oracle of the tests and may be asked for by name. Arguments as in `gather` and `select`.
T tokens, R rows, D model width, F latents, N active entries.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes


def matrix(indices_N: Tensor, offsets_R1: Tensor, weights_N: Tensor, num_columns: int) -> Tensor:
    """The sparse rows as a dense matrix."""
    out = weights_N.new_zeros(len(offsets_R1) - 1, num_columns)
    out[_rows(offsets_R1), indices_N] = weights_N
    return out


def weighted_rows(
    table_XD: Tensor, indices_N: Tensor, offsets_R1: Tensor, weights_N: Tensor, bias_D: Tensor | None = None
) -> Tensor:
    out_RD = matrix(indices_N, offsets_R1, weights_N, len(table_XD)) @ table_XD
    return out_RD if bias_D is None else out_RD + bias_D


def row_dots(left_RD: Tensor, table_XD: Tensor, indices_N: Tensor, offsets_R1: Tensor) -> Tensor:
    return (left_RD @ table_XD.T)[_rows(offsets_R1), indices_N]


def weighted_columns(
    right_RD: Tensor, indices_N: Tensor, offsets_R1: Tensor, weights_N: Tensor, num_columns: int
) -> Tensor:
    return matrix(indices_N, offsets_R1, weights_N, num_columns).T @ right_RD


def select_topk(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, k: int) -> SparseCodes:
    values_TK, latents_TK = (x_TD @ W_FD.T + b_F).relu().topk(min(k, len(W_FD)), dim=1)
    return SparseCodes.from_topk(values_TK, latents_TK, len(W_FD))


def select_above(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, floor_F: Tensor | float) -> SparseCodes:
    scores_TF = x_TD @ W_FD.T + b_F
    tokens, latents = (scores_TF > floor_F).nonzero(as_tuple=True)
    offsets = torch.zeros(len(x_TD) + 1, dtype=torch.int64, device=x_TD.device)
    torch.cumsum(torch.bincount(tokens, minlength=len(x_TD)), 0, out=offsets[1:])
    return SparseCodes(offsets, latents, scores_TF[tokens, latents], len(W_FD))


def select_batch_topk(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, k: float) -> SparseCodes:
    scores_TF = (x_TD @ W_FD.T + b_F).relu()
    best = scores_TF.flatten().topk(min(round(k * len(x_TD)), scores_TF.numel())).indices
    kept_TF = torch.zeros_like(scores_TF)
    kept_TF.view(-1)[best] = scores_TF.flatten()[best]
    return SparseCodes.from_dense(kept_TF)


def _rows(offsets_R1: Tensor) -> Tensor:
    return torch.repeat_interleave(offsets_R1.diff())
