"""Random dictionary: directions uniform on the sphere, the k that score highest, and nothing learned but one number.

    f = g · TopK(ReLU(W (x - μ))),   x̂ = μ + Wᵀ f

g is the least-squares gain on the sample: without it many overlapping directions overshoot, and the floor would look
lower than it is. T tokens, D model width, F latents.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.baselines.fixed import Fixed
from lexiscope.saes.initialise import Init
from lexiscope.saes.kernels.encode import encode_topk
from lexiscope.saes.settings import SizedConfig


class Config(SizedConfig):
    architecture: Literal["random_dictionary"] = "random_dictionary"
    init: Init = "random"
    k: int = Field(32, ge=1)
    """Latents that fire on each token, at most: L0."""


class RandomDictionary(Fixed):
    config: Config
    config_type: ClassVar[type[Config]] = Config
    W_FD: Tensor
    gain: Tensor

    def __init__(self, config: Config, width: int, output_width: int | None = None) -> None:
        super().__init__(config, width, output_width)
        self.register_buffer("W_FD", torch.zeros(self.num_latents, width))
        self.register_buffer("gain", torch.ones(()))

    def fit(self, x_TD: Tensor, seed: int) -> None:
        self.W_FD.copy_(self.config.initial_directions(x_TD, self.num_latents, seed=seed))
        centred_TD = self.centre(x_TD)
        guess_TD = self(x_TD) - self.mean_D
        self.gain.copy_((centred_TD * guess_TD).sum() / guess_TD.square().sum())

    def encode(self, x_TD: Tensor) -> SparseCodes:
        codes = encode_topk(x_TD, self.mean_D, self.W_FD, self.W_FD.new_zeros(self.num_latents), self.config.k)
        return SparseCodes(codes.offsets, codes.latents, codes.values * self.gain, codes.num_latents)

    @property
    def directions_FD(self) -> Tensor:
        return self.W_FD
