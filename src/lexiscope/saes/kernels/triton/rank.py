"""The k-th largest of a row, exactly, without sorting.

Floats are mapped to unsigned integers of the same order. The k-th largest of them is built bit by bit from the top: a
bit is set if at least k numbers are not below the result. That is 32 counts (64 for float64) of a row that stays in
registers. Not-a-number counts as the largest, as in torch.topk.

R rows, C numbers in a row, K wanted. One program has one row, or a few short ones. Never run on a GPU so far; see the
package.
"""
# mypy: disable-error-code="untyped-decorator"

import torch
import triton  # type: ignore[import-untyped,import-not-found,unused-ignore]
import triton.language as tl  # type: ignore[import-untyped,import-not-found,unused-ignore]
from torch import Tensor

from lexiscope.saes.kernels.triton.launch import power_of_two, rows_for, warps_for


def kth_largest(numbers_RC: Tensor, k: int) -> Tensor:
    """The k-th largest number of every row, float32 [R]; -inf if a row has fewer than k."""
    num_rows, num_columns = numbers_RC.shape
    out_R = torch.full((num_rows,), -torch.inf, device=numbers_RC.device)
    if num_rows and k <= num_columns:
        block = power_of_two(num_columns)
        together = rows_for(block)
        _kth_kernel[(-(-num_rows // together),)](
            out_R,
            numbers_RC.contiguous(),
            num_rows,
            num_columns,
            k,
            ROWS=together,
            BLOCK=block,
            num_warps=warps_for(together * block),
        )
    return out_R


def nth_largest(numbers: Tensor, n: int) -> Tensor:
    """The n-th largest of all numbers, a scalar; -inf if there are fewer."""
    if n > numbers.numel():
        return torch.full((), -torch.inf, dtype=numbers.dtype, device=numbers.device)
    return numbers.flatten().topk(n, sorted=False).values.amin()


def choose(values_RC: Tensor, labels_RC: Tensor, counts_R: Tensor, k: int, no_label: int) -> tuple[Tensor, Tensor]:
    """The k largest positive values of every row and their labels, labels ascending, [R, K] each.

    Row r has the first ``counts_R[r]`` of its values, each with a label of its own, int32. Of equal values the lower
    labels win. Places that are left have value 0 and ``no_label``.
    """
    num_rows, num_columns = values_RC.shape
    values_RK = values_RC.new_zeros(num_rows, k)
    labels_RK = torch.full_like(values_RK, no_label, dtype=torch.int64)
    if num_rows and num_columns:
        block = power_of_two(num_columns)
        together = rows_for(block)
        _choose_kernel[(-(-num_rows // together),)](
            values_RK,
            labels_RK,
            values_RC,
            labels_RC,
            counts_R,
            num_rows,
            num_columns,
            k,
            BITS=8 * values_RC.dtype.itemsize,
            ROWS=together,
            BLOCK=block,
            num_warps=warps_for(together * block),
        )
    labels_RK, order_RK = labels_RK.sort(dim=1)  # slots were filled in no fixed order
    return values_RK.gather(1, order_RK), labels_RK


@triton.jit
def _ordered(numbers: tl.tensor, BITS: tl.constexpr) -> tl.tensor:
    """Unsigned integers in the order of the numbers: flip all bits of negative ones, the sign bit of the others."""
    if BITS == 64:  # noqa: SIM108  a constant of the compilation
        bits = numbers.to(tl.uint64, bitcast=True)
    else:
        bits = numbers.to(tl.uint32, bitcast=True)
    sign = tl.full((), 1, bits.dtype) << (BITS - 1)
    every = sign | (sign - 1)
    return tl.where(numbers == numbers, bits ^ tl.where((bits & sign) != 0, every, sign), every)  # noqa: PLR0124  NaN


@triton.jit
def _kth_key(keys: tl.tensor, k: int, BITS: tl.constexpr) -> tl.tensor:
    """For every row the largest key that at least k keys reach; 0 if there are fewer than k above 0."""
    best = tl.full((keys.shape[0],), 0, keys.dtype)
    bit = tl.full((keys.shape[0],), 1, keys.dtype) << (BITS - 1)
    for _ in range(BITS):
        trial = best | bit
        reached = tl.sum((keys >= trial[:, None]).to(tl.int32), axis=1)
        best = tl.where(reached >= k, trial, best)
        bit = bit >> 1
    return best


@triton.jit(do_not_specialize=["num_rows", "k"])
def _kth_kernel(
    out: tl.tensor,
    numbers: tl.tensor,
    num_rows: int,
    num_columns: int,
    k: int,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, BLOCK)
    cells = rows.to(tl.int64)[:, None] * num_columns + columns[None, :]
    inside = (rows < num_rows)[:, None] & (columns < num_columns)[None, :]
    key = _kth_key(_ordered(tl.load(numbers + cells, mask=inside, other=float("-inf")), 32), k, 32)
    sign = tl.full((), 1, tl.uint32) << 31
    bits = key ^ tl.where((key & sign) != 0, sign, sign | (sign - 1))
    tl.store(out + rows, bits.to(tl.float32, bitcast=True), mask=rows < num_rows)


@triton.jit(do_not_specialize=["num_rows", "k"])
def _choose_kernel(
    out_values: tl.tensor,
    out_labels: tl.tensor,
    values: tl.tensor,
    labels: tl.tensor,
    counts: tl.tensor,
    num_rows: int,
    num_columns: int,
    k: int,
    BITS: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, BLOCK)
    count = tl.load(counts + rows, mask=rows < num_rows, other=0)
    live = columns[None, :] < count[:, None]
    cells = rows.to(tl.int64)[:, None] * num_columns + columns[None, :]
    mine = tl.load(values + cells, mask=live, other=0.0)
    which = tl.load(labels + cells, mask=live, other=0)
    wanted = (mine > 0) | (mine != mine)  # noqa: PLR0124  not-a-number too
    keys = tl.where(wanted, _ordered(mine, BITS), 0)
    kth = _kth_key(keys, k, BITS)[:, None]
    better = keys > kth
    equal = (keys == kth) & wanted
    missing = k - tl.sum(better.to(tl.int32), axis=1)
    order = tl.where(equal, (2147483647 - which).to(tl.uint32), 0)  # of equal values the lower labels
    taken = (better | (equal & (order >= _kth_key(order, missing, 32)[:, None]))).to(tl.int32)
    places = rows.to(tl.int64)[:, None] * k + tl.cumsum(taken, axis=1) - 1
    tl.store(out_values + places, mine, mask=taken > 0)
    tl.store(out_labels + places, which.to(tl.int64), mask=taken > 0)
