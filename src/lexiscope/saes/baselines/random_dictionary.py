"""Random dictionary: directions uniform on the sphere, the k that score highest, and nothing learned but one number.

    f = g · TopK(ReLU(W (x - μ))),   x̂ = μ + Wᵀ f

g is the least-squares gain on the sample: without it many overlapping directions overshoot, and the floor would look
lower than it is. T tokens, D model width, F latents.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.affine import Affine
from lexiscope.saes.base import Batch, SizedConfig, SparseAutoencoder, TrainingState
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.kernels.encode import encode_topk
from lexiscope.saes.parts import mean_square_error, random_directions


class Config(SizedConfig):
    architecture: Literal["random_dictionary"] = "random_dictionary"
    k: int = Field(32, ge=1)
    """Latents that fire on each token, at most: L0."""


class RandomDictionary(SparseAutoencoder):
    config: Config
    config_type: ClassVar[type[Config]] = Config
    W_FD: Tensor
    mean_D: Tensor
    gain: Tensor

    def __init__(self, config: Config, width: int, output_width: int | None = None) -> None:
        super().__init__(config, width, output_width)
        self.register_buffer("W_FD", torch.zeros(self.num_latents, width))
        self.register_buffer("mean_D", torch.zeros(width))
        self.register_buffer("gain", torch.ones(()))

    @classmethod
    def from_sample(cls, config: Config, sample: Batch, *, seed: int = 0) -> Self:
        sample_TD = sample.input_TD
        sae = cls(config, sample_TD.shape[1])
        sae.W_FD.copy_(random_directions(sae.num_latents, sae.width, seed=seed))
        sae.mean_D.copy_(sample_TD.mean(0))
        centred_TD = sample_TD - sae.mean_D
        guess_TD = sae(sample_TD) - sae.mean_D
        sae.gain.copy_((centred_TD * guess_TD).sum() / guess_TD.square().sum())
        return sae

    def encode(self, x_TD: Tensor) -> SparseCodes:
        codes = encode_topk(x_TD, self.mean_D, self.W_FD, self.W_FD.new_zeros(self.num_latents), self.config.k)
        return SparseCodes(codes.offsets, codes.latents, codes.values * self.gain, codes.num_latents)

    def decode(self, codes: SparseCodes) -> Tensor:
        return decode_rows(codes, self.W_FD) + self.mean_D

    def losses(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, state: TrainingState) -> dict[str, Tensor]:  # noqa: ARG002
        return {"reconstruction": mean_square_error(output_TD, batch.target_TD)}

    def absorb(self, source: Affine, target: Affine) -> None:
        self.mean_D.div_(source.scale).add_(target.centre_D)

    @property
    def directions_FD(self) -> Tensor:
        return self.W_FD
