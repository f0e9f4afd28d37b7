"""Sparse products, one program per output row and stretch of columns, with no atomics: every sum has a fixed order.

X rows of a table, R output rows, D columns, N entries, C columns of a sparse matrix. Row r owns the entries
``offsets_R1[r]:offsets_R1[r + 1]``. Sums are taken in float32 (float64 for float64).

A latent that fires on most tokens would keep one program busy while the others are done. Its entries are cut into
pieces of `PIECE`, each summed by a program of its own into a workspace, and the pieces are added in their order. There
are at most 2 N / PIECE pieces, so the host needs no word from the device to size the workspace.

Bytes at least: weighted_rows and row_dots read N rows of the table (N · D · 4, unless the cache has them);
weighted_columns reads N rows and writes all C (C · D · 4, most of them zeros when few latents fire). Where most entries
are there, as with ReLU at its start, a matrix product of dense blocks is faster (`lexiscope.saes.kernels.stock`); these
kernels stay right and get slow. Never run on a GPU so far; see the package.
"""
# mypy: disable-error-code="untyped-decorator"

import torch
import triton  # type: ignore[import-untyped,import-not-found,unused-ignore]
import triton.language as tl  # type: ignore[import-untyped,import-not-found,unused-ignore]
from torch import Tensor

from lexiscope.saes.kernels.stock import transpose
from lexiscope.saes.kernels.triton import launch
from lexiscope.saes.kernels.triton.launch import check, power_of_two, warps_across, wide_type

PIECE = 512
"""Entries of a column that one program sums at most."""
CELLS = 4096
"""Numbers of the table that a program has under way at once."""
LANES = 8
"""Entries taken together."""


def weighted_rows(table_XD: Tensor, indices_N: Tensor, offsets_R1: Tensor, weights_N: Tensor) -> Tensor:
    """Sparse times dense: out[r] = Σ weights[n] · table[indices[n]] over the entries n of row r. Shape [R, D]."""
    check(table_XD, indices_N, offsets_R1, weights_N)
    out_RD = table_XD.new_empty(len(offsets_R1) - 1, table_XD.shape[1])
    _sum(out_RD, table_XD, indices_N, weights_N, offsets_R1[:-1], offsets_R1[1:], limit=None)
    return out_RD


def row_dots(left_RD: Tensor, table_XD: Tensor, indices_N: Tensor, offsets_R1: Tensor) -> Tensor:
    """Dense times dense where the pattern has entries: out[n] = ⟨left[r], table[indices[n]]⟩ for entry n of row r."""
    out_N = left_RD.new_empty(len(indices_N))
    dots_into(out_N, left_RD, table_XD, indices_N, offsets_R1[:-1], offsets_R1[1:])
    return out_N


def weighted_columns(
    right_RD: Tensor, indices_N: Tensor, offsets_R1: Tensor, weights_N: Tensor, num_columns: int
) -> Tensor:
    """Sparse transposed times dense: out[c] = Σ weights[n] · right[r] over the entries (r, c) of column c."""
    check(right_RD, indices_N, offsets_R1, weights_N)
    rows_N, order_N, columns_C1 = transpose(indices_N, offsets_R1, num_columns)
    weights_N = weights_N[order_N]
    out_CD = right_RD.new_empty(num_columns, right_RD.shape[1])
    _sum(out_CD, right_RD, rows_N, weights_N, columns_C1[:-1], columns_C1[1:], limit=PIECE)
    if len(indices_N) > PIECE:
        _sum_popular(out_CD, right_RD, rows_N, weights_N, columns_C1)
    return out_CD


def dots_into(
    out_N: Tensor,
    left_RD: Tensor,
    table_XD: Tensor,
    indices_N: Tensor,
    begins_R: Tensor,
    ends_R: Tensor,
    bias_X: Tensor | None = None,
) -> None:
    """`row_dots` for rows whose entries ``begins[r]:ends[r]`` leave gaps, with a bias for every row of the table.

    The dtype of ``out_N`` is free; a dot product is summed in it if it is wider than the operands.
    """
    check(out_N, left_RD, table_XD, indices_N)
    (num_rows, width) = left_RD.shape
    if not num_rows or not len(out_N):
        return
    block = min(power_of_two(width), CELLS // LANES)
    splits = max(1, launch.PROGRAMS // num_rows)
    _dots_kernel[(num_rows * splits,)](
        out_N,
        left_RD.contiguous(),
        table_XD.contiguous(),
        out_N if bias_X is None else bias_X,
        indices_N,
        begins_R,
        ends_R,
        width,
        SPLITS=splits,
        HAS_BIAS=bias_X is not None,
        WIDE=wide_type(torch.promote_types(out_N.dtype, left_RD.dtype)) == torch.float64,
        LANES=LANES,
        BLOCK=block,
        num_warps=warps_across(block, table_XD.dtype),
    )


def _sum(
    out_RD: Tensor,
    table_XD: Tensor,
    indices_N: Tensor,
    weights_N: Tensor,
    begins_R: Tensor,
    ends_R: Tensor,
    limit: int | None,
) -> None:
    """Rows of at most ``limit`` entries; others, and those that end before they begin, are left alone."""
    num_rows, width = out_RD.shape
    if not num_rows or not width:
        return
    block = min(power_of_two(width), CELLS // LANES)
    tiles = -(-width // block)
    _sum_kernel[(num_rows * tiles,)](
        out_RD,
        table_XD.contiguous(),
        indices_N,
        weights_N,
        begins_R,
        ends_R,
        width,
        len(indices_N) if limit is None else limit,
        TILES=tiles,
        WIDE=table_XD.dtype == torch.float64,
        LANES=LANES,
        BLOCK=block,
        num_warps=warps_across(block, table_XD.dtype),
    )


def _sum_popular(out_CD: Tensor, right_RD: Tensor, rows_N: Tensor, weights_N: Tensor, columns_C1: Tensor) -> None:
    """The columns of more than `PIECE` entries."""
    counts_C = columns_C1.diff()
    pieces_C = torch.where(counts_C > PIECE, (counts_C + PIECE - 1) // PIECE, 0)
    after_C = pieces_C.cumsum(0)  # pieces of this column and of those before it
    numbers_P = torch.arange(2 * (len(rows_N) // PIECE), device=rows_N.device)
    column_P = torch.searchsorted(after_C, numbers_P, right=True)
    real_P = column_P < len(pieces_C)
    column_P = column_P.clamp_max(len(pieces_C) - 1)
    within_P = numbers_P - (after_C - pieces_C)[column_P]
    begins_P = torch.where(real_P, columns_C1[:-1][column_P] + within_P * PIECE, 1)
    ends_P = torch.where(real_P, torch.minimum(begins_P + PIECE, columns_C1[1:][column_P]), 0)
    partial_PD = right_RD.new_empty(
        len(numbers_P), right_RD.shape[1], dtype=wide_type(right_RD.dtype)
    )  # sums of pieces must not be rounded to 16 bits
    _sum(partial_PD, right_RD, rows_N, weights_N, begins_P, ends_P, limit=PIECE)
    lengths_P = torch.where(real_P & (within_P == 0), pieces_C[column_P], 0)
    width = right_RD.shape[1]
    block = min(power_of_two(width), CELLS // LANES)
    tiles = -(-width // block)
    _add_pieces_kernel[(len(numbers_P) * tiles,)](
        out_CD,
        partial_PD,
        column_P,
        lengths_P,
        width,
        TILES=tiles,
        BLOCK=block,
        num_warps=warps_across(block, partial_PD.dtype),
    )


@triton.jit(do_not_specialize=["limit"])
def _sum_kernel(
    out: tl.tensor,
    table: tl.tensor,
    indices: tl.tensor,
    weights: tl.tensor,
    begins: tl.tensor,
    ends: tl.tensor,
    width: int,
    limit: int,
    TILES: tl.constexpr,
    WIDE: tl.constexpr,
    LANES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    program = tl.program_id(0)
    row = program // TILES
    columns = (program % TILES) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    begin = tl.load(begins + row)
    end = tl.load(ends + row)
    if (end < begin) | (end - begin > limit):
        return
    kind = tl.float64 if WIDE else tl.float32
    lanes = tl.arange(0, LANES)
    total = tl.zeros((BLOCK,), kind)
    for first in range(begin, end, LANES):
        entries = first + lanes
        live = entries < end
        rows = tl.load(indices + entries, mask=live, other=0).to(tl.int64)
        factors = tl.load(weights + entries, mask=live, other=0.0).to(kind)
        cells = tl.load(
            table + rows[:, None] * width + columns[None, :], mask=live[:, None] & inside[None, :], other=0.0
        ).to(kind)
        total += tl.sum(factors[:, None] * cells, axis=0)
    tl.store(out + row.to(tl.int64) * width + columns, total, mask=inside)


@triton.jit
def _add_pieces_kernel(
    out: tl.tensor,
    partial: tl.tensor,
    targets: tl.tensor,
    lengths: tl.tensor,
    width: int,
    TILES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """The first piece of a column adds the others to itself; ``lengths`` is 0 everywhere else."""
    program = tl.program_id(0)
    first = program // TILES
    length = tl.load(lengths + first)
    if length == 0:
        return
    columns = (program % TILES) * BLOCK + tl.arange(0, BLOCK)
    inside = columns < width
    total = tl.zeros((BLOCK,), partial.dtype.element_ty)
    partial += first.to(tl.int64) * width
    for piece in range(length):
        total += tl.load(partial + piece * width + columns, mask=inside, other=0.0)
    target = tl.load(targets + first).to(tl.int64)
    tl.store(out + target * width + columns, total, mask=inside)


@triton.jit
def _dots_kernel(
    out: tl.tensor,
    left: tl.tensor,
    table: tl.tensor,
    bias: tl.tensor,
    indices: tl.tensor,
    begins: tl.tensor,
    ends: tl.tensor,
    width: int,
    SPLITS: tl.constexpr,
    HAS_BIAS: tl.constexpr,
    WIDE: tl.constexpr,
    LANES: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    """A row's entries are shared out among SPLITS programs, so that few long rows keep the device busy too."""
    program = tl.program_id(0)
    row = program // SPLITS
    begin = tl.load(begins + row)
    end = tl.load(ends + row)
    kind = tl.float64 if WIDE else tl.float32
    lanes = tl.arange(0, LANES)
    left += row.to(tl.int64) * width
    for first in range(begin + (program % SPLITS) * LANES, end, SPLITS * LANES):
        entries = first + lanes
        live = entries < end
        rows = tl.load(indices + entries, mask=live, other=0).to(tl.int64)
        products = tl.zeros((LANES, BLOCK), kind)
        for column in range(0, width, BLOCK):
            columns = column + tl.arange(0, BLOCK)
            inside = columns < width
            mine = tl.load(left + columns, mask=inside, other=0.0).to(kind)
            cells = tl.load(
                table + rows[:, None] * width + columns[None, :], mask=live[:, None] & inside[None, :], other=0.0
            ).to(kind)
            products += mine[None, :] * cells
        dots = tl.sum(products, axis=1)
        if HAS_BIAS:
            dots += tl.load(bias + rows, mask=live, other=0.0).to(kind)
        tl.store(out + entries, dots, mask=live)
