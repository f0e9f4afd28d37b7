"""Firing density: on what share of tokens a latent fires, as a histogram over latents.

Formula: the number is the median over live latents of log10(firings_f / T); the histogram counts live latents in
    bins of a quarter of a decade, from one firing in 10⁸ tokens to firing always.
Range: log10(1/T) to 0.
Better: neither: one narrow hump between -4 and -2 is healthy, a second one far below it is a population of nearly
    dead latents.
Left out: dead latents.
Baselines: mean-only undefined (nothing fires); neurons near log10(1/2); random dictionary and untrained autoencoder
    one hump near log10(L0 / F).
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from lexiscope.measure.metric import FiringMetric

DECADES = 8
BINS_PER_DECADE = 4


@final
class FiringDensity(FiringMetric):
    name = "firing_density"
    unit = "log10 of share of tokens"
    better = "neither"

    def value(self, firings_F: Tensor, tokens: int) -> float:
        densities = _log_densities(firings_F, tokens)
        return float(densities.quantile(0.5)) if len(densities) else float("nan")

    def histogram(self) -> tuple[list[float], list[int]]:
        """Edges of the bins (log10, one more than bins) and how many latents are in each. Both ends are included."""
        bins = DECADES * BINS_PER_DECADE
        edges = [index / BINS_PER_DECADE - DECADES for index in range(bins + 1)]
        if self._firings_F is None:
            return edges, [0] * bins
        densities = _log_densities(self._firings_F, self._tokens)
        places = ((densities + DECADES) * BINS_PER_DECADE).floor().long().clamp(0, bins - 1)
        return edges, torch.bincount(places, minlength=bins).tolist()


def _log_densities(firings_F: Tensor, tokens: int) -> Tensor:
    return torch.log10(firings_F[firings_F > 0].double() / tokens)
