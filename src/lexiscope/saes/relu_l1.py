"""ReLU + L1: every latent that scores above zero fires, and firing costs.

    f = ReLU(W_enc (x - b_dec) + b_enc),   x̂ = W_decᵀ f + b_dec,   L = (‖x - x̂‖² + λ P(f)) / D

Two penalties P. "l1" is Σ f with decoder rows held at unit length, so that codes can't shrink into long rows (Bricken
et al. 2023, "Towards Monosemanticity"). "decoder_norm" is Σ f ‖W_dec‖ with free rows, the same cost without the
constraint (Conerly et al. 2024, "Update on how we train SAEs"). Dividing all of it by D moves no minimum; it lets one
``grad_clip`` serve every width. T tokens, D model width, F latents.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.base import Batch, SizedConfig, SparseAutoencoder, TrainingState
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.kernels.encode import encode_relu
from lexiscope.saes.parts import along_sphere, make_unit_rows, mean_square_error, random_directions


class Config(SizedConfig):
    architecture: Literal["relu_l1"] = "relu_l1"
    penalty: Literal["l1", "decoder_norm"] = "l1"
    l1_coefficient: float = Field(1.0, ge=0)
    """λ, for activations scaled to mean ‖x‖² = D. A latent costs λ / 2 of its strength when it fires."""


class ReluL1(SparseAutoencoder):
    config: Config
    config_type: ClassVar[type[Config]] = Config

    def __init__(self, config: Config, width: int) -> None:
        super().__init__(config, width)
        self.W_enc_FD = nn.Parameter(torch.zeros(self.num_latents, width))
        self.b_enc_F = nn.Parameter(torch.zeros(self.num_latents))
        self.W_dec_FD = nn.Parameter(torch.zeros(self.num_latents, width))
        self.b_dec_D = nn.Parameter(torch.zeros(width))

    @classmethod
    @torch.no_grad()
    def from_sample(cls, config: Config, sample_TD: Tensor, *, seed: int = 0) -> Self:
        """Random directions, the encoder equal to the decoder, and the mean of the sample as the decoder's bias."""
        sae = cls(config, sample_TD.shape[1])
        sae.W_dec_FD.copy_(random_directions(sae.num_latents, sae.width, seed=seed))
        sae.W_enc_FD.copy_(sae.W_dec_FD)
        sae.b_dec_D.copy_(sample_TD.mean(0))
        return sae

    def encode(self, x_TD: Tensor) -> SparseCodes:
        return encode_relu(x_TD, self.b_dec_D, self.W_enc_FD, self.b_enc_F)

    def decode(self, codes: SparseCodes) -> Tensor:
        W_FD = along_sphere(self.W_dec_FD) if self.config.penalty == "l1" else self.W_dec_FD
        return decode_rows(codes, W_FD) + self.b_dec_D

    def losses(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, state: TrainingState) -> dict[str, Tensor]:
        costs_N = codes.values
        if self.config.penalty == "decoder_norm":
            costs_N = costs_N * self.W_dec_FD.norm(dim=1)[codes.latents]
        weight = self.config.l1_coefficient * state.sparsity_scale
        return {
            "reconstruction": mean_square_error(output_TD, batch.target_TD),
            "sparsity": weight * costs_N.sum() / batch.target_TD.numel(),
        }

    def after_step(self) -> None:
        if self.config.penalty == "l1":
            make_unit_rows(self.W_dec_FD)

    @torch.no_grad()
    def absorb(self, centre_D: Tensor, scale: float) -> None:
        """Scores are homogeneous: in the units of x they are 1 / scale as large, and the same ones are positive."""
        self.b_enc_F.div_(scale)
        self.b_dec_D.div_(scale).add_(centre_D)

    @property
    def directions_FD(self) -> Tensor:
        return self.W_dec_FD
