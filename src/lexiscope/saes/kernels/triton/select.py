"""Which latents fire, without the matrix of all scores: a certified shortlist, then exact scores for the few on it.

    1. Round x and W to the dtype of the shortlist and measure what that lost                   `rounding.py`
    2. Floor: over a spread sample of latents, the k-th largest group maximum of lower bounds.
       k different latents reach it, so the k-th largest score does                             `shortlist.py`
    3. One pass over all latents writes down what could reach the floor                         `scores.py`
    4. The k-th largest lower bound of what was written down is a higher floor: drop the rest   `prune.py`
    5. Score the remaining ones again, from the unrounded rows, in float32 or wider             `gather.py`
    6. The k largest of these                                                                   `rank.py`

What comes out is exactly the k largest of the values of step 5, as though step 5 had been done for every latent: the
bound in `rounding.py` holds between the first score and the second, so nothing that belongs in the result is ever
dropped. A token with more candidates than it has room for goes through step 3 again with the floor of step 4, and if
that does not help, through plain torch. How the scores are spread changes the speed and nothing else. Of equal values
the lower latent wins (in a batch the lower token before that); entries of a token have ascending latents.

Memory: O(t (G + C)) for t tokens at a time, C spans of candidates and G groups, and W in the dtype of the shortlist;
never O(T F). At T = 8,192, D = 4,096, F = 131,072, k = 64 (t = 1,024, C = 4,096, G = 384): about 200 MB of candidates
and 1.1 GB for W in bfloat16, where the scores alone would be 4.3 GB. Work: about 1.2 matrix products of T D F in 16
bits, and a few k dot products of D for each token.

T tokens, D model width, F latents, K active, N active entries. Never run on a GPU so far; see the package.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.kernels.triton.gather import dots_into
from lexiscope.saes.kernels.triton.prune import drop_below, lower_bounds
from lexiscope.saes.kernels.triton.rank import choose, kth_largest, nth_largest
from lexiscope.saes.kernels.triton.scores import Problem
from lexiscope.saes.kernels.triton.shortlist import (
    MOST_WANTED,
    Exact,
    bounds,
    candidates,
    only,
    prepare,
    room_for,
    sampled_maxima,
    tokens_together,
    write_with_room,
)

ROUNDS = 2
"""How often a token may overflow before plain torch takes it."""
ABOVE_ROOM = 1024
"""Spans with something above a floor that a token has room for before they are counted."""
PLAIN_CELLS = 2**26
"""Scores of the plain path that exist together: 256 MB."""


@torch.no_grad()
def select_topk(
    x_TD: Tensor, W_FD: Tensor, b_F: Tensor, k: int, *, shortlist: torch.dtype | None = None
) -> SparseCodes:
    """The k largest positive scores x · Wᵀ + b of every token.

    Args:
        shortlist: in what dtype candidates are found; None: bfloat16 where the device multiplies it fast. The result
            is the same.
    """
    num_tokens, num_latents = len(x_TD), len(W_FD)
    k = min(k, num_latents)
    values_TK = x_TD.new_zeros(num_tokens, k)
    latents_TK = torch.full_like(values_TK, num_latents, dtype=torch.int64)
    if not num_tokens or not k:
        return SparseCodes.from_topk(values_TK, latents_TK, num_latents)
    todo = torch.arange(num_tokens, device=x_TD.device)
    if k <= MOST_WANTED:
        problem, exact = prepare(x_TD, W_FD, b_F, shortlist)
        floor_T = torch.full((num_tokens,), -torch.inf, device=x_TD.device)
        for round_ in range(ROUNDS):
            todo = _topk_round(problem, exact, todo, floor_T, values_TK, latents_TK, sample=round_ == 0)
            if not len(todo):
                break
    for tokens in torch.split(todo, max(1, PLAIN_CELLS // num_latents)):
        wide = Exact(x_TD, W_FD, b_F).dtype  # in 16 bits, scores that differ would be ties
        scores_TF = torch.addmm(b_F.to(wide), x_TD[tokens].to(wide), W_FD.t().to(wide))
        scores_TF, order_TF = scores_TF.sort(dim=1, descending=True, stable=True)
        latents_TK[tokens], order_TK = order_TF[:, :k].sort(dim=1)
        values_TK[tokens] = scores_TF.gather(1, order_TK).relu().to(x_TD.dtype)
    return SparseCodes.from_topk(values_TK, latents_TK, num_latents)


@torch.no_grad()
def select_above(
    x_TD: Tensor, W_FD: Tensor, b_F: Tensor, floor_F: Tensor | float, *, shortlist: torch.dtype | None = None
) -> SparseCodes:
    """Every score x · Wᵀ + b above the floor, one for all latents or one each; values are the scores themselves."""
    problem, exact = prepare(x_TD, W_FD, b_F, shortlist)
    above_F = torch.as_tensor(floor_F, dtype=exact.dtype, device=x_TD.device).expand(len(W_FD)).contiguous()
    room = min(len(W_FD), ABOVE_ROOM)
    parts = [_nothing(x_TD, len(W_FD))]
    for some in _runs(problem, room):
        lowest_T = torch.full((some.stop - some.start,), -torch.inf, device=x_TD.device)
        at = some.start
        for codes in candidates(problem.tokens(some), lowest_T, above_F.float(), room):
            scores_N = exact.tokens(at, codes.num_tokens).scores(codes)
            parts.append(only(codes, scores_N > above_F[codes.latents], scores_N.to(x_TD.dtype)))
            at += codes.num_tokens
    return SparseCodes.concat(parts)


@torch.no_grad()
def select_batch_topk(
    x_TD: Tensor, W_FD: Tensor, b_F: Tensor, k: float, *, shortlist: torch.dtype | None = None
) -> SparseCodes:
    """The round(k · T) largest positive scores x · Wᵀ + b of the whole batch.

    The floor is one for the batch: that many group maxima of lower bounds reach it. What is gathered is thinned out to
    the best so far whenever it outgrows the budget, which lifts the floor for the tokens that follow.
    """
    num_tokens, num_latents = len(x_TD), len(W_FD)
    budget = min(round(k * num_tokens), num_tokens * num_latents)
    gathered = _nothing(x_TD, num_latents)
    if budget <= 0:
        no_offsets = x_TD.new_zeros(num_tokens + 1, dtype=torch.int64)
        return SparseCodes(no_offsets, gathered.latents, gathered.values, num_latents)
    problem, exact = prepare(x_TD, W_FD, b_F, shortlist)
    room = room_for(k, num_latents)
    floor = nth_largest(sampled_maxima(problem, k, room), budget).clamp_min(0)
    zero_F = torch.zeros(num_latents, device=x_TD.device)
    for some in _runs(problem, room):
        floor_T = floor.expand(some.stop - some.start).contiguous()
        at = some.start
        for codes in candidates(problem.tokens(some), floor_T, zero_F, room):
            lower_N, upper_N = bounds(problem, at + codes.tokens(), codes.latents, codes.values)
            floor = torch.maximum(floor, nth_largest(lower_N, budget))
            close = only(codes, upper_N >= floor, codes.values)
            scores_N = exact.tokens(at, codes.num_tokens).scores(close)
            gathered = SparseCodes.concat([gathered, only(close, scores_N > 0, scores_N)])
            if len(gathered) > 2 * budget:
                gathered = _largest_of(gathered, budget)
                floor = torch.maximum(floor, gathered.values.min().float() * (1 - 2.0**-20))
            at += codes.num_tokens
    gathered = _largest_of(gathered, budget)
    return only(gathered, gathered.values > 0, gathered.values.to(x_TD.dtype))


def _topk_round(
    problem: Problem,
    exact: Exact,
    todo: Tensor,
    floor_T: Tensor,
    values_TK: Tensor,
    latents_TK: Tensor,
    *,
    sample: bool,
) -> Tensor:
    """Fill in the rows ``todo``; those of them that are not right yet come back, with higher floors than before."""
    k = values_TK.shape[1]
    room = room_for(k, problem.num_latents)
    zero_F = torch.zeros(problem.num_latents, device=floor_T.device)
    overflowing = []
    for tokens in torch.split(todo, tokens_together(problem, room)):
        part = problem.tokens(tokens)
        floor = kth_largest(sampled_maxima(part, k, room), k) if sample else floor_T[tokens]
        slots = write_with_room(part, floor, zero_F, room)
        floor = torch.maximum(floor, kth_largest(lower_bounds(part, slots).view(len(tokens), room), k))
        entries = drop_below(part, slots, floor)
        scores_N = torch.empty_like(entries.latents_N, dtype=exact.dtype)
        ends_T = entries.begins_T + entries.counts_T
        dots_into(scores_N, exact.x_TD[tokens], exact.W_FD, entries.latents_N, entries.begins_T, ends_T, exact.b_F)
        rows = (len(tokens), room)
        values, latents_TK[tokens] = choose(
            scores_N.view(rows), entries.latents_N.view(rows), entries.counts_T, k, problem.num_latents
        )
        values_TK[tokens], floor_T[tokens] = values.to(values_TK.dtype), floor
        overflowing.append(~entries.whole_T)
    return todo[torch.cat(overflowing)]


def _runs(problem: Problem, room: int) -> Iterator[slice]:
    size = tokens_together(problem, room)
    for first in range(0, problem.num_tokens, size):
        yield slice(first, min(first + size, problem.num_tokens))


def _nothing(x_TD: Tensor, num_latents: int) -> SparseCodes:
    """Codes of no token."""
    latents = torch.zeros(0, dtype=torch.int64, device=x_TD.device)
    return SparseCodes(latents.new_zeros(1), latents, x_TD.new_zeros(0), num_latents)


def _largest_of(codes: SparseCodes, budget: int) -> SparseCodes:
    """The ``budget`` largest values; of equal ones the first."""
    if len(codes) <= budget:
        return codes
    least = nth_largest(codes.values, budget)
    better_N, equal_N = codes.values > least, codes.values == least
    return only(codes, better_N | (equal_N & (equal_N.cumsum(0) <= budget - better_N.sum())), codes.values)
