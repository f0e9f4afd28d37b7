"""Loss recovered against mean-ablation: how much of what the activation does for prediction the reconstruction keeps.

Formula: (L_mean - L_spliced) / (L_mean - L_clean), each L a mean next-token loss in nats; L_mean replaces the
    activation by its mean over the activation store.
Range: up to 1 (and past it by noise); 0 is no better than the mean.
Better: higher.
Left out: predictions made at BOS, special and padding positions, where nothing is replaced.
Baselines: mean-only 0, but for its mean being of a sample; neurons 1; random dictionary and untrained autoencoder
    near 0 or below.

The ratio flatters where the mean does great harm: read it beside `loss_difference`.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from lexiscope.measure.metric import PredictionMetric, Predictions, divide


@final
class LossRecoveredMeanAblation(PredictionMetric):
    name = "loss_recovered_mean_ablation"
    unit = "fraction of loss"
    better = "higher"

    def columns(self, seen: Predictions) -> Tensor:
        return torch.stack([seen.mean_ablated_T, seen.spliced_T, seen.clean_T], 1).double()

    def value(self, sums_S: Tensor) -> float:
        ablated, spliced, clean = sums_S
        return divide(ablated - spliced, ablated - clean)
