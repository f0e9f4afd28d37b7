"""A copy of weights in bytes, for bounds of the scores of a few tokens: ``select_bytes.cpp``.

Row f is rounded to whole multiples q of a scale s, at most 127 of them. What rounding took away, |w - s q|, is known,
so that a bound of the error of every score is too. The rows of 64 latents lie interleaved, four entries at a time, as
the processor multiplies them. D width, F latents, G groups of 64 latents, S steps of 4 entries.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core import memory
from lexiscope.saes.kernels.native import library
from lexiscope.saes.kernels.native.library import F32, SIZE, U8, Function

_HAS_BYTES = Function("lx_has_bytes", returns=SIZE)
_PACK = Function("lx_pack_bytes", F32, U8, F32, SIZE, SIZE)

GROUP, STEP = 64, 4
WIDEST = 2**15
"""Sums of so many products of bytes fit into 32 bits."""
MOST_TOKENS = 32
"""Of more tokens, all scores at once are faster."""


class ByteCopy(NamedTuple):
    """Of weights as they were when it was made."""

    codes: Tensor
    """uint8 [G, S, 64, 4]: 128 + q."""
    sizes: Tensor
    """float32 [G, 3, 64]: s, and bounds of max(|w|, |s q|) and of |w - s q|."""
    address: int
    shape: torch.Size
    changes: int

    def is_of(self, W_FD: Tensor) -> bool:
        """Whether it was made of these weights, and torch knows of no change since."""
        same = W_FD.data_ptr() == self.address and W_FD.shape == self.shape
        return same and _changes(W_FD) == self.changes


def serves(W_FD: Tensor) -> bool:
    """Whether this processor can use a copy of these weights."""
    able = W_FD.device.type == "cpu" and W_FD.dtype == torch.float32 and W_FD.is_contiguous()
    able = able and W_FD.shape[1] <= WIDEST and not W_FD.is_inference()
    return able and library.loaded().dll is not None and bool(_HAS_BYTES())


def copy_of(W_FD: Tensor) -> ByteCopy:
    """The copy, in a quarter of the memory."""
    (num_latents, width), groups = W_FD.shape, -(-len(W_FD) // GROUP)
    codes = memory.lasting((groups, -(-width // STEP), GROUP, STEP), torch.uint8)
    sizes = torch.empty(groups, 3, GROUP)
    _PACK(W_FD, codes, sizes, num_latents, width)
    return ByteCopy(codes, sizes, W_FD.data_ptr(), W_FD.shape, _changes(W_FD))


def _changes(W_FD: Tensor) -> int:
    return W_FD._version  # noqa: SLF001  nothing public counts changes
