"""The sort, the merge and the summary of ``firings.cpp`` and ``summary.cpp``.

T tokens, F latents, N firings, B features of a block, V vocabulary, D documents, C kinds of document, K tokens kept.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core import memory
from lexiscope.saes.kernels.native.library import F32, F64, I32, I64, SIZE, Function

_OF_CODES = Function("lx_firings_of_codes", I64, F32, I64, I32, I32, F32, *[SIZE] * 4, returns=SIZE)
_SIZES = Function("lx_firings_sizes", I32, I64, SIZE, SIZE)
_PART = Function("lx_firings_part", I32, I32, F32, I64, I32, SIZE, SIZE)
_SORT = Function("lx_firings_sort", I32, I64, I64, I32, F32, *[SIZE] * 3)
_MERGE = Function("lx_firings_merge", I64, I32, F32, I64, I32, F32, SIZE)
_SUMMARY = Function(
    "lx_firings_summary", I64, I32, F32, I32, I32, I32, F64, F32, I64, F64, I32, I32, I64, I64, F64, *[SIZE] * 5
)

_BUCKET_BITS = 9
_FLOAT32_BITS = 24
MOST_ROWS = 2**31
"""Rows are 32-bit numbers here."""


class Entries(NamedTuple):
    """Firings in the order of codes: int32 [N], int32 [N], float32 [N]."""

    latents_N: Tensor
    rows_N: Tensor
    values_N: Tensor


class Sorted(NamedTuple):
    """Firings sorted by latent: how many each has, int64 [F], and rows and values of all."""

    counts_F: Tensor
    rows_N: Tensor
    values_N: Tensor


class Counted(NamedTuple):
    """What is counted of every feature; 0 where it never fires, and -1 for rows and tokens that there are not.

    Attributes:
        most_B: float32; most_rows_B: int64, the first row that has it.
        sums_B: float64, of its values.
        documents_B: int32.
        tokens_BK: int32, most frequent first, ties to the smaller; counts_BK: int64.
        kinds_BC: int64.
        spreads_B: float64, Σ n log n over the counts n of its tokens.
    """

    most_B: Tensor
    most_rows_B: Tensor
    sums_B: Tensor
    documents_B: Tensor
    tokens_BK: Tensor
    counts_BK: Tensor
    kinds_BC: Tensor
    spreads_B: Tensor


def entries(
    latents_N: Tensor, values_N: Tensor, offsets_T1: Tensor, num_latents: int, start: int, bits: int
) -> Entries:
    """The entries of codes that are not zero, of rows from ``start`` on, to so many significant bits."""
    most, num_tokens = len(latents_N), len(offsets_T1) - 1
    assert start + num_tokens <= MOST_ROWS
    out = Entries(memory.empty((most,), torch.int32), memory.empty((most,), torch.int32), memory.empty((most,)))
    count = _OF_CODES(
        latents_N, values_N, offsets_T1, *out, num_tokens, num_latents, start, max(0, _FLOAT32_BITS - bits)
    )
    assert count >= 0, f"codes of latents that are not among {num_latents:,}"
    return Entries(*(column[:count] for column in out))


def sort(parts: Sequence[Entries], num_latents: int) -> Sorted:
    """By latent, those of one in the order given."""
    shift = max(0, (num_latents - 1).bit_length() - _BUCKET_BITS)
    num_buckets = ((num_latents - 1) >> shift) + 1
    sizes = torch.zeros(num_buckets, dtype=torch.int64)
    for part in parts:
        _SIZES(part.latents_N, sizes, len(part.latents_N), shift)
    starts = torch.zeros(num_buckets + 1, dtype=torch.int64)
    torch.cumsum(sizes, 0, out=starts[1:])
    total = int(starts[-1])
    ends, buckets = starts.clone(), memory.empty((total, 3), torch.int32)
    for part in parts:
        _PART(*part, ends, buckets, len(part.latents_N), shift)
    counts_F = torch.empty(num_latents, dtype=torch.int64)
    rows_N, values_N = memory.empty((total,), torch.int32), memory.empty((total,))
    _SORT(buckets, starts, counts_F, rows_N, values_N, num_buckets, shift, num_latents)
    return Sorted(counts_F, rows_N, values_N)


def merge(runs: Sequence[Sorted], offsets_F1: Tensor) -> tuple[Tensor, Tensor]:
    """Rows and values of several runs as one: those of the first run before those of the second, for each latent.

    Args:
        offsets_F1: where each latent's will lie, int64 [F + 1].
    """
    total = int(offsets_F1[-1])
    ends_F, rows_N, values_N = offsets_F1[:-1].clone(), memory.empty((total,), torch.int32), memory.empty((total,))
    assert sum(len(run.rows_N) for run in runs) == total
    for run in runs:
        assert int(run.counts_F.sum()) == len(run.rows_N) == len(run.values_N)
        _MERGE(*run, ends_F, rows_N, values_N, len(run.counts_F))
    return rows_N, values_N


def summarise(
    offsets_B1: Tensor,
    rows_N: Tensor,
    values_N: Tensor,
    tokens_T: Tensor,
    documents_T: Tensor,
    kinds_D: Tensor,
    logs: Tensor,
    *,
    vocabulary: int,
    num_kinds: int,
    keep: int,
) -> Counted:
    """Of a block of features.

    Args:
        documents_T: int32; kinds_D: int32, below ``num_kinds``.
        logs: n log n for as many n from 0 on as one likes.
    """
    count = len(offsets_B1) - 1
    out = Counted(
        torch.zeros(count),
        torch.full((count,), -1),
        torch.zeros(count, dtype=torch.float64),
        torch.zeros(count, dtype=torch.int32),
        torch.full((count, keep), -1, dtype=torch.int32),
        torch.zeros((count, keep), dtype=torch.int64),
        torch.zeros((count, num_kinds), dtype=torch.int64),
        torch.zeros(count, dtype=torch.float64),
    )
    given = (offsets_B1, rows_N, values_N, tokens_T, documents_T, kinds_D, logs)
    _SUMMARY(*given, *out, count, vocabulary, keep, num_kinds, len(logs))
    return out
