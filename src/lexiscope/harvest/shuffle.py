"""Shuffled order over a store with a bounded buffer.

Rows are read in blocks of neighbours, because a disk is slow at single rows. Blocks are put in random order, as many as
fit are read into the buffer together, and the rows in the buffer are shuffled: each batch mixes hundreds of places of
the corpus. The order is a pure function of (seed, epoch), so where a reader stands is one number: rows given so far.

T tokens, D model width.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import count
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lexiscope.core.seeds import generator

BLOCK_TOKENS = 256
"""About one context: within it, rows resemble each other anyway."""


class Refill(NamedTuple):
    """What goes into the buffer next, and in which order its rows come out.

    Attributes:
        rows_T: int64, ascending rows of the store.
        order_T: int64, indices into ``rows_T``; shorter than it if some of them were given in an earlier run.
    """

    rows_T: NDArray[np.int64]
    order_T: Tensor


class ShuffledOrder:
    """Each row of ``rows_T`` (ascending, at least one) once per epoch, at most ``buffer_tokens`` (from 1) at a time."""

    def __init__(self, rows_T: NDArray[np.int64], *, buffer_tokens: int, seed: int) -> None:
        self._rows_T = rows_T
        self._buffer_tokens = buffer_tokens
        self._seed = seed
        blocks = rows_T // min(BLOCK_TOKENS, buffer_tokens)
        self._starts = np.flatnonzero(np.diff(blocks, prepend=-1))
        self._counts = np.diff(self._starts, append=len(rows_T))

    def refills(self, *, epochs: int | None, skip_tokens: int) -> Iterator[Refill]:
        """The rest of the stream of ``epochs`` epochs (None: without end) after its first ``skip_tokens`` rows."""
        first, skip = divmod(skip_tokens, len(self._rows_T))
        for epoch in count(first) if epochs is None else range(first, epochs):
            for refill in self._epoch(epoch):
                if skip < len(refill.order_T):
                    yield Refill(refill.rows_T, refill.order_T[skip:])
                skip = max(0, skip - len(refill.order_T))

    def _epoch(self, epoch: int) -> Iterator[Refill]:
        random = generator(self._seed, "shuffle", epoch)
        order = torch.randperm(len(self._starts), generator=random).numpy()
        ends = self._counts[order].cumsum()
        done = 0
        while done < len(order):
            filled = ends[done - 1] if done else 0
            upto = int(np.searchsorted(ends, filled + self._buffer_tokens, side="right"))
            chosen = np.sort(order[done:upto])
            rows_T = np.concatenate([self._rows_T[self._starts[b] : self._starts[b] + self._counts[b]] for b in chosen])
            yield Refill(rows_T, torch.randperm(len(rows_T), generator=random))
            done = upto


def rebatch(parts: Iterable[tuple[Tensor, Tensor]], batch_tokens: int) -> Iterator[Tensor]:
    """Batches [batch_tokens, D] in float32 from pairs (buffer, indices of the rows to take from it, in order).

    Only the very last batch may be shorter. A buffer is let go before the next one is asked for.
    """
    pieces: list[Tensor] = []
    missing = batch_tokens
    for buffer_TD, order_T in parts:
        left_T = order_T
        while len(left_T):
            indices_T, left_T = left_T[:missing], left_T[missing:]
            pieces.append(buffer_TD[indices_T].float())
            missing -= len(indices_T)
            if missing == 0:
                yield torch.cat(pieces) if len(pieces) > 1 else pieces[0]
                pieces, missing = [], batch_tokens
        del buffer_TD, order_T
    if pieces:
        yield torch.cat(pieces)
