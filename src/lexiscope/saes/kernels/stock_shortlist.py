"""Upper bounds of scores from one product in bfloat16: where they fall short of what is wanted, no latent is missed.

Let x~, w~ be bfloat16 copies, u = 2^-24, and K the length of what is multiplied. The product sums, in float32,

    x~ · w~ + b₁ + b₂ + b₃ + E,    E = (r + G n) N + n R + s

in one go, as further columns of both factors: b is the sum of three bfloat16 numbers, and the parts of E are bfloat16
numbers, rounded up: n ≥ max(|x|, |x~|), r ≥ |x - x~|, N ≥ max(|w|, |w~|), R ≥ |w - w~|, G = (2 K + 64) u,
s ≥ G (|b| + |floor|) + tiny. Call what comes out, before it is rounded to bfloat16, U. Then for any float32 evaluation
S of the score x · w + b

    U - 2 E ≤ S ≤ U

for x · w - x~ · w~ = (x - x~) · w + x~ · (w - w~), which is at most r N + n R by Cauchy-Schwarz. A sum of K terms is
off by less than (K + 16) u times the sum of their sizes in any order, whether products are fused or rounded: for U that
is at most n N + 1.01 |b| + E, for S at most n N + |b|, together less than G n N + G |b| + 2^-9 E (up to D = 2^14); and
the numbers that make up E are each rounded up by more than that share. `tiny` covers what is flushed to zero on the
way. A norm found in float32 is off by a share of less than 2^-9, and by √D 2^-63 where squares vanish.

Rounding U to bfloat16 keeps order: S ≥ c implies bf(U) ≥ bf(c), and bf(U) = m > 0 implies U ≥ m (1 - 2^-8). So
- everything above a floor c is where bf(U) ≥ bf(c). A floor for each latent is taken from b first, then c = 0.
- if k latents have bf(U) ≥ m, the k-th largest S is at least m (1 - 2^-8) - 2 max E, the largest over the latents, and
  none of the k largest is where bf(U) is less than that number rounded.
Bits of bfloat16, taken as int16, are ordered like the numbers as long as those are not negative, and are negative where
the numbers are; torch compares int16 several times faster.

Tokens whose numbers could overflow are not bounded at all (`Bounds.usable_T`). T tokens, D model width, F latents.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core import memory

LEAST = (256, 1024, 64)
"""T, F and D below which float32 is as fast."""
MORE_COLUMNS = 32
"""Columns beside the D of both factors, of which seven are used: matrix units work on 32."""
MULTIPLE = 64
"""F is rounded up to this with latents that never fire, so that groups come out even."""
BOUNDS_PER_BLOCK = 2**24
"""32 MB of bounds; below, too much time goes into laying out W again for every block."""
ROWS_PER_BLOCK = 512
"""Rows whose norms are found at a time, in cache."""
TOO_LARGE = 2.0**100
ROUND_UP = 1 + 2.0**-7
NO_KEY = 2**15 - 1
"""A floor that no bound reaches."""


class Bounds(NamedTuple):
    """Of the scores of a block of tokens."""

    keys_TF: Tensor
    """bf(U) as int16."""
    usable_T: Tensor
    error_T: Tensor
    """The largest E."""

    def floors(self, floor_T: Tensor) -> Tensor:
        """What keys have to be compared with for scores of at least this much, which is not negative."""
        floor_T = torch.where(floor_T > 2.0**-120, floor_T, 0.0)
        keys_T = floor_T.to(torch.bfloat16).view(torch.int16)
        return torch.where(self.usable_T, keys_T, NO_KEY)

    def floors_of_largest(self, kth_key_T: Tensor) -> Tensor:
        """The same for the k largest, if k keys of every token are at least this."""
        kth_T = kth_key_T.view(torch.bfloat16).float()
        return self.floors(torch.where(kth_key_T > 0, kth_T * (1 - 2.0**-8 - 2.0**-16) - 2.001 * self.error_T, 0.0))


class Shortlist:
    """Latents in bfloat16. ``floor_F`` is taken from their scores."""

    def __init__(self, W_FD: Tensor, b_F: Tensor, floor_F: Tensor | float = 0.0) -> None:
        (num_latents, self.width), device = W_FD.shape, W_FD.device
        self.columns = self.width + MORE_COLUMNS
        self.rounding = (2 * self.columns + 64) * 2.0**-24
        self.factor_FK = _factor(-(-num_latents // MULTIPLE) * MULTIPLE, self.columns)
        length_F, lost_F = _round_rows(W_FD, self.factor_FK)
        floor_F = torch.as_tensor(floor_F, dtype=torch.float32, device=device)
        slack_F = self.rounding * (b_F.abs() + floor_F.abs()) + self.columns * 2.0**-110
        parts = [*_three_parts(b_F - floor_F), *(_up(part) for part in (length_F, lost_F, slack_F))]
        for column, part_F in enumerate(parts, start=self.width):
            self.factor_FK[:num_latents, column] = part_F
        self.factor_FK[num_latents:, self.width] = -torch.finfo(torch.bfloat16).max
        largest = torch.stack([*(part.float().max() for part in parts[3:]), (b_F.abs() + floor_F.abs()).max()])
        self.length, self.lost, self.slack, self.size = map(float, largest)

    @property
    def is_usable(self) -> bool:
        """Whether all its numbers are finite and no latent is so large that everything else vanishes beside it."""
        return self.length + self.size < TOO_LARGE

    @property
    def tokens_per_block(self) -> int:
        return max(64, BOUNDS_PER_BLOCK // len(self.factor_FK))

    def bounds(self, x_TD: Tensor) -> Bounds:
        factor_TK = _factor(len(x_TD), self.columns)
        length_T, lost_T = _round_rows(x_TD, factor_TK)
        usable_T = (length_T * self.length + self.size) < TOO_LARGE  # not so where something is no number
        lost_T, length_T = _up(lost_T + self.rounding * length_T), _up(length_T)
        factor_TK[:, self.width : self.width + 6] = 1
        factor_TK[:, self.width + 3], factor_TK[:, self.width + 4] = lost_T, length_T
        if not bool(usable_T.all()):
            factor_TK[~usable_T] = 0
        U_TF = memory.empty((len(x_TD), len(self.factor_FK)), torch.bfloat16)
        torch.mm(factor_TK, self.factor_FK.t(), out=U_TF)
        error_T = lost_T.float() * self.length + length_T.float() * self.lost + self.slack
        return Bounds(U_TF.view(torch.int16), usable_T, error_T)


def is_faster(x_TD: Tensor, W_FD: Tensor) -> bool:
    """Whether this processor multiplies bfloat16 much faster than float32, and the product is worth it."""
    return (
        x_TD.device.type == W_FD.device.type == "cpu"
        and x_TD.dtype == W_FD.dtype == torch.float32
        and all(size >= least for size, least in zip((len(x_TD), *W_FD.shape), LEAST, strict=True))
        and W_FD.shape[1] <= 2**14
        and has_fast_bfloat16()
    )


def has_fast_bfloat16() -> bool:
    """AMX, or vector instructions for bfloat16, and oneDNN that uses them."""
    if not (torch.backends.mkldnn.is_available() and torch.backends.mkldnn.enabled):  # type: ignore[no-untyped-call]
        return False
    names = ("_is_amx_tile_supported", "_is_avx512_bf16_supported")
    return any(getattr(torch.cpu, name, bool)() for name in names)


def _factor(rows: int, columns: int) -> Tensor:
    factor = memory.empty((rows, columns), torch.bfloat16)
    factor[:, columns - MORE_COLUMNS :] = 0
    return factor


def _round_rows(rows_XD: Tensor, out_XK: Tensor) -> tuple[Tensor, Tensor]:
    """Rows in bfloat16, bounds of their lengths and of those of the copies, and of what rounding took away."""
    num_rows, width = rows_XD.shape
    length_X, lost_X = rows_XD.new_empty(num_rows), rows_XD.new_empty(num_rows)
    difference = rows_XD.new_empty(min(num_rows, ROWS_PER_BLOCK), width)
    for start in range(0, num_rows, ROWS_PER_BLOCK):
        block = slice(start, min(start + ROWS_PER_BLOCK, num_rows))
        rows, lost = rows_XD[block], difference[: block.stop - start]
        lost.copy_(out_XK[block, :width].copy_(rows)).sub_(rows)
        torch.linalg.vector_norm(rows, dim=1, out=length_X[block])
        torch.linalg.vector_norm(lost, dim=1, out=lost_X[block])
    out_XK[num_rows:, :width] = 0
    vanished = math.sqrt(width) * 2.0**-62
    lost_X.mul_(ROUND_UP).add_(vanished)
    return length_X.mul_(ROUND_UP).add_(vanished).add_(lost_X), lost_X


def _up(numbers: Tensor) -> Tensor:
    """Rounded to bfloat16 and at least 2^-9 larger."""
    return (numbers * (1 + 2.0**-7 + 2.0**-9)).to(torch.bfloat16)


def _three_parts(numbers: Tensor) -> list[Tensor]:
    """Three bfloat16 numbers, of 8 bits each, whose sum this is."""
    parts = []
    for _ in range(3):
        parts.append(numbers.to(torch.bfloat16))
        numbers = numbers - parts[-1].float()
    return parts
