"""FVU: the fraction of variance that the reconstruction leaves unexplained. Explained variance is 1 - FVU.

Formula: Σ_t ‖x_t - x̂_t‖² / Σ_t ‖x_t - μ‖², μ the mean of the measured tokens.
Range: 0 up; above 1 is worse than a constant.
Better: lower.
Left out: nothing.
Baselines: mean-only 1 (a little more where its mean comes from other tokens); neurons 0; random dictionary and
    untrained autoencoder near 1 or above; PCA with k components per token between them and a trained autoencoder.

Averaging a ratio per batch instead gives another number for each batch size; variance about zero instead of about
the mean hides the error behind the offset that residual streams have.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from lexiscope.measure.metric import Reconstruction, ReconstructionMetric, divide


@final
class Fvu(ReconstructionMetric):
    name = "fvu"
    unit = "fraction of variance"
    better = "lower"

    def columns(self, seen: Reconstruction) -> Tensor:
        x_TD = seen.x_TD.double()
        error_T = (x_TD - seen.x_hat_TD.double()).square().sum(1)
        return torch.cat([torch.stack([error_T, x_TD.square().sum(1), torch.ones_like(error_T)], 1), x_TD], 1)

    def value(self, sums_S: Tensor) -> float:
        error, square, tokens = sums_S[:3]
        variance = square - sums_S[3:].square().sum() / tokens.clamp(min=1)
        # What is left of a constant after subtracting its mean is rounding, not variance.
        return divide(error, variance if variance > 1e-12 * square else 0.0)
