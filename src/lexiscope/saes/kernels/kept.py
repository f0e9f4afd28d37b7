"""Weights that stay as they are while a few tokens at a time are scored, as in the generation of text.

What takes time then is to read the weights. A copy in bytes is read four times as fast and tells which latents cannot
be selected; the others are scored as ever, so that results keep every bit. It is made once it pays, and let go when the
weights have changed. T tokens, D width, F latents.
"""

from __future__ import annotations

from collections.abc import Callable
from contextvars import ContextVar

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
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
        self._able = byte_copy.serves(self._W_FD) and backend.path(self._W_FD) == "native"
        self._calls = 0
        self._copy: ByteCopy | None = None

    def serves(self, x_TD: Tensor) -> bool:
        """Whether these tokens are few, and this machine is one where a copy helps."""
        if not self._able or x_TD.shape[0] > byte_copy.MOST_TOKENS or backend.is_overridden():
            return False
        return x_TD.is_cpu and x_TD.dtype is torch.float32

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

    def encode(self, x_TD: Tensor, encode: Callable[[Tensor], SparseCodes]) -> SparseCodes:
        """What ``encode`` gives; meanwhile selections from these weights, on this thread, use the copy."""
        before = _at_hand.set(self.copy_for(x_TD))
        try:
            return encode(x_TD)
        finally:
            _at_hand.reset(before)


def copy_at_hand(W_FD: Tensor) -> ByteCopy | None:
    """The copy of these weights that may be used at this moment."""
    copy = _at_hand.get()
    return copy if copy is not None and copy.is_of(W_FD) else None
