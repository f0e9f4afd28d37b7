"""Columns of text that stay as wide as they are, whatever the terminal or file they go to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lexiscope.index.live.changes import Mean
    from lexiscope.steer.effects.intervals import Share
    from lexiscope.steer.effects.side_effects import Rise


def table(rows: Sequence[Sequence[str]], words: Sequence[int] = ()) -> str:
    """Columns as wide as their widest cell, with two spaces between and a line under the first row.

    Args:
        words: columns of words, which begin at the left; numbers end at the right.
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(
            cell.ljust(width) if place in words else cell.rjust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in rows
    ]
    return "\n".join([lines[0], "-" * max(map(len, lines)), *lines[1:]])


def number(value: float, form: str = "+.2f") -> str:
    """Without a sign before what is rounded to zero."""
    said = f"{value:{form}}"
    return said.lstrip("+-") if not any(digit in said for digit in "123456789") else said


def mean(found: Mean | None) -> str:
    """A mean and its interval."""
    if found is None:
        return "-"
    if found.low is None or found.high is None:
        return number(found.mean)
    return f"{number(found.mean)} [{number(found.low, '.2f')}, {number(found.high, '.2f')}]"


def share(found: Share | None) -> str:
    """A share in per cent and its interval."""
    return "-" if found is None else f"{found.share:.0%} [{100 * found.low:.0f}, {100 * found.high:.0f}]"


def rise(found: Rise | None) -> str:
    """A relative rise in per cent and its interval."""
    if found is None:
        return "-"
    return f"{number(found.rise, '+.1%')} [{number(100 * found.low, '.1f')}, {number(100 * found.high, '.1f')}]"
