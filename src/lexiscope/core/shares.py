"""Shares: how often something happened, and how sure that number is."""

from __future__ import annotations

import math

Z95 = 1.959963984540054
"""95 % of a bell curve lie within so many standard deviations."""


def wilson_interval(count: int, of: int) -> tuple[float, float]:
    """The 95 % interval of Wilson 1927 for a share ``count / of``: it never leaves 0..1.

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), p = count / n, without continuity correction.
    """
    if not 0 <= count <= of or of == 0:
        raise ValueError(f"{count} of {of} is no share")
    share, slack = count / of, Z95**2 / of
    half = Z95 * math.sqrt(share * (1 - share) / of + slack / (4 * of))
    low, high = ((share + slack / 2 + sign * half) / (1 + slack) for sign in (-1, 1))
    # At the ends of the range one limit is exact, and rounding must not move it.
    return 0.0 if count == 0 else low, 1.0 if count == of else high
