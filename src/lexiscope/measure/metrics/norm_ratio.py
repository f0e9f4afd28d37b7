"""Norm ratio: how long reconstructions are, compared with what they reconstruct. Below 1 they are shrunken.

Formula: Σ_t ‖x̂_t‖ / Σ_t ‖x_t‖.
Range: 0 up, 1 is right.
Better: neither; nearer 1.
Left out: nothing.
Baselines: mean-only ‖μ‖ / mean ‖x‖, which is large where activations share an offset; neurons 1; random dictionary
    and untrained autoencoder anything.

An error that is orthogonal to the reconstruction also makes this smaller than 1 (to about the root of the explained
variance), so read it with `shrinkage_slope`, which is free of that.
"""

from __future__ import annotations

from typing import final

import torch
from torch import Tensor

from lexiscope.measure.metric import Reconstruction, ReconstructionMetric, divide


@final
class NormRatio(ReconstructionMetric):
    name = "norm_ratio"
    unit = "ratio"
    better = "neither"

    def columns(self, seen: Reconstruction) -> Tensor:
        return torch.stack([seen.x_hat_TD.double().norm(dim=1), seen.x_TD.double().norm(dim=1)], 1)

    def value(self, sums_S: Tensor) -> float:
        reconstruction, activation = sums_S
        return divide(reconstruction, activation)
