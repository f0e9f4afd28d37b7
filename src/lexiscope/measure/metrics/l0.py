"""L0: how many latents fire on a token.

Formula: Σ_t |{f: z_tf ≠ 0}| / T.
Range: 0 to F.
Better: lower, at equal reconstruction.
Left out: nothing.
Baselines: mean-only 0; PCA about the L0 of the autoencoder; random dictionary and untrained autoencoder too where a
    fixed k decides; neurons D (each of the D coordinates is zero or fires one of its two signs).
"""

from __future__ import annotations

from typing import final

from torch import Tensor

from lexiscope.measure.metric import Reconstruction, ReconstructionMetric, column, divide


@final
class L0(ReconstructionMetric):
    name = "l0"
    unit = "latents per token"
    better = "lower"

    def columns(self, seen: Reconstruction) -> Tensor:
        return column(seen.codes.counts())

    def value(self, sums_S: Tensor) -> float:
        active, tokens = sums_S
        return divide(active, tokens)
