"""KL divergence: how far splicing the reconstruction moves the model's next-token distribution.

Formula: mean over predictions of Σ_v p_v ln(p_v / q_v), p of the model as it is, q of the spliced one.
Range: 0 up.
Better: lower.
Left out: predictions made at BOS, special and padding positions, where nothing is replaced.
Baselines: neurons 0; mean-only large; random dictionary and untrained autoencoder too.

Unlike the loss it also sees changes that happen to leave the probability of the right token alone.
"""

from __future__ import annotations

from typing import final

from torch import Tensor

from lexiscope.measure.metric import PredictionMetric, Predictions, column, divide


@final
class KlDivergence(PredictionMetric):
    name = "kl_divergence"
    unit = "nats per token"
    better = "lower"

    def columns(self, seen: Predictions) -> Tensor:
        return column(seen.divergence_T)

    def value(self, sums_S: Tensor) -> float:
        divergence, tokens = sums_S
        return divide(divergence, tokens)
