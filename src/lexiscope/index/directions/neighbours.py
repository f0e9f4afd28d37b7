"""The features beside a feature: those whose decoder directions point the same way.

The search is exact: F² cosines, through the kernels of training (`lexiscope.saes.kernels.select`). The nearest
directions of a direction are the latents that a TopK encoder made of all directions would choose for it, so scores
never leave the cache and, where a processor multiplies bfloat16 fast, only a proven shortlist is scored in float32.

A search by clusters (an inverted file) was tried and left out: directions of a dictionary are so nearly orthogonal that
looking into a quarter of the clusters found about a quarter of the neighbours, as looking into random ones would.
F features, D model width, K neighbours kept, N features worked on at once, E candidates of all of them.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.kernels.gather import row_dots
from lexiscope.saes.kernels.select import select_topk

_ROWS_AT_ONCE = 1 << 15
"""Kernels prepare all directions once per call, which takes as long as some thousands of rows."""
_LIFT = 2.0
"""Added to cosines, so that all are positive for a kernel that gives positive scores."""
_FEW_ROWS = 128
"""With fewer, preparing all directions for the kernels would take longer than the product."""


class Neighbours(NamedTuple):
    """Features with the largest decoder cosine, most similar first; -1 fills up where there are fewer than K."""

    features_FK: Tensor
    cosines_FK: Tensor


@torch.no_grad()
def neighbours(directions_FD: Tensor, live_F: Tensor, keep: int, *, rows_N: Tensor | None = None) -> Neighbours:
    """For every feature the live features whose decoder directions are most similar, itself left out.

    Args:
        rows_N: the features that neighbours are wanted of; None: all.
    """
    unit_FD = _unit(directions_FD)
    rows_N = torch.arange(len(unit_FD)) if rows_N is None else rows_N
    bias_F = torch.where(live_F.cpu(), _LIFT, -2 * _LIFT)
    keep = min(keep, len(unit_FD))
    # Filled in place: small results kept from every block would lie between the blocks' memory.
    found = Neighbours(torch.empty(len(rows_N), keep, dtype=torch.int64), torch.empty(len(rows_N), keep))
    for start in range(0, len(rows_N), _ROWS_AT_ONCE):
        own_N = rows_N[start : start + _ROWS_AT_ONCE]
        queries_ND = unit_FD[own_N]
        most = min(keep + 1, len(unit_FD))
        if len(own_N) < _FEW_ROWS:
            scores_NF = torch.addmm(bias_F, queries_ND, unit_FD.T).clamp_min_(0)
            codes = SparseCodes.from_topk(*scores_NF.topk(most), len(unit_FD))
        else:
            codes = select_topk(queries_ND, unit_FD, bias_F, most)
        for column, block in zip(found, _ranked(queries_ND, unit_FD, codes, own_N, keep), strict=True):
            column[start : start + _ROWS_AT_ONCE] = block
    return found


def _ranked(queries_ND: Tensor, unit_FD: Tensor, codes: SparseCodes, own_N: Tensor, keep: int) -> Neighbours:
    """What was selected for each query, itself left out, scored again without the lift; -1 and -inf fill up."""
    cosines_E = row_dots(queries_ND, unit_FD, codes.latents, codes.offsets)
    tokens_E = codes.tokens()
    cosines_E = cosines_E.masked_fill(codes.latents == own_N[tokens_E], -torch.inf)
    place_E = torch.arange(len(codes)) - codes.offsets[tokens_E]
    shape = (len(queries_ND), max(int(codes.counts().max()) if len(codes) else 0, keep))
    features_NE, cosines_NE = torch.full(shape, -1), torch.full(shape, -torch.inf)
    features_NE[tokens_E, place_E] = codes.latents
    cosines_NE[tokens_E, place_E] = cosines_E
    best = cosines_NE.topk(keep)
    features_NK = features_NE.gather(1, best.indices)
    return Neighbours(features_NK.where(best.values.isfinite(), -1), best.values)


def _unit(directions_FD: Tensor) -> Tensor:
    """Rows of length 1, float32 on the CPU; the same tensor where they are that already."""
    rows_FD: Tensor = directions_FD.detach().float().cpu().contiguous()
    lengths_F: Tensor = torch.linalg.vector_norm(rows_FD, dim=1)
    if bool(((lengths_F - 1).abs() < 1e-6).all()):
        return rows_FD
    return rows_FD / lengths_F.clamp_min(torch.finfo(torch.float32).tiny)[:, None]
