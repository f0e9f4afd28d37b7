"""Feature sparsity ratio: how efficiently the dictionary is used, as the effective share of its latents.

Formula: exp(H) / F with H = -Σ_f p_f ln p_f and p_f the share of all firings that are firings of latent f. exp(H)
    is the number of latents that, used equally often, would spread the firings as widely (the perplexity of the
    firings).
Range: 1/F (one latent does everything) to 1 (all latents fire equally often).
Better: higher, at equal reconstruction.
Left out: nothing; dead latents count in F.
Baselines: mean-only undefined (nothing fires); neurons near 1; random dictionary and untrained autoencoder high.

Spreading firings evenly explains nothing by itself: read it beside FVU and L0.
"""

from __future__ import annotations

from typing import final

from torch import Tensor

from lexiscope.measure.metric import FiringMetric, divide


@final
class FeatureSparsityRatio(FiringMetric):
    name = "feature_sparsity_ratio"
    unit = "effective share of latents"
    better = "higher"

    def value(self, firings_F: Tensor, tokens: int) -> float:
        del tokens
        if not firings_F.any():
            return float("nan")
        shares = firings_F[firings_F > 0].double() / firings_F.sum()
        entropy = -(shares * shares.log()).sum()
        return divide(entropy.exp(), len(firings_F))
