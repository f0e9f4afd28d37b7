"""Sparse products in stock torch operators, on any device and in any precision. `gather` says what they compute.

Where more than one entry in eight is there (ReLU at its start), blocks of rows are made dense for a matrix product,
which is then faster. X rows of a table, R output rows, D columns, N entries.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core import memory

FULL_SHARE = 1 / 8
"""Share of entries from which dense blocks win: one entry costs about as much as 8 cells of a GEMM (at D = 256)."""
BLOCK_CELLS = 2**22
"""16 MB of fp32 for one dense block."""
ROWS_IN_CACHE = 512
CELLS_IN_CACHE = 2**20
WORTH_SORTING = 2**14
"""Entries from which putting them in order takes less time than it saves."""
MANY_NOT_ZERO = 0.75


def weighted_rows(
    table_XD: Tensor, indices_N: Tensor, offsets_R1: Tensor, weights_N: Tensor, bias_D: Tensor | None = None
) -> Tensor:
    if is_full(indices_N, offsets_R1, len(table_XD)):
        out_RD = torch.cat(
            [
                block.matrix(weights_N, len(table_XD)) @ table_XD
                for block in _blocks(indices_N, offsets_R1, len(table_XD))
            ]
        )
    else:
        out_RD = _bags(table_XD, indices_N, offsets_R1, weights_N)
    return out_RD if bias_D is None else out_RD.add_(bias_D)


def _bags(table_XD: Tensor, indices_N: Tensor, offsets_R1: Tensor, weights_N: Tensor) -> Tensor:
    """A large result goes piece by piece, each still in cache, to memory that has its pages already.

    Entries of weight zero are left out where they are many: JumpReLU has them for the sake of its thresholds.
    """
    if len(weights_N) > WORTH_SORTING and int(weights_N.count_nonzero()) < MANY_NOT_ZERO * len(weights_N):
        kept = weights_N.nonzero().squeeze(1)
        indices_N, weights_N = indices_N[kept], weights_N[kept]
        offsets_R1 = torch.searchsorted(kept, offsets_R1.to(kept.dtype))
    num_rows, width = len(offsets_R1) - 1, table_XD.shape[1]
    at_once = max(1, CELLS_IN_CACHE // width)
    if table_XD.device.type != "cpu" or num_rows <= 2 * at_once:
        return _bag(table_XD, indices_N, offsets_R1, weights_N)
    out_RD = memory.empty((num_rows, width), table_XD.dtype)
    for start in range(0, num_rows, at_once):
        offsets = offsets_R1[start : start + at_once + 1]
        entries = slice(int(offsets[0]), int(offsets[-1]))
        piece = _bag(table_XD, indices_N[entries], offsets - offsets[0], weights_N[entries])
        out_RD[start : start + at_once] = piece
    return out_RD


def _bag(table_XD: Tensor, indices_N: Tensor, offsets_R1: Tensor, weights_N: Tensor) -> Tensor:
    return torch.nn.functional.embedding_bag(
        indices_N, table_XD, offsets_R1, mode="sum", per_sample_weights=weights_N, include_last_offset=True
    )


def row_dots(left_RD: Tensor, table_XD: Tensor, indices_N: Tensor, offsets_R1: Tensor) -> Tensor:
    if is_full(indices_N, offsets_R1, len(table_XD)):
        return torch.cat(
            [
                (left_RD[block.rows] @ table_XD.T)[block.row_of_entry, block.indices]
                for block in _blocks(indices_N, offsets_R1, len(table_XD))
            ]
        )
    rows_N = torch.repeat_interleave(offsets_R1.diff(), output_size=len(indices_N))
    return dots_at(left_RD, table_XD, rows_N, indices_N)


def dots_at(left_RD: Tensor, table_XD: Tensor, rows_N: Tensor, indices_N: Tensor) -> Tensor:
    """out[n] = ⟨left[rows[n]], table[indices[n]]⟩."""
    unused = rows_N.new_zeros(1)
    dots_N: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(  # noqa: SLF001  no public name
        left_RD, table_XD, indices_N, unused, rows_N, 0
    )
    return dots_N


def many_dots_at(left_RD: Tensor, table_XD: Tensor, rows_N: Tensor, indices_N: Tensor) -> Tensor:
    """The same, rows ascending, walking the table in order for some rows at a time, which stay in cache."""
    blocks = len(left_RD) // ROWS_IN_CACHE + 1
    if left_RD.device.type != "cpu" or len(rows_N) < WORTH_SORTING or blocks * len(table_XD) >= 2**31:
        return dots_at(left_RD, table_XD, rows_N, indices_N)
    places_N = (rows_N // ROWS_IN_CACHE).mul_(len(table_XD)).add_(indices_N)
    order_N = places_N.to(torch.int32).sort(stable=True).indices
    dots_N = left_RD.new_empty(len(rows_N))
    dots_N[order_N] = dots_at(left_RD, table_XD, rows_N[order_N], indices_N[order_N])
    return dots_N


def weighted_columns(
    right_RD: Tensor,
    indices_N: Tensor,
    offsets_R1: Tensor,
    weights_N: Tensor,
    num_columns: int,
    columns: tuple[Tensor, Tensor, Tensor] | None = None,
) -> Tensor:
    """``columns``: what `transpose` gives, if it is known."""
    if is_full(indices_N, offsets_R1, num_columns):
        out = right_RD.new_zeros(num_columns, right_RD.shape[1])
        for block in _blocks(indices_N, offsets_R1, num_columns):
            out.addmm_(block.matrix(weights_N, num_columns).t(), right_RD[block.rows])
        return out
    rows_N, order_N, starts = columns or transpose(indices_N, offsets_R1, num_columns)
    return weighted_rows(right_RD, rows_N, starts, weights_N[order_N])


def transpose(indices_N: Tensor, offsets_R1: Tensor, num_columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same entries ordered by column, as (rows_N, order_N, offsets of columns).

    ``order_N`` takes values in the old order to the new one; rows ascend within a column, so sums have a fixed order.
    """
    sorted_N, order_N = indices_N.to(torch.int32).sort(stable=True)  # int32: a radix sort of half the traffic
    rows_N = torch.repeat_interleave(offsets_R1.diff(), output_size=len(indices_N))[order_N]
    edges = torch.arange(num_columns + 1, dtype=torch.int32, device=indices_N.device)
    return rows_N, order_N, torch.searchsorted(sorted_N, edges)


def weighted_columns_and_dots(
    right_RD: Tensor, indices_N: Tensor, offsets_R1: Tensor, weights_N: Tensor, left_CD: Tensor
) -> tuple[Tensor, Tensor]:
    out_CD = weighted_columns(right_RD, indices_N, offsets_R1, weights_N, len(left_CD))
    return out_CD, row_dots(right_RD, left_CD, indices_N, offsets_R1)


def weighted_columns_and_sums(
    right_RD: Tensor, indices_N: Tensor, offsets_R1: Tensor, weights_N: Tensor, num_columns: int
) -> tuple[Tensor, Tensor]:
    out_CD = weighted_columns(right_RD, indices_N, offsets_R1, weights_N, num_columns)
    return out_CD, column_sums(indices_N, weights_N, num_columns)


def column_sums(indices_N: Tensor, weights_N: Tensor, num_columns: int) -> Tensor:
    """out[c] = Σ weights[n] over the entries of column c."""
    return weights_N.new_zeros(num_columns).index_add_(0, indices_N, weights_N)


def is_full(indices_N: Tensor, offsets_R1: Tensor, num_columns: int, share: float | None = None) -> bool:
    """Whether dense blocks are faster than entries one by one."""
    share = FULL_SHARE if share is None else share
    return len(indices_N) > share * (len(offsets_R1) - 1) * num_columns


class _Block(NamedTuple):
    """Some rows of a sparse matrix."""

    rows: slice
    entries: slice
    row_of_entry: Tensor
    indices: Tensor

    def matrix(self, weights_N: Tensor, num_columns: int) -> Tensor:
        dense = weights_N.new_zeros(self.rows.stop - self.rows.start, num_columns)
        dense[self.row_of_entry, self.indices] = weights_N[self.entries]
        return dense


def _blocks(indices_N: Tensor, offsets_R1: Tensor, num_columns: int) -> Iterator[_Block]:
    num_rows = len(offsets_R1) - 1
    size = max(1, BLOCK_CELLS // num_columns)
    for start in range(0, num_rows, size):
        rows = slice(start, min(start + size, num_rows))
        offsets = offsets_R1[start : rows.stop + 1]
        entries = slice(int(offsets[0]), int(offsets[-1]))
        yield _Block(rows, entries, torch.repeat_interleave(offsets.diff()), indices_N[entries])
