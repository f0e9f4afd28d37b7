"""Fixed: what baselines share. They are complete once they have seen a sample; nothing in them is learned by gradient.

    x̂ = μ + Σ f_i · direction_i

T tokens, D model width, F latents.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Any, Self

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.saes.affine import Affine
from lexiscope.saes.base import Batch, SparseAutoencoder, TrainingState
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.parts import mean_square_error
from lexiscope.saes.settings import SaeConfig


class Fixed(SparseAutoencoder):
    """A dictionary around the mean of a sample. Final classes register buffers, and say how to fit and to encode."""

    mean_D: Tensor

    def __init__(self, config: SaeConfig, width: int, output_width: int | None = None) -> None:
        super().__init__(config, width, output_width)
        self.register_buffer("mean_D", torch.zeros(width))

    @classmethod
    @torch.no_grad()
    def from_sample(cls, config: Any, sample: Batch, *, seed: int = 0) -> Self:
        if sample.input_TD is not sample.target_TD and not torch.equal(*sample):
            raise InputError(f"{config.architecture} writes what it reads; a transcoder has no such baseline")
        sae = cls(config, sample.input_TD.shape[1])
        sae.fit(sample.input_TD, seed)
        return sae

    @abstractmethod
    def fit(self, x_TD: Tensor, seed: int) -> None:
        """Fill the buffers from a sample.

        Raises:
            InputError: it makes no sense for these activations.
        """

    def decode(self, codes: SparseCodes) -> Tensor:
        return decode_rows(codes, self.directions_FD, self.mean_D)

    def losses(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, state: TrainingState) -> dict[str, Tensor]:  # noqa: ARG002
        return {"reconstruction": mean_square_error(output_TD, batch.target_TD)}

    @torch.no_grad()
    def absorb(self, source: Affine, target: Affine) -> None:
        self.mean_D.div_(source.scale).add_(target.centre_D)

    def centre(self, x_TD: Tensor) -> Tensor:
        """Set the mean, and give what is left in float64."""
        x_TD = x_TD.double()
        mean_D = x_TD.mean(0)
        self.mean_D.copy_(mean_D)
        return x_TD - mean_D
