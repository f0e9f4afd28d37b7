"""Dense fraction: the share of latents that fire on more than a tenth of all tokens.

Formula: |{f: firings_f / T > 0.1}| / F.
Range: 0 to 1.
Better: lower.
Left out: nothing.
Baselines: mean-only 0 (nothing fires); neurons near 1 (each sign of a coordinate fires on about half of all
    tokens); PCA far above a trained autoencoder; random dictionary and untrained autoencoder a little above it.

Dense latents are rarely one concept; some carry position, frequency or the offset of the activations.
"""

from __future__ import annotations

from typing import final

from torch import Tensor

from lexiscope.measure.metric import FiringMetric, divide

DENSE_ABOVE = 0.1
"""A latent that fires on a larger share of tokens is dense (as in SAEBench's ``freq_over_10_percent``)."""


@final
class DenseFraction(FiringMetric):
    name = "dense_fraction"
    unit = "share of latents"
    better = "lower"

    def value(self, firings_F: Tensor, tokens: int) -> float:
        return divide((firings_F > DENSE_ABOVE * tokens).sum(), len(firings_F))
