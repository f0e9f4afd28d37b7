"""The sparse products of ``rows.cpp``. R rows, X rows of a table, D columns, N entries, F columns of a pattern."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core import memory
from lexiscope.saes.kernels.native import looks
from lexiscope.saes.kernels.native.library import F32, F64, I32, I64, SIZE, Function

_WEIGHTED_ROWS = Function("lx_weighted_rows", F32, I64, I64, F32, F32.or_none(), F32, SIZE, SIZE, SIZE)
_ROW_DOTS = Function("lx_row_dots", F32, F32, I64, I64, F32, SIZE, SIZE)
_TRANSPOSE = Function("lx_transpose", I64, I64, I32, I32, I32, SIZE, SIZE)
_WEIGHTED_COLUMNS = Function(
    "lx_weighted_columns",
    *(F32, I32, I32, I32, F32, F32.or_none(), F32, F32.or_none(), F32.or_none(), F32.or_none(), F64, SIZE, SIZE, SIZE),
)

FULL_SHARE = 1 / 4
"""Share of entries from which a dense matrix product is faster than entries one by one."""
MOST_ENTRIES = 2**31 - 1
"""Places are 32-bit numbers here."""


class Columns(NamedTuple):
    """Entries sorted by column: their rows and places before, int32 [N], and where columns start, int32 [F + 1]."""

    rows_N: Tensor
    order_N: Tensor
    starts_F1: Tensor


def weighted_rows(
    table_XD: Tensor, indices_N: Tensor, offsets_R1: Tensor, weights_N: Tensor, bias_D: Tensor | None = None
) -> Tensor:
    """out[r] = bias + Σ weights[n] · table[indices[n]] over the entries n of row r."""
    num_rows, (num_table, width) = len(offsets_R1) - 1, table_XD.shape
    out_RD = memory.empty((num_rows, width))
    _WEIGHTED_ROWS(table_XD, indices_N, offsets_R1, weights_N, bias_D, out_RD, num_table, num_rows, width)
    return out_RD


def row_dots(left_RD: Tensor, table_XD: Tensor, indices_N: Tensor, offsets_R1: Tensor) -> Tensor:
    """out[n] = ⟨left[r], table[indices[n]]⟩ for the entries n of row r."""
    out_N = left_RD.new_empty(len(indices_N))
    _ROW_DOTS(left_RD, table_XD, indices_N, offsets_R1, out_N, *left_RD.shape)
    return out_N


def transpose(indices_N: Tensor, offsets_R1: Tensor, num_columns: int) -> Columns:
    """The entries sorted by column; rows ascend within one."""
    rows_N, order_N = (torch.empty(len(indices_N), dtype=torch.int32) for _ in range(2))
    starts_F1 = torch.empty(num_columns + 1, dtype=torch.int32)
    _TRANSPOSE(indices_N, offsets_R1, rows_N, order_N, starts_F1, len(offsets_R1) - 1, num_columns)
    return Columns(rows_N, order_N, starts_F1)


def weighted_columns(right_RD: Tensor, columns: Columns, weights_N: Tensor) -> Tensor:
    """out[c] = Σ weights[n] · right[r] over the entries (r, c) of column c."""
    return _columns(right_RD, columns, weights_N)[0]


def weighted_columns_and_sums(right_RD: Tensor, columns: Columns, weights_N: Tensor) -> tuple[Tensor, Tensor]:
    """The same, and Σ weights[n] of every column."""
    out_FD, sums_F, _ = _columns(right_RD, columns, weights_N, with_sums=True)
    assert sums_F is not None
    return out_FD, sums_F


def weighted_columns_and_dots(
    right_RD: Tensor, columns: Columns, weights_N: Tensor, left_FD: Tensor
) -> tuple[Tensor, Tensor]:
    """The same, and ⟨left[c], right[r]⟩ for every entry (r, c): each row of ``right_RD`` is read once for both."""
    out_FD, _, dots_N = _columns(right_RD, columns, weights_N, left_FD=left_FD)
    assert dots_N is not None
    return out_FD, dots_N


def _columns(
    right_RD: Tensor, columns: Columns, weights_N: Tensor, *, left_FD: Tensor | None = None, with_sums: bool = False
) -> tuple[Tensor, Tensor | None, Tensor | None]:
    num_columns, (num_rows, width) = len(columns.starts_F1) - 1, right_RD.shape
    out_FD = memory.empty((num_columns, width))
    sums_F = right_RD.new_empty(num_columns) if with_sums else None
    dots_N, along_F = (None, None) if left_FD is None else (torch.empty_like(weights_N), torch.empty(num_columns))
    norms = torch.empty(2, dtype=torch.float64)
    _WEIGHTED_COLUMNS(
        right_RD, *columns, weights_N, left_FD, out_FD, sums_F, dots_N, along_F, norms, num_rows, num_columns, width
    )
    looks.remember(out_FD, left_FD, norms, along_F)
    return out_FD, sums_F, dots_N
