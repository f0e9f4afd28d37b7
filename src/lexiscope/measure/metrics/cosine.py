"""Cosine: how well the direction of the activation survives.

Formula: Σ_t cos(x_t, x̂_t) / T, a zero vector counting as 0.
Range: -1 to 1.
Better: higher.
Left out: nothing.
Baselines: mean-only the mean of cos(x, μ), which is high where activations share an offset (read it before being
    impressed); neurons 1; random dictionary and untrained autoencoder about as much as mean-only.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from lexiscope.measure.metric import Reconstruction, ReconstructionMetric, column, divide


@final
class Cosine(ReconstructionMetric):
    name = "cosine"
    unit = "cosine"
    better = "higher"

    def columns(self, seen: Reconstruction) -> Tensor:
        x_TD, x_hat_TD = seen.x_TD.double(), seen.x_hat_TD.double()
        norms_T = x_TD.norm(dim=1) * x_hat_TD.norm(dim=1)
        dot_T = (x_TD * x_hat_TD).sum(1)
        return column(torch.where(norms_T > 0, dot_T / norms_T, 0.0))

    def value(self, sums_S: Tensor) -> float:
        cosine, tokens = sums_S
        return divide(cosine, tokens)
