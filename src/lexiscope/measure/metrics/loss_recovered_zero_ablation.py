"""Loss recovered against zero-ablation: as against mean-ablation, with the activation replaced by zeros.

Formula: (L_zero - L_spliced) / (L_zero - L_clean), each L a mean next-token loss in nats.
Range: up to 1 (and past it by noise).
Better: higher.
Left out: predictions made at BOS, special and padding positions, where nothing is replaced.
Baselines: neurons 1; mean-only well above 0, random dictionary and untrained autoencoder often too.

Zeros are far from anything the model ever sees, so this number flatters. It is here because it is the one that
others publish.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from lexiscope.measure.metric import PredictionMetric, Predictions, divide


@final
class LossRecoveredZeroAblation(PredictionMetric):
    name = "loss_recovered_zero_ablation"
    unit = "fraction of loss"
    better = "higher"

    def columns(self, seen: Predictions) -> Tensor:
        return torch.stack([seen.zero_ablated_T, seen.spliced_T, seen.clean_T], 1).double()

    def value(self, sums_S: Tensor) -> float:
        ablated, spliced, clean = sums_S
        return divide(ablated - spliced, ablated - clean)
