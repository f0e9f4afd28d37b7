"""Co-activation: what fires on the same tokens as a feature, above what chance would give.

Counted on the rows of a sample. Pointwise mutual information (Church & Hanks 1990), for features a and b:

    PMI = ln( P(b fires | a fires) / P(b fires) )

with the first from the sample and the second, the density of b, from all rows.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lexiscope.index.concordance.firings import Rows
from lexiscope.index.concordance.sample import Sample

LEAST_TOGETHER = 3
"""Fewer joint firings say nothing."""
_KEPT = 12


class Beside(NamedTuple):
    """Another feature; fields as in `lexiscope.index.feature.CoActivation`."""

    feature: int
    together: int
    share: float
    pmi: float


class CoActivations(NamedTuple):
    """The features that fire together most, and on how many firings this was counted."""

    best: list[Beside]
    sampled: int


def coactivations(
    sample: Sample, feature: int, rows_N: Rows, firings_F: NDArray[np.int64], num_rows: int
) -> CoActivations:
    """Ranked by the share of joint firings that chance does not explain, P(b | a) - P(b), which favours neither what
    always fires nor what fired three times.
    """
    latents, together, sampled = sample.beside(rows_N)
    keep = (latents != feature) & (together >= LEAST_TOGETHER)
    latents, together = latents[keep], together[keep]
    shares = together / max(sampled, 1)
    densities = np.maximum(firings_F[latents], 1) / num_rows
    best = np.argsort(densities - shares, kind="stable")
    best = best[shares[best] > densities[best]][:_KEPT]
    pmi = np.log(shares / densities)
    rows = zip(latents[best].tolist(), together[best].tolist(), shares[best].tolist(), pmi[best].tolist(), strict=True)
    return CoActivations([Beside(*row) for row in rows], sampled)
