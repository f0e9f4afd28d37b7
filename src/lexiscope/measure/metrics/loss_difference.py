"""Loss difference: what splicing the reconstruction into the model costs in next-token loss.

Formula: L_spliced - L_clean, means over predictions.
Range: any; 0 costs nothing.
Better: lower.
Left out: predictions made at BOS, special and padding positions, where nothing is replaced.
Baselines: mean-only the loss of mean-ablation minus that of the model; neurons 0; random dictionary and untrained
    autoencoder about as much as mean-only or more.
"""

from __future__ import annotations

from typing import final

from torch import Tensor

from lexiscope.measure.metric import PredictionMetric, Predictions, column, divide


@final
class LossDifference(PredictionMetric):
    name = "loss_difference"
    unit = "nats per token"
    better = "lower"

    def columns(self, seen: Predictions) -> Tensor:
        return column(seen.spliced_T.double() - seen.clean_T.double())

    def value(self, sums_S: Tensor) -> float:
        difference, tokens = sums_S
        return divide(difference, tokens)
