"""MSE: mean squared error of the reconstruction.

Formula: Σ_t ‖x_t - x̂_t‖² / (T·D).
Range: 0 up, in the units of the activation: compare within one hook point only.
Better: lower.
Left out: nothing.
Baselines: mean-only the variance per dimension; neurons 0; random dictionary and untrained autoencoder near the
    variance or above.
"""

from __future__ import annotations

from typing import final

from torch import Tensor

from lexiscope.measure.metric import Reconstruction, ReconstructionMetric, column, divide


@final
class Mse(ReconstructionMetric):
    name = "mse"
    unit = "squared activation per dimension"
    better = "lower"

    def columns(self, seen: Reconstruction) -> Tensor:
        return column((seen.x_TD.double() - seen.x_hat_TD.double()).square().mean(1))

    def value(self, sums_S: Tensor) -> float:
        error, tokens = sums_S
        return divide(error, tokens)
