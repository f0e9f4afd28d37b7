"""Firings: everything an autoencoder does on a store, turned from "latents of each token" into "tokens of each latent".

N firings, F latents.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.progress import SILENT, Progress
from lexiscope.harvest.store import ActivationStore
from lexiscope.saes.base import SparseAutoencoder

Rows = NDArray[np.int32]
Values = NDArray[np.float32]


@dataclass(frozen=True)
class Firings:
    """Firings of the latents ``low <= latent < high``, sorted by latent and then by row.

    Attributes:
        offsets: int64 [high - low + 1]; latent f owns the entries ``offsets[f - low]:offsets[f - low + 1]``.
        rows: int32 [N], rows of the store, ascending within a latent.
        values: float32 [N], activations, never 0.
    """

    low: int
    high: int
    offsets: NDArray[np.int64]
    rows: Rows
    values: Values

    def of(self, latent: int) -> tuple[Rows, Values]:
        """Rows on which one latent fires, ascending, and its activations there."""
        span = slice(self.offsets[latent - self.low], self.offsets[latent - self.low + 1])
        return self.rows[span], self.values[span]


def collect(
    sae: SparseAutoencoder,
    store: ActivationStore,
    hooks: Sequence[HookPoint],
    *,
    firings_at_once: int,
    low: int = 0,
    progress: Progress = SILENT,
) -> Iterator[Firings]:
    """Encode the store, its ``hooks`` side by side, and yield its firings in blocks of latents, from ``low`` on.

    One pass over the store if all firings fit; else each pass keeps as many latents as fit, and the rest wait for the
    next. A single latent with more than ``firings_at_once`` firings is held whole all the same.
    """
    while low < sae.num_latents:
        with progress.task(f"Encoding (latents from {low})" if low else "Encoding", store.num_tokens, "tokens") as task:
            gathering = _Gathering(low, sae.num_latents, firings_at_once)
            for chunks in zip(*map(store.chunks, hooks), strict=True):
                x_TD = torch.cat([chunk.x_TD for chunk in chunks], dim=1)
                with torch.inference_mode():
                    codes = sae.encode(x_TD)
                gathering.add(codes.latents, codes.tokens() + chunks[0].start, codes.values)
                task.advance(len(x_TD))
        firings = gathering.sorted()
        yield firings
        low = firings.high


class _Gathering:
    """Firings of the latents from ``low`` on, as they arrive; gives up the upper latents when there are too many."""

    def __init__(self, low: int, high: int, limit: int) -> None:
        self.low, self.high, self.limit = low, high, limit
        self.latents: list[torch.Tensor] = []
        self.rows: list[torch.Tensor] = []
        self.values: list[torch.Tensor] = []
        self.counts_F = torch.zeros(high - low, dtype=torch.int64)

    def add(self, latents: torch.Tensor, rows: torch.Tensor, values: torch.Tensor) -> None:
        inside = (latents >= self.low) & (latents < self.high)
        if not inside.all():
            latents, rows, values = latents[inside], rows[inside], values[inside]
        self.latents.append((latents - self.low).to("cpu", torch.int32))
        self.rows.append(rows.to("cpu", torch.int32))
        self.values.append(values.to("cpu", torch.float32))
        self.counts_F += torch.bincount(self.latents[-1], minlength=len(self.counts_F))
        if int(self.counts_F.sum()) > self.limit and len(self.counts_F) > 1:
            self._shrink()

    def _shrink(self) -> None:
        """Keep the lower latents, down to half the limit, so that there is room for the rest of the store."""
        fitting = int((self.counts_F.cumsum(0) <= self.limit // 2).sum())
        width = max(1, fitting)
        self.high = self.low + width
        self.counts_F = self.counts_F[:width].clone()
        for part, latents in enumerate(self.latents):
            inside = latents < width
            self.latents[part] = latents[inside]
            self.rows[part] = self.rows[part][inside]
            self.values[part] = self.values[part][inside]

    def sorted(self) -> Firings:
        offsets = torch.zeros(len(self.counts_F) + 1, dtype=torch.int64)
        torch.cumsum(self.counts_F, 0, out=offsets[1:])
        order = torch.sort(torch.cat(self.latents), stable=True).indices
        self.latents.clear()
        rows = torch.cat(self.rows)[order].numpy()
        self.rows.clear()
        values = torch.cat(self.values)[order].numpy()
        self.values.clear()
        return Firings(self.low, self.high, offsets.numpy(), rows, values)
