"""Operands in low precision, and how far a score made of them can be from the exact product that replaces it.

A score s of a token x and a latent w comes from the matrix units: both rounded, x̃ and w̃, to the dtype of the shortlist,
products summed in float32. Its replacement r is a dot product of the unrounded rows, summed in float32 or wider. With
u = 2⁻²³ (twice the rounding of float32, since matrix units may truncate), n terms and c = (n + 32) u,

    |s - r| ≤ ‖x - x̃‖ ‖w‖ + ‖x̃‖ ‖w - w̃‖ + c ‖x̃‖ ‖w̃‖ + c ‖x‖ ‖w‖ + rounding of the bias and of s itself
            ≤ reach_x · ‖w‖ + length_x · ‖w - w̃‖ + 2⁻²⁰ |s| + 10⁻³⁰

by Cauchy and Schwarz twice (x·w - x̃·w̃ = (x - x̃)·w + x̃·(w - w̃)) and by the textbook bound for a sum in any order
(Higham 2002, section 3.1). Products of two bfloat16 numbers are exact in float32. ‖x - x̃‖ and ‖w - w̃‖ are measured, row
by row and in float64, not assumed: rows that bfloat16 holds exactly have no slack at all. The last line has all
constants rounded up; 10⁻³⁰ is for products that vanish below the smallest float. A float64 bias is rounded to float32
for s: by u |b| / 2 ≤ u (|s| + ‖x̃‖ ‖w̃‖), for which 2⁻²⁰ = 8 u and the 32 in c leave room. With float32 as the dtype of
the shortlist only c is left. A score that is not finite says nothing: it is a candidate, and no bound comes from it.

What this takes for granted of the hardware: a multiply-accumulate unit adds its products with an error of at most u
times the sum of their sizes for each of the n terms (Fasi et al. 2021, "Numerical behavior of NVIDIA tensor cores",
measured it on V100, T4 and A100: truncation, at least as many bits as float32). No float8 here: its accumulators hold
fewer bits.
"""
# mypy: disable-error-code="untyped-decorator"

from typing import NamedTuple

import torch
import triton  # type: ignore[import-untyped,import-not-found,unused-ignore]
import triton.language as tl  # type: ignore[import-untyped,import-not-found,unused-ignore]
from torch import Tensor

from lexiscope.saes.kernels.triton.launch import power_of_two, rows_for, warps_for

UNIT = 2.0**-23
ROUND_UP = 1 + 2.0**-10
"""Covers every rounding of the bound's own arithmetic."""
SHARE_OF_SCORE = 2.0**-20
"""The term that grows with the score: adding the bias, and float32 arithmetic on s ± bound."""


class Rounded(NamedTuple):
    """Rows in the dtype of the shortlist, ``rows``, and two upper bounds for each, in float32.

    Attributes:
        rows: [R, D], x̃ or w̃.
        length_R: ‖row‖ before rounding.
        slack_R: ‖row - rounded row‖.
    """

    rows: Tensor
    length_R: Tensor
    slack_R: Tensor


def round_rows(rows_RD: Tensor, dtype: torch.dtype) -> Rounded:
    """Rows in ``dtype``, measured. Rows that are in it already are not copied."""
    num_rows, width = rows_RD.shape
    rows_RD = rows_RD.contiguous()
    rounded_RD = rows_RD if rows_RD.dtype == dtype else torch.empty_like(rows_RD, dtype=dtype)
    length_R, slack_R = (torch.zeros(num_rows, device=rows_RD.device) for _ in range(2))
    if num_rows and width:
        block = min(power_of_two(width), 2048)
        together = rows_for(block)
        _round_kernel[(-(-num_rows // together),)](
            rounded_RD,
            length_R,
            slack_R,
            rows_RD,
            num_rows,
            width,
            COPY=rounded_RD is not rows_RD,
            ROWS=together,
            BLOCK=block,
            num_warps=warps_for(together * block),
        )
    return Rounded(rounded_RD, length_R, slack_R)


def reaches(x: Rounded) -> tuple[Tensor, Tensor]:
    """The two factors of the bound that belong to a token: reach_x and length_x."""
    share = (x.rows.shape[1] + 32) * UNIT
    short_T = x.length_R + x.slack_R
    reach_T = x.slack_R + share * (short_T + x.length_R)
    return reach_T * ROUND_UP, short_T * ((1 + share) * ROUND_UP)


@triton.jit(do_not_specialize=["num_rows"])
def _round_kernel(
    rounded: tl.tensor,
    lengths: tl.tensor,
    slacks: tl.tensor,
    table: tl.tensor,
    num_rows: int,
    width: int,
    COPY: tl.constexpr,
    ROWS: tl.constexpr,
    BLOCK: tl.constexpr,
) -> None:
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    squares = tl.zeros((ROWS, BLOCK), tl.float64)
    misses = tl.zeros((ROWS, BLOCK), tl.float64)
    for first in range(0, width, BLOCK):
        columns = first + tl.arange(0, BLOCK)
        cells = rows.to(tl.int64)[:, None] * width + columns[None, :]
        inside = (rows < num_rows)[:, None] & (columns < width)[None, :]
        full = tl.load(table + cells, mask=inside, other=0.0)
        wide = full.to(tl.float64)
        squares += wide * wide
        if COPY:
            short = full.to(rounded.dtype.element_ty)
            tl.store(rounded + cells, short, mask=inside)
            miss = wide - short.to(tl.float32).to(tl.float64)
            misses += miss * miss
    up = 1 + 1.2e-7  # the square root and the step to float32 may each round down
    tl.store(lengths + rows, (tl.sqrt(tl.sum(squares, axis=1)) * up).to(tl.float32), mask=rows < num_rows)
    tl.store(slacks + rows, (tl.sqrt(tl.sum(misses, axis=1)) * up).to(tl.float32), mask=rows < num_rows)
