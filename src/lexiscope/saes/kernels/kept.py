"""Weights that stay as they are while a few tokens at a time are scored, as in the generation of text.

What takes time then is to read the weights. A copy in bytes is read four times as fast and tells which latents cannot
be selected; the others are scored as ever, so that results keep every bit. It is made once it pays, and let go when the
weights have changed. T tokens, D width, F latents.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from contextvars import ContextVar

from torch import Tensor

from lexiscope.saes.kernels import backend
from lexiscope.saes.kernels.native import byte_copy
from lexiscope.saes.kernels.native.byte_copy import ByteCopy

WORTH_A_COPY = 4
"""So many calls with few tokens come before it is made: it takes as long as a few of them."""

_at_hand: ContextVar[ByteCopy | None] = ContextVar("_at_hand", default=None)


class Kept:
    """Weights [F, D] that are scored again and again."""

    def __init__(self, W_FD: Tensor) -> None:
        self._W_FD = W_FD.detach()
        self._able = byte_copy.serves(self._W_FD)
        self._calls = 0
        self._copy: ByteCopy | None = None

    def serves(self, x_TD: Tensor) -> bool:
        """Whether these tokens are few, and this machine is one where a copy helps."""
        return self._able and len(x_TD) <= byte_copy.MOST_TOKENS and backend.path(x_TD, self._W_FD) == "native"

    def copy_for(self, x_TD: Tensor) -> ByteCopy | None:
        """None: there is none yet, or it is of no use."""
        if not self.serves(x_TD):
            return None
        if self._copy is not None and not self._copy.is_of(self._W_FD):
            self._copy, self._calls = None, 0
        self._calls += 1
        if self._copy is None and self._calls >= WORTH_A_COPY:
            self._copy = byte_copy.copy_of(self._W_FD)
        return self._copy

    @contextlib.contextmanager
    def at_hand(self, x_TD: Tensor) -> Iterator[None]:
        """Inside the block, on this thread, selections from these weights use the copy."""
        before = _at_hand.set(self.copy_for(x_TD))
        try:
            yield
        finally:
            _at_hand.reset(before)


def at_hand() -> ByteCopy | None:
    """The copy that may be used, of whatever weights."""
    return _at_hand.get()
