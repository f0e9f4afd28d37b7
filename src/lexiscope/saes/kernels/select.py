"""Which latents fire: scores of a block of tokens at a time, so that they stay in cache and are never kept.

T tokens, D model width, F latents, K active. Nothing here has a gradient; `encode` attaches it.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes

SCORES_PER_BLOCK = 2**22
"""16 MB of fp32 scores: larger blocks fall out of cache, smaller ones waste the GEMM (measured at F = 8,192)."""


@torch.no_grad()
def select_topk(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, k: int) -> SparseCodes:
    """The k largest positive scores x · Wᵀ + b of every token."""
    blocks = [_largest(scores, min(k, len(W_FD))) for scores in _score_blocks(x_TD, W_FD, b_F)]
    values_TK = torch.cat([values for values, _ in blocks]).relu_()
    latents_TK = torch.cat([latents for _, latents in blocks])
    return SparseCodes.from_topk(values_TK, latents_TK, len(W_FD))


@torch.no_grad()
def select_positive(x_TD: Tensor, W_FD: Tensor, b_F: Tensor) -> SparseCodes:
    """Every positive score x · Wᵀ + b."""
    return SparseCodes.concat(SparseCodes.from_dense(scores.relu_()) for scores in _score_blocks(x_TD, W_FD, b_F))


def _score_blocks(x_TD: Tensor, W_FD: Tensor, b_F: Tensor) -> Iterator[Tensor]:
    """Scores of consecutive tokens in one reused buffer: use each block before asking for the next."""
    rows = max(1, min(len(x_TD), SCORES_PER_BLOCK // len(W_FD)))
    buffer = x_TD.new_empty(rows, len(W_FD))
    for start in range(0, max(1, len(x_TD)), rows):
        block_TD = x_TD[start : start + rows]
        yield torch.addmm(b_F, block_TD, W_FD.t(), out=buffer[: len(block_TD)])


def _largest(scores_TF: Tensor, k: int, groups_of: int = 16) -> tuple[Tensor, Tensor]:
    """Exact top-k in two small searches instead of one wide one (about 1.7 times faster at F = 8,192, k = 32).

    The k largest scores lie in the k groups with the largest maxima: an element outside them is beaten by k others.
    """
    num_tokens, num_latents = scores_TF.shape
    num_groups = num_latents // groups_of
    if num_latents % groups_of or num_groups < 2 * k:
        values_TK, latents_TK = scores_TF.topk(k, dim=1, sorted=False)
        return values_TK, latents_TK
    maxima = scores_TF.view(num_tokens, groups_of, num_groups).amax(1)  # group g holds g, g + num_groups, …
    best = maxima.topk(k, dim=1, sorted=False).indices
    members = torch.arange(0, num_latents, num_groups, device=scores_TF.device)
    candidates = (best[:, None, :] + members[None, :, None]).view(num_tokens, -1)
    values_TK, chosen = scores_TF.gather(1, candidates).topk(k, dim=1, sorted=False)
    return values_TK, candidates.gather(1, chosen)
