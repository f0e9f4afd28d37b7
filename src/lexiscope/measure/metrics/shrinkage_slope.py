"""Shrinkage slope: by how much reconstructions should be stretched about their mean to fit best.

Formula: Σ_t ⟨x_t - μ, x̂_t - μ̂⟩ / Σ_t ‖x̂_t - μ̂‖², the slope of the least-squares line of x on x̂ (one slope for
    all dimensions).
Range: any; 1 is right, above 1 the autoencoder shrinks, as an L1 penalty makes it do, below 1 it exaggerates.
Better: neither; nearer 1.
Left out: nothing.
Baselines: mean-only undefined (nothing varies); neurons 1; PCA 1 on the tokens it was fitted on; random dictionary
    and untrained autoencoder anything.

It is the inverse of the relative reconstruction bias of Rajamanoharan et al. 2024 (arXiv:2404.16014), taken about
the means.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from lexiscope.measure.metric import Reconstruction, ReconstructionMetric, divide


@final
class ShrinkageSlope(ReconstructionMetric):
    name = "shrinkage_slope"
    unit = "slope"
    better = "neither"

    def columns(self, seen: Reconstruction) -> Tensor:
        x_TD, x_hat_TD = seen.x_TD.double(), seen.x_hat_TD.double()
        products_T = (x_TD * x_hat_TD).sum(1)
        squares_T = x_hat_TD.square().sum(1)
        scalars_T3 = torch.stack([products_T, squares_T, torch.ones_like(squares_T)], 1)
        return torch.cat([scalars_T3, x_TD, x_hat_TD], 1)

    def value(self, sums_S: Tensor) -> float:
        product, square, tokens = sums_S[:3]
        x_D, x_hat_D = sums_S[3:].chunk(2)
        covariance = product - (x_D * x_hat_D).sum() / tokens.clamp(min=1)
        variance = square - x_hat_D.square().sum() / tokens.clamp(min=1)
        # What is left of a constant after subtracting its mean is rounding, not variance.
        return divide(covariance, variance if variance > 1e-12 * square else 0.0)
