"""Rounding: numbers kept to some significant bits, so that what says nothing takes no place on disk."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

FLOAT32_BITS = 24
"""Significant bits of a float32, the first of which is implied."""


def rounded(values: NDArray[np.float32], bits: int) -> NDArray[np.float32]:
    """Values to the nearest with so many significant bits (2..24), halves to even: off by at most 2^-bits of each.

    Numbers too small for all their bits stay as they are, so that nothing becomes 0.
    """
    if bits >= FLOAT32_BITS:
        return values
    dropped = FLOAT32_BITS - bits
    whole = np.ascontiguousarray(values).view(np.uint32)
    odd = (whole >> np.uint32(dropped)) & np.uint32(1)
    kept = (whole + (np.uint32((1 << (dropped - 1)) - 1) + odd)) & np.uint32(~((1 << dropped) - 1) & 0xFFFFFFFF)
    tiny = np.abs(values) < np.finfo(np.float32).tiny
    return np.where(tiny | ~np.isfinite(values), values, kept.view(np.float32))
