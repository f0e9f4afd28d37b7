"""The two passes of Adam over one parameter: look at the gradient, then move everything once. R rows, D columns.

For rows w that are kept at length 1, gradient g, moments m and v (Kingma and Ba 2015) and the clipping factor c:

    look      p = ⟨g, w⟩,   Σ ‖g - p w‖²
    update    g ← c (g - p w),   m ← β₁ m + (1 - β₁) g,   v ← β₂ v + (1 - β₂) g²
              w ← w - lr · m̂ / (√v̂ + ε),   w ← w / ‖w‖

The same names and results as `lexiscope.saes.kernels.adam`, whose stock operators pass over weights and gradients twice
more. Here the gradient is only read: `update` takes p off again, so both passes must be of this file. Moments are those
of 32 bits ("first" and "second").

Bytes, at R = 131,072, D = 4,096 in float32 (2.15 GB a matrix): `look` reads 2 matrices, `update` reads 4 and writes 3,
19 GB for a decoder: 4 ms at 4.8 TB/s. Rows that are free, and vectors, go through the same kernels, cut into rows.
Never run on a GPU so far; see the package.
"""
# mypy: disable-error-code="untyped-decorator"

from collections.abc import Mapping

import torch
import triton  # type: ignore[import-untyped,import-not-found,unused-ignore]
import triton.language as tl  # type: ignore[import-untyped,import-not-found,unused-ignore]
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.saes.kernels.adam import Look, Rates
from lexiscope.saes.kernels.triton.launch import WIDEST_ROW, check, power_of_two, rows_for, warps_for, wide_type

FREE_ROW = 1024
"""Columns into which what has no unit rows is cut."""


def look(grad: Tensor, unit_rows: Tensor | None) -> Look:
    """The first pass. ``unit_rows``: the parameter, if its rows have length 1.

    Raises:
        InputError: rows of unit length are wider than a program can hold, or a tensor is not contiguous.
    """
    check(grad)
    num_rows, _ = _cut(grad, unit=unit_rows is not None)
    parallel_R, squares_R = torch.zeros(2, num_rows, dtype=wide_type(grad.dtype), device=grad.device)
    _launch(
        _look_kernel, grad if unit_rows is None else unit_rows, grad, (parallel_R, squares_R), unit_rows is not None
    )
    return Look(squares_R.sum(dtype=torch.float64), None if unit_rows is None else parallel_R)


def update(
    parameter: Tensor,
    grad: Tensor,
    moments: Mapping[str, Tensor],
    rates: Rates,
    scale: Tensor | None,
    unit: Tensor | None,
) -> None:
    """The second pass, in place: ``scale`` times the gradient updates the moments, they the parameter.

    ``unit`` is what `look` found along unit rows: then rows end with length 1.

    Raises:
        InputError: as for `look`.
    """
    check(parameter, grad, moments["first"], moments["second"])
    numbers = torch.tensor(
        [
            rates.lr / (1 - rates.beta_1**rates.step),
            (1 - rates.beta_2**rates.step) ** -0.5,
            1 - rates.beta_1,
            rates.beta_2,
            1 - rates.beta_2,
            rates.eps,
        ],
        dtype=wide_type(parameter.dtype),
        device=parameter.device,
    )
    scale = numbers.new_ones(()) if scale is None else scale.to(numbers.dtype)
    arrays = (moments["first"], moments["second"], numbers if unit is None else unit, scale, numbers)
    _launch(_update_kernel, parameter, grad, arrays, unit is not None)


def _cut(tensor: Tensor, *, unit: bool) -> tuple[int, int]:
    """Rows and columns that programs see."""
    width = tensor.shape[-1] if unit else FREE_ROW
    if width > WIDEST_ROW:
        raise InputError(
            f"triton's Adam holds rows of at most {WIDEST_ROW} columns, not {width}; use the stock kernels"
        )
    return -(-tensor.numel() // max(1, width)), width


def _launch(
    kernel: "triton.JITFunction", weights: Tensor, grad: Tensor, arrays: tuple[Tensor, ...], unit: bool
) -> None:
    if not all(tensor.is_contiguous() for tensor in (weights, grad, *arrays)):
        raise InputError("triton's Adam needs contiguous weights, gradients and moments; use the stock kernels")
    num_rows, width = _cut(weights, unit=unit)
    if not num_rows:
        return
    block = power_of_two(width)
    together = rows_for(block)
    kernel[(-(-num_rows // together),)](
        weights,
        grad,
        *arrays,
        num_rows,
        width,
        weights.numel(),
        UNIT=unit,
        TINY=torch.finfo(weights.dtype).tiny,
        WIDE=weights.dtype == torch.float64,
        ROWS=together,
        BLOCK=block,
        num_warps=warps_for(together * block),
    )


@triton.jit
def _cells(num_rows: int, width: int, cells: tl.tensor, ROWS: tl.constexpr, BLOCK: tl.constexpr) -> tl.tuple:
    """Rows of this program, and which cells they have."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    columns = tl.arange(0, BLOCK)
    at = rows.to(tl.int64)[:, None] * width + columns[None, :]
    return rows, at, (rows < num_rows)[:, None] & (columns < width)[None, :] & (at < cells)


@triton.jit(do_not_specialize=["num_rows"])
def _look_kernel(
    weights: tl.tensor,
    grads: tl.tensor,
    parallel: tl.tensor,
    squares: tl.tensor,
    num_rows: int,
    width: int,
    cells: tl.tensor,
    UNIT: tl.constexpr,
    TINY: tl.constexpr,  # noqa: ARG001  both kernels are launched alike
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    kind = tl.float64 if WIDE else tl.float32
    rows, at, inside = _cells(num_rows, width, cells, ROWS, BLOCK)
    grad = tl.load(grads + at, mask=inside, other=0.0).to(kind)
    if UNIT:
        weight = tl.load(weights + at, mask=inside, other=0.0).to(kind)
        along = tl.sum(grad * weight, axis=1)
        tl.store(parallel + rows, along, mask=rows < num_rows)
        grad -= along[:, None] * weight
    tl.store(squares + rows, tl.sum(grad * grad, axis=1), mask=rows < num_rows)


@triton.jit(do_not_specialize=["num_rows"])
def _update_kernel(
    weights: tl.tensor,
    grads: tl.tensor,
    averages: tl.tensor,
    squares: tl.tensor,
    parallel: tl.tensor,
    scale: tl.tensor,
    numbers: tl.tensor,
    num_rows: int,
    width: int,
    cells: tl.tensor,
    UNIT: tl.constexpr,
    TINY: tl.constexpr,
    WIDE: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    kind = tl.float64 if WIDE else tl.float32
    rows, at, inside = _cells(num_rows, width, cells, ROWS, BLOCK)
    rate = tl.load(numbers)
    spread = tl.load(numbers + 1)
    first_share = tl.load(numbers + 2)
    second_decay = tl.load(numbers + 3)
    second_share = tl.load(numbers + 4)
    eps = tl.load(numbers + 5)
    weight = tl.load(weights + at, mask=inside, other=0.0).to(kind)
    grad = tl.load(grads + at, mask=inside, other=0.0).to(kind)
    average = tl.load(averages + at, mask=inside, other=0.0).to(kind)
    square = tl.load(squares + at, mask=inside, other=0.0).to(kind)
    if UNIT:
        grad -= tl.load(parallel + rows, mask=rows < num_rows, other=0.0)[:, None] * weight
    grad *= tl.load(scale)
    average += first_share * (grad - average)
    square = second_decay * square + second_share * grad * grad
    weight -= rate * average / (tl.sqrt(square) * spread + eps)
    if UNIT:
        length = tl.sqrt(tl.sum(tl.where(inside, weight * weight, 0.0), axis=1))
        weight /= tl.maximum(length, TINY)[:, None]
    tl.store(weights + at, weight, mask=inside)
    tl.store(averages + at, average, mask=inside)
    tl.store(squares + at, square, mask=inside)
