"""Selection in stock torch operators, on any device and in any precision. `select` says what is selected.

Scores of a block of tokens at a time are never kept. Where `stock_shortlist` can bound them in bfloat16, only latents
that its bounds leave in question are scored in float32, one by one; tokens with too many of those, and tokens that have
no bounds, are scored as a whole. T tokens, D model width, F latents, K active, N found.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.kernels import stock_search as search
from lexiscope.saes.kernels.stock import many_dots_at
from lexiscope.saes.kernels.stock_shortlist import NO_KEY, Bounds, Shortlist, is_faster

SCORES_PER_BLOCK = 2**22
"""16 MB of fp32 scores: larger blocks fall out of cache, smaller ones waste the GEMM (measured at F = 8,192)."""
SAMPLE_TOKENS = 128
"""Tokens that guess the threshold of a whole batch."""
LONGEST_LIST = 1 / 32
"""Share of the groups of latents in question from which it is faster to score the token as a whole."""


def select_topk(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, k: int, *, may_shorten: bool = True) -> SparseCodes:
    return SparseCodes.concat(_blocks(x_TD, W_FD, b_F, _Largest(min(k, len(W_FD))), may_shorten))


def select_above(
    x_TD: Tensor, W_FD: Tensor, b_F: Tensor, floor_F: Tensor | float, *, may_shorten: bool = True
) -> SparseCodes:
    return SparseCodes.concat(_blocks(x_TD, W_FD, b_F, _Above(floor_F), may_shorten))


def select_batch_topk(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, k: float, *, may_shorten: bool = True) -> SparseCodes:
    """A sample of the tokens guesses a floor below which nothing is kept.

    Enough above it proves the guess; otherwise the batch is searched once more from zero.
    """
    budget = min(round(k * len(x_TD)), len(x_TD) * len(W_FD))
    guess = _guessed_floor(x_TD, W_FD, b_F, k)
    codes = _largest_of_batch(x_TD, W_FD, b_F, budget, guess, may_shorten)
    if guess == 0 or len(codes) == budget:
        return codes
    return _largest_of_batch(x_TD, W_FD, b_F, budget, 0.0, may_shorten)


def _largest_of_batch(
    x_TD: Tensor, W_FD: Tensor, b_F: Tensor, budget: int, floor: float, may_shorten: bool
) -> SparseCodes:
    """At most ``budget`` scores above ``floor``; the floor rises as better ones come in, which bounds the memory."""
    parts: list[SparseCodes] = []
    above = _Above(floor)
    for part in _blocks(x_TD, W_FD, b_F, above, may_shorten):
        parts.append(part)
        if sum(map(len, parts)) > 2 * budget:
            best = search.largest_of_all(SparseCodes.concat(parts), budget)
            above.floor_F = float(best.values.min()) if budget else torch.inf
            parts = [best]
    return search.largest_of_all(SparseCodes.concat(parts), budget)


def _guessed_floor(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, k: float) -> float:
    """What a quarter more than the budget exceeds, in a spread sample of tokens; 0 where that is not worth it."""
    stride = len(x_TD) // SAMPLE_TOKENS
    if stride < 4:
        return 0.0
    sample_TD = x_TD[::stride]
    largest = search.maxima(torch.addmm(b_F, sample_TD, W_FD.t()), at_least=round(8 * k)).largest_TG.flatten()
    rank = round(1.25 * k * len(sample_TD)) + 1
    return max(0.0, float(largest.topk(rank).values[-1])) if rank < len(largest) else 0.0


class _Wanted(Protocol):
    """What is selected of the scores of a block of tokens."""

    @property
    def least_groups(self) -> int:
        """In how many groups at least latents are searched."""

    @property
    def base_F(self) -> Tensor | float:
        """What bounds take off scores."""

    def floors(self, bounds: Bounds, top: search.Maxima) -> Tensor:
        """Keys of bounds below which nothing is selected."""

    def of_scores(self, scores_TF: Tensor) -> SparseCodes:
        """What is selected of all scores."""

    def of_values(self, found: search.Found, values_N: Tensor, num_tokens: int, num_latents: int) -> SparseCodes:
        """What is selected of scores at the places in question."""


class _Largest:
    base_F = 0.0

    def __init__(self, k: int) -> None:
        self.k = k
        self.least_groups = 4 * k

    def floors(self, bounds: Bounds, top: search.Maxima) -> Tensor:
        kth_T = search.below_kth(top, self.k)
        return bounds.floors_of_largest(kth_T) if kth_T is not None else bounds.floors(bounds.error_T.new_zeros(()))

    def of_scores(self, scores_TF: Tensor) -> SparseCodes:
        top = search.maxima(scores_TF, at_least=self.least_groups)
        floor_T = search.below_kth(top, self.k) if top.size > 1 else None
        if floor_T is None:
            return self._sorted(scores_TF)
        found = search.members_at(scores_TF, top, search.groups_at(top, floor_T), floor_T)
        codes = self.of_values(found, scores_TF[found], *scores_TF.shape)
        if not bool(floor_T.isnan().any()):  # nothing reaches such a floor
            return codes
        return search.merge(codes, self._sorted(scores_TF[floor_T.isnan()]), floor_T.isnan().nonzero().squeeze(1))

    def _sorted(self, scores_TF: Tensor) -> SparseCodes:
        values_TK, latents_TK = scores_TF.topk(self.k, dim=1)
        return SparseCodes.from_topk(values_TK.relu_(), latents_TK, scores_TF.shape[1])

    def of_values(self, found: search.Found, values_N: Tensor, num_tokens: int, num_latents: int) -> SparseCodes:
        return search.largest_of_rows(found, values_N, num_tokens, num_latents, self.k)


class _Above:
    least_groups = 1

    def __init__(self, floor_F: Tensor | float) -> None:
        self.floor_F = floor_F
        """May rise from block to block, if it is a number from 0 on."""
        self.base_F = floor_F if isinstance(floor_F, Tensor) or floor_F < 0 else 0.0

    def floors(self, bounds: Bounds, top: search.Maxima) -> Tensor:  # noqa: ARG002
        floor = 0.0 if isinstance(self.floor_F, Tensor) else max(0.0, self.floor_F)
        return bounds.floors(bounds.error_T.new_tensor(floor))

    def of_scores(self, scores_TF: Tensor) -> SparseCodes:
        above_TF, floor = scores_TF, self.floor_F
        if isinstance(floor, Tensor):
            above_TF, floor = scores_TF - floor, 0.0  # its sign is exact
        floor_T = scores_TF.new_tensor(floor).expand(len(scores_TF))
        found = search.find(above_TF, floor_T, strictly=True)
        return search.codes_of(found, scores_TF[found], *scores_TF.shape)

    def of_values(self, found: search.Found, values_N: Tensor, num_tokens: int, num_latents: int) -> SparseCodes:
        floor = self.floor_F
        keep_N = values_N > (floor.expand(num_latents)[found.columns_N] if isinstance(floor, Tensor) else floor)
        found = search.Found(found.rows_N[keep_N], found.columns_N[keep_N])
        return search.codes_of(found, values_N[keep_N], num_tokens, num_latents)


def _blocks(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, wanted: _Wanted, may_shorten: bool) -> Iterator[SparseCodes]:
    """What is selected of consecutive tokens."""
    x_TD, W_FD, b_F = x_TD.detach().contiguous(), W_FD.detach(), b_F.detach()
    if may_shorten and wanted.least_groups <= LONGEST_LIST * len(W_FD) and is_faster(x_TD, W_FD):
        shortlist = Shortlist(W_FD, b_F, wanted.base_F)
        if shortlist.is_usable:
            for number, block_TD in enumerate(torch.split(x_TD, shortlist.tokens_per_block)):
                listed = _Listed(block_TD, shortlist, wanted)
                if number == 0 and float(listed.by_itself_T.float().mean()) > 0.5:
                    break  # the others would have no shorter lists
                yield listed.codes(W_FD, b_F, wanted)
            else:
                return
    for scores_TF in _score_blocks(x_TD, W_FD, b_F):
        yield wanted.of_scores(scores_TF)


class _Listed:
    """A block of tokens and what their bounds leave in question."""

    def __init__(self, x_TD: Tensor, shortlist: Shortlist, wanted: _Wanted) -> None:
        self.x_TD = x_TD
        bounds = shortlist.bounds(x_TD)
        top = search.maxima(bounds.keys_TF, at_least=wanted.least_groups)
        floor_T = wanted.floors(bounds, top)
        hits = search.groups_at(top, floor_T)
        longest = LONGEST_LIST * bounds.keys_TF.shape[1]
        self.by_itself_T = ~bounds.usable_T
        """Tokens with no bounds, or too long a list."""
        if len(hits.rows_N) > longest:
            self.by_itself_T |= search.starts_of(hits.rows_N, len(x_TD)).diff() > longest
        if bool(self.by_itself_T.any()):
            floor_T = torch.where(self.by_itself_T, NO_KEY, floor_T)
            hits = search.groups_at(top, floor_T)
        self.found = search.members_at(bounds.keys_TF, top, hits, floor_T)

    def codes(self, W_FD: Tensor, b_F: Tensor, wanted: _Wanted) -> SparseCodes:
        found = self.found
        values_N = many_dots_at(self.x_TD, W_FD, found.rows_N, found.columns_N).add_(b_F[found.columns_N])
        codes = wanted.of_values(found, values_N, len(self.x_TD), len(W_FD))
        if not bool(self.by_itself_T.any()):
            return codes
        others_TD = self.x_TD[self.by_itself_T]
        others = SparseCodes.concat(map(wanted.of_scores, _score_blocks(others_TD, W_FD, b_F)))
        return search.merge(codes, others, self.by_itself_T.nonzero().squeeze(1))


def _score_blocks(x_TD: Tensor, W_FD: Tensor, b_F: Tensor) -> Iterator[Tensor]:
    """Scores of consecutive tokens in one reused buffer: use each block before asking for the next."""
    rows = max(1, min(len(x_TD), SCORES_PER_BLOCK // len(W_FD)))
    buffer = x_TD.new_empty(rows, len(W_FD))
    for start in range(0, max(1, len(x_TD)), rows):
        block_TD = x_TD[start : start + rows]
        yield torch.addmm(b_F, block_TD, W_FD.t(), out=buffer[: len(block_TD)])
