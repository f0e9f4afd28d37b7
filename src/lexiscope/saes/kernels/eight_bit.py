"""Moments of Adam in 8 bits: blocks of at most 256 neighbours in a row, each with its largest value in float32.

A value x of a block with largest magnitude s is stored as r = |x| / s, a float of 8 bits in all:

    first moment     sign, 4 bits of exponent, 3 of mantissa
    second moment    4 bits of exponent, 4 of mantissa, of √v, whose range is half as wide as that of v

Code 0 is zero; codes above it count up the floats from 2⁻¹⁵ to 1, so that encoding is a shift of the bits of r and
every binade is cut evenly. Rounding is stochastic, up or down with the odds that make the mean exact: v changes by a
thousandth per step, less than one code, and rounding to nearest would hold it still for ever. The odds come from a
hash of position and step, so that a run can be repeated. A second moment above zero never becomes zero: its parameter
would jump by m / ε.

Blocks with a scale: Dettmers et al. 2022, "8-bit Optimizers via Block-wise Quantization". Their code is another one.
R rows, D columns, B blocks in a row.
"""

from __future__ import annotations

import torch
from torch import Tensor

BLOCK = 256
LOWEST = 2.0**-15
_LOWEST_BITS = (127 - 15) << 23
MANTISSA_M, MANTISSA_V = 3, 4


def num_blocks(width: int) -> int:
    """B for D columns."""
    return -(-width // BLOCK)


def decode(codes_RD: Tensor, scales_RB: Tensor, *, second: bool) -> Tensor:
    """The moments, float32 [R, D]."""
    codes = codes_RD.to(torch.int32)
    sizes = (codes if second else codes & 127) - 1
    bits = _LOWEST_BITS + (sizes << (23 - (MANTISSA_V if second else MANTISSA_M)))
    ratios = torch.where(sizes < 0, 0.0, bits.view(torch.float32))
    values = ratios * _per_column(scales_RB, codes_RD.shape[1])
    return values.square_() if second else torch.where(codes >= 128, -values, values)


def encode(values_RD: Tensor, *, second: bool, first_row: int, step: int) -> tuple[Tensor, Tensor]:
    """Codes, uint8 [R, D], and scales, float32 [R, B]. ``first_row`` and ``step`` choose the rounding."""
    width = values_RD.shape[1]
    sizes = values_RD.sqrt() if second else values_RD.abs()
    padded = torch.nn.functional.pad(sizes, (0, num_blocks(width) * BLOCK - width))
    scales_RB = padded.view(len(values_RD), -1, BLOCK).amax(2)
    scale = _per_column(scales_RB, width)
    ratios = torch.where(scale > 0, sizes / scale, 0.0)
    shift = 23 - (MANTISSA_V if second else MANTISSA_M)
    odds = _noise(values_RD, first_row, step + (1 << 20 if second else 0))  # 23 random bits
    codes = 1 + ((ratios.view(torch.int32) - _LOWEST_BITS + (odds >> (23 - shift))) >> shift)
    small = (ratios > 0) if second else ratios * (2.0**23 / LOWEST) > odds
    codes = torch.where(ratios < LOWEST, small.int(), codes)
    if not second:
        codes = torch.where(values_RD < 0, codes + 128, codes)
    return codes.to(torch.uint8), scales_RB


def _per_column(scales_RB: Tensor, width: int) -> Tensor:
    return scales_RB.repeat_interleave(BLOCK, dim=1)[:, :width]


def _noise(like_RD: Tensor, first_row: int, step: int) -> Tensor:
    """23 bits for every element, from its place and the step alone (the 32-bit finaliser of MurmurHash3).

    In signed 32-bit numbers, whose products wrap as unsigned ones do; their shifts need the sign masked off.
    """
    rows, width = like_RD.shape
    start = (first_row * width + step * 0x9E3779B9) & 0xFFFFFFFF
    x = torch.arange(rows * width, dtype=torch.int32, device=like_RD.device).view(rows, width)
    x = x.add_(_signed(start))
    x = x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF)).mul_(_signed(0x85EBCA6B))
    x = x.bitwise_xor_((x >> 13).bitwise_and_(0x7FFFF)).mul_(_signed(0xC2B2AE35))
    x = x.bitwise_xor_((x >> 16).bitwise_and_(0xFFFF))
    return (x >> 9).bitwise_and_(0x7FFFFF)


def _signed(word: int) -> int:
    return word - 2**32 if word >= 2**31 else word
