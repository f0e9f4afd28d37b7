"""How long something takes."""

from __future__ import annotations

import time
from collections.abc import Callable

import torch


def synchronise() -> None:
    """Wait until devices have done what they were given."""
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.synchronize()


def seconds(work: Callable[[], object]) -> float:
    """Of one call."""
    synchronise()
    began = time.perf_counter()
    work()
    synchronise()
    return time.perf_counter() - began


def quickest(work: Callable[[], object], rounds: int) -> float:
    """Seconds of the fastest of some calls, after one that does not count."""
    work()
    return min(seconds(work) for _ in range(rounds))
