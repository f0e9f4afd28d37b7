"""Shares with their intervals: how often something happened, and how sure that number is."""

from __future__ import annotations

from collections.abc import Iterable

from lexiscope.core.errors import InputError
from lexiscope.core.shares import wilson_interval
from lexiscope.index.feature import Real, Record


class Share(Record):
    """``count`` of ``of``, with its 95 % Wilson interval."""

    share: Real
    low: Real
    high: Real
    count: int
    of: int


def wilson(count: int, of: int) -> Share:
    """A share with its interval (`lexiscope.core.shares`).

    Raises:
        InputError: there is nothing to count, or more was counted than there is.
    """
    try:
        low, high = wilson_interval(count, of)
    except ValueError as error:
        raise InputError(f"{error}; count at least one thing") from None
    return Share(share=count / of, low=low, high=high, count=count, of=of)


def share_of(happened: Iterable[bool]) -> Share:
    """How many of these are true."""
    values = list(happened)
    return wilson(sum(values), len(values))
