"""How to meet rows of a table through compressed sparse rows. All sparse products are made of these.

X rows of a table, R output rows, D columns, N entries, C columns of the pattern. Row r owns the entries
``offsets_R1[r]:offsets_R1[r + 1]``, no index twice. Which kernels do it is for `backend` to say; nothing here has a
gradient of its own.
"""

from __future__ import annotations

from types import ModuleType
from typing import Any

from torch import Tensor
from torch.utils.weak import WeakTensorKeyDictionary

from lexiscope.saes.kernels import backend, dense, stock
from lexiscope.saes.kernels.native import rows as native
from lexiscope.saes.kernels.stock import column_sums, transpose

__all__ = [
    "column_sums",
    "row_dots",
    "transpose",
    "weighted_columns",
    "weighted_columns_and_dots",
    "weighted_columns_and_sums",
    "weighted_rows",
]


def weighted_rows(
    table_XD: Tensor, indices_N: Tensor, offsets_R1: Tensor, weights_N: Tensor, bias_D: Tensor | None = None
) -> Tensor:
    """Sparse times dense: out[r] = bias + Σ weights[n] · table[indices[n]] over the entries n of row r. [R, D]."""
    match _path(table_XD, weights_N, indices_N, offsets_R1, len(table_XD)):
        case "dense":
            return dense.weighted_rows(table_XD, indices_N, offsets_R1, weights_N, bias_D)
        case "native":
            table_XD, weights_N = table_XD.contiguous(), weights_N.contiguous()
            bias_D = None if bias_D is None else bias_D.contiguous()
            return native.weighted_rows(table_XD, indices_N, offsets_R1, weights_N, bias_D)
        case "triton":
            from lexiscope.saes.kernels.triton import gather as triton

            out_RD = triton.weighted_rows(table_XD, indices_N, offsets_R1, weights_N)
            return out_RD if bias_D is None else out_RD.add_(bias_D)
    return stock.weighted_rows(table_XD, indices_N, offsets_R1, weights_N, bias_D)


def row_dots(left_RD: Tensor, table_XD: Tensor, indices_N: Tensor, offsets_R1: Tensor) -> Tensor:
    """Dense times dense where the pattern has entries: out[n] = ⟨left[r], table[indices[n]]⟩ for entry n of row r."""
    match _path(left_RD, table_XD, indices_N, offsets_R1, len(table_XD)):
        case "dense":
            return dense.row_dots(left_RD, table_XD, indices_N, offsets_R1)
        case "native":
            return native.row_dots(left_RD.contiguous(), table_XD.contiguous(), indices_N, offsets_R1)
        case "triton":
            from lexiscope.saes.kernels.triton import gather as triton

            return triton.row_dots(left_RD, table_XD, indices_N, offsets_R1)
    return stock.row_dots(left_RD, table_XD, indices_N, offsets_R1)


def weighted_columns(
    right_RD: Tensor, indices_N: Tensor, offsets_R1: Tensor, weights_N: Tensor, num_columns: int
) -> Tensor:
    """Sparse transposed times dense: out[c] = Σ weights[n] · right[r] over the entries (r, c) of column c. [C, D]."""
    match _path(right_RD, weights_N, indices_N, offsets_R1, num_columns):
        case "dense":
            return dense.weighted_columns(right_RD, indices_N, offsets_R1, weights_N, num_columns)
        case "native":
            columns = _columns(native, indices_N, offsets_R1, num_columns)
            return native.weighted_columns(right_RD.contiguous(), columns, weights_N.contiguous())
        case "triton":
            from lexiscope.saes.kernels.triton import gather as triton

            return triton.weighted_columns(right_RD, indices_N, offsets_R1, weights_N, num_columns)
    full = stock.is_full(indices_N, offsets_R1, num_columns)
    columns = None if full else _columns(stock, indices_N, offsets_R1, num_columns)
    return stock.weighted_columns(right_RD, indices_N, offsets_R1, weights_N, num_columns, columns)


def weighted_columns_and_dots(
    right_RD: Tensor, indices_N: Tensor, offsets_R1: Tensor, weights_N: Tensor, left_CD: Tensor
) -> tuple[Tensor, Tensor]:
    """`weighted_columns` and `row_dots` of the same rows: ⟨right[r], left[c]⟩ for every entry (r, c)."""
    if _path(right_RD, weights_N, indices_N, offsets_R1, len(left_CD)) == "native":
        columns = _columns(native, indices_N, offsets_R1, len(left_CD))
        return native.weighted_columns_and_dots(
            right_RD.contiguous(), columns, weights_N.contiguous(), left_CD.contiguous()
        )
    return (
        weighted_columns(right_RD, indices_N, offsets_R1, weights_N, len(left_CD)),
        row_dots(right_RD, left_CD, indices_N, offsets_R1),
    )


def weighted_columns_and_sums(
    right_RD: Tensor, indices_N: Tensor, offsets_R1: Tensor, weights_N: Tensor, num_columns: int
) -> tuple[Tensor, Tensor]:
    """`weighted_columns`, and Σ weights[n] of every column."""
    if _path(right_RD, weights_N, indices_N, offsets_R1, num_columns) == "native":
        columns = _columns(native, indices_N, offsets_R1, num_columns)
        return native.weighted_columns_and_sums(right_RD.contiguous(), columns, weights_N.contiguous())
    return (
        weighted_columns(right_RD, indices_N, offsets_R1, weights_N, num_columns),
        column_sums(indices_N, weights_N, num_columns),
    )


def _path(one: Tensor, other: Tensor, indices_N: Tensor, offsets_R1: Tensor, num_columns: int) -> str:
    path = backend.path(one, other)
    if path == "native" and (
        stock.is_full(indices_N, offsets_R1, num_columns, native.FULL_SHARE) or len(indices_N) > native.MOST_ENTRIES
    ):
        return "stock"
    return path


_columns_of = WeakTensorKeyDictionary()
"""Entries sorted by column, for as long as their indices live: a batch sorts them once for all its gradients."""


def _columns(kernels: ModuleType, indices_N: Tensor, offsets_R1: Tensor, num_columns: int) -> Any:
    """What ``kernels.transpose`` gives."""
    changes = 0 if indices_N.is_inference() else indices_N._version  # noqa: SLF001  nothing public counts changes
    same = kernels, num_columns, changes
    offsets, key, columns = _columns_of.get(indices_N, (None,) * 3)  # type: ignore[no-untyped-call]
    if offsets is not offsets_R1 or key != same:
        columns = kernels.transpose(indices_N.contiguous(), offsets_R1.contiguous(), num_columns)
        _columns_of[indices_N] = (offsets_R1, same, columns)
    return columns
