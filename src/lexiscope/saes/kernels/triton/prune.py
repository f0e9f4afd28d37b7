"""Shortlists cut down: what a span of candidates is worth at least, and which entries may still belong in the result.

T tokens, N slots. One program has one token and goes through its spans. Never run on a GPU so far; see the package.
"""
# mypy: disable-error-code="untyped-decorator"

from typing import NamedTuple

import torch
import triton  # type: ignore[import-untyped,import-not-found,unused-ignore]
import triton.language as tl  # type: ignore[import-untyped,import-not-found,unused-ignore]
from torch import Tensor

from lexiscope.saes.kernels.triton.rounding import SHARE_OF_SCORE
from lexiscope.saes.kernels.triton.scores import SPAN, Problem, Slots

CHUNK = 128
"""Spans that are looked at together."""


class Entries(NamedTuple):
    """Latents of every token, int32, closed up: ``latents_N[begins_T[t]:begins_T[t] + counts_T[t]]``.

    ``whole_T`` says for which tokens there was room; the others have no entries.
    """

    begins_T: Tensor
    counts_T: Tensor
    latents_N: Tensor
    whole_T: Tensor


def lower_bounds(problem: Problem, slots: Slots) -> Tensor:
    """What the best entry of every span is worth at least, float32 [N]; -inf in slots that are empty."""
    lower_N = torch.full(slots.spans_N.shape, -torch.inf, device=slots.spans_N.device)
    if problem.num_tokens:
        _lower_kernel[(problem.num_tokens,)](lower_N, *_judged(problem, slots), SHARE_OF_SCORE, SPAN, CHUNK)
    return lower_N


def drop_below(problem: Problem, slots: Slots, floor_T: Tensor) -> Entries:
    """The entries that may be positive and at least ``floor_T``, of tokens that have room for all of theirs."""
    counts_T, latents_N = torch.zeros_like(slots.counts_T), torch.empty_like(slots.spans_N)
    if problem.num_tokens:
        _drop_kernel[(problem.num_tokens,)](
            latents_N, counts_T, floor_T, slots.room_T, *_judged(problem, slots), SHARE_OF_SCORE, SPAN, CHUNK
        )
    whole_T = (counts_T <= slots.room_T) & (slots.counts_T <= slots.room_T)
    return Entries(slots.begins_T, torch.where(whole_T, counts_T, 0), latents_N, whole_T)


def _judged(problem: Problem, slots: Slots) -> tuple[Tensor | int, ...]:
    return (
        slots.begins_T,
        slots.filled_T,
        slots.spans_N,
        slots.scores_NS,
        problem.reach_T,
        problem.length_T,
        problem.W.length_R,
        problem.W.slack_R,
        problem.num_latents,
    )


@triton.jit
def _judge(
    slots: tl.tensor,
    full: tl.tensor,
    row: tl.tensor,
    spans: tl.tensor,
    scores: tl.tensor,
    reach: tl.tensor,
    length: tl.tensor,
    W_length: tl.tensor,
    W_slack: tl.tensor,
    num_latents: int,
    SHARE: tl.constexpr,
    SPAN: tl.constexpr,
) -> tl.tuple:
    """Latents, scores and bounds of some spans of one row; which of them exist."""
    lanes = tl.arange(0, SPAN)[None, :]
    latents = tl.load(spans + slots, mask=full, other=0)[:, None] * SPAN + lanes
    live = full[:, None] & (latents < num_latents)
    score = tl.load(scores + slots[:, None] * SPAN + lanes, mask=live, other=0.0)
    theirs = tl.load(W_length + latents, mask=live, other=0.0)
    slack = tl.load(W_slack + latents, mask=live, other=0.0)
    error = tl.load(reach + row) * theirs + tl.load(length + row) * slack + SHARE * tl.abs(score) + 1e-30
    return latents, score, error, live


@triton.jit(do_not_specialize=["num_latents"])
def _lower_kernel(
    lower: tl.tensor,
    begins: tl.tensor,
    filled: tl.tensor,
    spans: tl.tensor,
    scores: tl.tensor,
    reach: tl.tensor,
    length: tl.tensor,
    W_length: tl.tensor,
    W_slack: tl.tensor,
    num_latents: int,
    SHARE: tl.constexpr,
    SPAN: tl.constexpr,
    CHUNK: tl.constexpr,
) -> None:
    row = tl.program_id(0)
    begin = tl.load(begins + row)
    count = tl.load(filled + row)
    for first in range(0, count, CHUNK):
        places = first + tl.arange(0, CHUNK)
        full = places < count
        _, score, error, live = _judge(
            begin + places, full, row, spans, scores, reach, length, W_length, W_slack, num_latents, SHARE, SPAN
        )
        bound = tl.where(live & (tl.abs(score) < float("inf")), score - error, float("-inf"))
        tl.store(lower + begin + places, tl.max(bound, axis=1), mask=full)


@triton.jit(do_not_specialize=["num_latents"])
def _drop_kernel(
    out_latents: tl.tensor,
    out_counts: tl.tensor,
    floors: tl.tensor,
    room: tl.tensor,
    begins: tl.tensor,
    filled: tl.tensor,
    spans: tl.tensor,
    scores: tl.tensor,
    reach: tl.tensor,
    length: tl.tensor,
    W_length: tl.tensor,
    W_slack: tl.tensor,
    num_latents: int,
    SHARE: tl.constexpr,
    SPAN: tl.constexpr,
    CHUNK: tl.constexpr,
) -> None:
    row = tl.program_id(0)
    begin = tl.load(begins + row)
    count = tl.load(filled + row)
    places_left = tl.load(room + row)
    floor = tl.load(floors + row)
    kept = tl.full((), 0, tl.int32)
    for first in range(0, count, CHUNK):
        places = first + tl.arange(0, CHUNK)
        latents, score, error, live = _judge(
            begin + places,
            places < count,
            row,
            spans,
            scores,
            reach,
            length,
            W_length,
            W_slack,
            num_latents,
            SHARE,
            SPAN,
        )
        upper = tl.where(tl.abs(score) < float("inf"), score + error, float("inf"))
        stays = tl.reshape((live & (upper >= floor) & (upper > 0)).to(tl.int32), (CHUNK * SPAN,))
        place = kept + tl.cumsum(stays, axis=0) - 1
        fits = (stays > 0) & (place < places_left)
        tl.store(out_latents + begin + place, tl.reshape(latents, (CHUNK * SPAN,)), mask=fits)
        kept += tl.sum(stays)
    tl.store(out_counts + row, kept)
