"""Shares with their intervals: how often something happened, and how sure that number is."""

from __future__ import annotations

import math
from collections.abc import Iterable

from lexiscope.core.errors import InputError
from lexiscope.index.feature import Real, Record

Z95 = 1.959963984540054
"""95 % of a bell curve lie within so many standard deviations."""


class Share(Record):
    """``count`` of ``of``, with its 95 % Wilson interval."""

    share: Real
    low: Real
    high: Real
    count: int
    of: int


def wilson(count: int, of: int) -> Share:
    """The interval of Wilson 1927 (score test, no continuity correction): it never leaves 0..1.

    (p + z²/2n ± z √(p(1-p)/n + z²/4n²)) / (1 + z²/n), p = count / n.

    Raises:
        InputError: there is nothing to count, or more was counted than there is.
    """
    if not 0 <= count <= of or of == 0:
        raise InputError(f"{count} of {of} is no share; count at least one thing")
    share, slack = count / of, Z95**2 / of
    half = Z95 * math.sqrt(share * (1 - share) / of + slack / (4 * of))
    low, high = ((share + slack / 2 + sign * half) / (1 + slack) for sign in (-1, 1))
    # At the ends of the range one limit is exact, and rounding must not move it.
    return Share(share=share, low=0.0 if count == 0 else low, high=1.0 if count == of else high, count=count, of=of)


def share_of(happened: Iterable[bool]) -> Share:
    """How many of these are true."""
    values = list(happened)
    return wilson(sum(values), len(values))
