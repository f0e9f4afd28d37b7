"""Dead fraction: the share of latents that never fire on the measured tokens.

Formula: |{f: firings_f = 0}| / F.
Range: 0 to 1.
Better: lower.
Left out: nothing.
Baselines: mean-only 1 (nothing fires); random dictionary and untrained autoencoder mostly near 0 at a small
    expansion; PCA and neurons 0.

It can only fall as more tokens are measured, so it means something only beside their number, which the scorecard
states.
"""

from __future__ import annotations

from typing import final

from torch import Tensor

from lexiscope.measure.metric import FiringMetric, divide


@final
class DeadFraction(FiringMetric):
    name = "dead_fraction"
    unit = "share of latents"
    better = "lower"

    def value(self, firings_F: Tensor, tokens: int) -> float:
        del tokens
        return divide((firings_F == 0).sum(), len(firings_F))
