"""All that could belong in the result, by a certified bound: a floor from a sample, then one pass over all latents.

T tokens, D model width, F latents, N entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.saes.kernels.triton.gather import dots_into
from lexiscope.saes.kernels.triton.launch import WIDEST_ROW, check, interpreted, power_of_two, wide_type
from lexiscope.saes.kernels.triton.rounding import SHARE_OF_SCORE, round_rows
from lexiscope.saes.kernels.triton.scores import SPAN, Problem, Slots, group_maxima, write_down

CELLS = 2**22
"""Spans of candidates that a chunk of tokens has room for: 36 bytes each, 150 MB."""
ROOM_PER_K = 64
"""Spans that a token has room for, for each latent that is wanted: 20 are expected of normal scores in bfloat16."""
LEAST_ROOM = 512
"""Spans that a token has room for at least, if there are so many."""
MOST_WANTED = WIDEST_ROW // 8
"""K up to which a row of candidates and one of group maxima fit in the registers of a program."""


class Exact(NamedTuple):
    """The operands as they were given: what the scores that count are made of."""

    x_TD: Tensor
    W_FD: Tensor
    b_F: Tensor

    @property
    def dtype(self) -> torch.dtype:
        """In what exact scores are taken."""
        return wide_type(torch.promote_types(self.x_TD.dtype, self.W_FD.dtype))

    def tokens(self, first: int, number: int) -> Exact:
        """The same for ``number`` tokens."""
        return self._replace(x_TD=self.x_TD[first : first + number])

    def scores(self, codes: SparseCodes) -> Tensor:
        """The exact score of every entry, [N]."""
        out_N = self.x_TD.new_empty(len(codes), dtype=self.dtype)
        dots_into(out_N, self.x_TD, self.W_FD, codes.latents, codes.offsets[:-1], codes.offsets[1:], self.b_F)
        return out_N


def prepare(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, shortlist: torch.dtype | None) -> tuple[Problem, Exact]:
    """Operands in the dtype of the shortlist, which None leaves to the device, and as they are.

    Raises:
        InputError: no kernel reaches these tensors, or there are no bounds for this dtype.
    """
    check(x_TD, W_FD, b_F)
    dtype = _shortlist_type(x_TD) if shortlist is None else shortlist
    if dtype not in (torch.bfloat16, torch.float16, torch.float32):
        raise InputError(f"scores can't be shortlisted in {dtype}; use bfloat16 or float32")
    if dtype == torch.float16 and x_TD.dtype != torch.float16:
        raise InputError("float16 overflows at 65,504; shortlist in bfloat16 or float32")
    problem = Problem.of(round_rows(x_TD, dtype), round_rows(W_FD, dtype), b_F)
    return problem, Exact(x_TD.contiguous(), W_FD.contiguous(), b_F.contiguous())


def room_for(k: float, num_latents: int) -> int:
    """C: spans that a token has room for."""
    return min(num_latents, WIDEST_ROW, max(LEAST_ROOM, power_of_two(ROOM_PER_K * max(1, round(k)))))


def sampled_maxima(problem: Problem, k: float, room: int) -> Tensor:
    """Lower bounds that different latents reach, float32 [T, G], G ≥ 4k where there are so many.

    The sample is so large that about a twelfth of the room is filled by what exceeds its k-th largest score: what the
    error bounds add must fit too.
    """
    wanted = max(1, round(k))
    sample = min(problem.num_latents, max(16 * wanted, -(-problem.num_latents * 12 * wanted // room)))
    group = power_of_two(max(1, sample // (4 * wanted)) + 1) // 2
    return group_maxima(problem, sample, min(group, problem.tile.latents))


def tokens_together(problem: Problem, room: int) -> int:
    """How many tokens may have their candidates in memory at once."""
    return max(problem.tile.tokens, CELLS // room)


def write_with_room(problem: Problem, floor_T: Tensor, floor_F: Tensor, room: int) -> Slots:
    """The same room for every token."""
    tokens = problem.num_tokens
    slots = Slots.make(torch.full((tokens,), room, device=floor_T.device), tokens * room)
    write_down(problem, floor_T, floor_F, slots)
    return slots


def candidates(problem: Problem, floor_T: Tensor, floor_F: Tensor, room: int) -> Iterator[SparseCodes]:
    """Every entry that may be at least ``floor_T`` and above ``floor_F``, some tokens at a time, in order.

    Values are the scores they were judged by. Where the room is too small for a token, the first pass has counted what
    there is, and a second one writes it down with as much room as each token needs.
    """
    slots = write_with_room(problem, floor_T, floor_F, room)
    counts = slots.counts_T.tolist()
    if max(counts, default=0) <= room:
        yield _entries(problem, slots, floor_T, floor_F)
        return
    for first, last in _runs(counts):
        some = slice(first, last)
        part = problem.tokens(some)
        slots = Slots.make(torch.tensor(counts[some], device=floor_T.device), sum(counts[some]))
        write_down(part, floor_T[some], floor_F, slots)
        yield _entries(part, slots, floor_T[some], floor_F)


def bounds(problem: Problem, tokens_N: Tensor, latents_N: Tensor, scores_N: Tensor) -> tuple[Tensor, Tensor]:
    """Lower and upper bounds of the exact scores of entries that were judged by ``scores_N``."""
    error_N = (
        problem.reach_T[tokens_N] * problem.W.length_R[latents_N]
        + problem.length_T[tokens_N] * problem.W.slack_R[latents_N]
        + SHARE_OF_SCORE * scores_N.abs()
        + 1e-30
    )
    known_N = scores_N.isfinite()
    return (
        torch.where(known_N, scores_N - error_N, -torch.inf),
        torch.where(known_N, scores_N + error_N, torch.inf),
    )


def only(codes: SparseCodes, keep_N: Tensor, values_N: Tensor) -> SparseCodes:
    """Some of the entries, with other values."""
    before = torch.cat([keep_N.new_zeros(1, dtype=torch.int64), keep_N.cumsum(0)])
    return SparseCodes(before[codes.offsets], codes.latents[keep_N], values_N[keep_N], codes.num_latents)


def _shortlist_type(x_TD: Tensor) -> torch.dtype:
    if x_TD.dtype in (torch.bfloat16, torch.float16):
        return x_TD.dtype
    has_units = interpreted() or torch.cuda.get_device_capability(x_TD.device) >= (8, 0)
    return torch.bfloat16 if has_units else torch.float32


def _entries(problem: Problem, slots: Slots, floor_T: Tensor, floor_F: Tensor) -> SparseCodes:
    """What the slots hold that can be above both floors, latents ascending: spans came in no fixed order."""
    rows_N = torch.repeat_interleave(slots.room_T, output_size=len(slots.spans_N))
    places_N = torch.arange(len(rows_N), device=rows_N.device) - slots.begins_T[rows_N]
    full_N = places_N < slots.counts_T[rows_N]
    lanes_S = torch.arange(SPAN, device=rows_N.device)
    latents_N = (slots.spans_N[full_N].long()[:, None] * SPAN + lanes_S).flatten()
    tokens_N = rows_N[full_N].long().repeat_interleave(SPAN)
    scores_N = slots.scores_NS[full_N].flatten()
    there_N = latents_N < problem.num_latents
    tokens_N, latents_N, scores_N = tokens_N[there_N], latents_N[there_N], scores_N[there_N]
    _, upper_N = bounds(problem, tokens_N, latents_N, scores_N)
    keep_N = (upper_N >= floor_T[tokens_N]) & (upper_N > floor_F[latents_N])
    keys_N, order_N = (tokens_N[keep_N] * problem.num_latents + latents_N[keep_N]).sort()
    edges = torch.arange(problem.num_tokens + 1, device=keys_N.device) * problem.num_latents
    offsets = torch.searchsorted(keys_N, edges)
    return SparseCodes(offsets, keys_N % problem.num_latents, scores_N[keep_N][order_N], problem.num_latents)


def _runs(counts: list[int]) -> Iterator[tuple[int, int]]:
    """Stretches of tokens that have at most `CELLS` spans together, or one token."""
    first = total = 0
    for token, count in enumerate(counts):
        if token > first and total + count > CELLS:
            yield first, token
            first, total = token, 0
        total += count
    yield first, len(counts)
