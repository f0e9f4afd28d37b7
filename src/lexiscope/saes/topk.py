"""TopK: keep the k largest latents of every token.

    f = TopK(ReLU(W_enc (x - b_dec) + b_enc)),   x̂ = W_decᵀ f + b_dec,   L = ‖x - x̂‖² / D

Rows of W_dec have unit length. Dead latents are brought back by AuxK, a term of the training (`lexiscope.train.terms`).

Source: Gao et al. 2024, "Scaling and evaluating sparse autoencoders", section 2.3. T tokens, D model width, F latents.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.saes import activation
from lexiscope.saes.base import SizedConfig
from lexiscope.saes.dictionary import LinearDictionary
from lexiscope.saes.kernels.encode import encode_topk


class Options(activation.Options):
    k: int = Field(32, ge=1)
    """Latents that fire on each token, at most: L0."""

    @property
    def remedies(self) -> tuple[str, ...]:
        return ("auxk",)

    @property
    def fixed_l0(self) -> float:
        return self.k


class Activation(activation.Activation):
    options: Options
    options_type: ClassVar[type[Options]] = Options

    def encode(self, x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor) -> SparseCodes:
        return encode_topk(x_TD, centre_D, W_FD, b_F, self.options.k)


class Config(Options, SizedConfig):
    architecture: Literal["topk"] = "topk"


class TopK(LinearDictionary):
    config: Config
    config_type: ClassVar[type[Config]] = Config

    def make_activation(self) -> Activation:
        return Activation(self.config, self.num_latents)
