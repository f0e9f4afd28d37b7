"""TopK: keep the k largest latents of every token.

    f = TopK(ReLU(W_enc (x - b_dec) + b_enc)),   x̂ = W_decᵀ f + b_dec,   L = ‖x - x̂‖² / D + alpha · AuxK

AuxK brings dead latents back: among them the k_aux largest reconstruct the error e = x - x̂ that the live ones leave,
ê = W_decᵀ f_dead (no bias: e has none), and AuxK = Σ ‖e - ê‖² / Σ ‖e - ē‖². The error and b_dec are constants to it, so
that only dead latents learn from it. Rows of W_dec have unit length.

Source: Gao et al. 2024, "Scaling and evaluating sparse autoencoders", appendix A (alpha = 1/32, k_aux ≈ D / 2).
T tokens, D model width, F latents, G of them dead.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.base import Batch, SizedConfig, SparseAutoencoder, TrainingState
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.kernels.encode import encode_topk
from lexiscope.saes.parts import along_sphere, make_unit_rows, mean_square_error, normalised_error, random_directions


class Config(SizedConfig):
    architecture: Literal["topk"] = "topk"
    k: int = Field(32, ge=1)
    """Latents that fire on each token, at most: L0."""
    auxk_coefficient: float = Field(1 / 32, ge=0)
    """alpha: weight of AuxK against the reconstruction."""
    k_aux: int | None = Field(None, ge=1)
    """Dead latents that reconstruct each token's error. None: half the model width."""


class TopK(SparseAutoencoder):
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
        return encode_topk(x_TD, self.b_dec_D, self.W_enc_FD, self.b_enc_F, self.config.k)

    def decode(self, codes: SparseCodes) -> Tensor:
        return decode_rows(codes, along_sphere(self.W_dec_FD)) + self.b_dec_D

    def losses(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, state: TrainingState) -> dict[str, Tensor]:  # noqa: ARG002
        terms = {"reconstruction": mean_square_error(output_TD, batch.target_TD)}
        if self.config.auxk_coefficient > 0 and bool(state.dead_F.any()):
            error_TD = (batch.target_TD - output_TD).detach()
            terms["auxk"] = self.config.auxk_coefficient * self._auxk(batch.input_TD, error_TD, state.dead_F)
        return terms

    def _auxk(self, x_TD: Tensor, error_TD: Tensor, dead_F: Tensor) -> Tensor:
        dead = dead_F.nonzero().flatten()
        k_aux = self.config.k_aux or max(1, self.width // 2)
        W_enc_GD, b_enc_G, W_dec_GD = (
            weights.index_select(0, dead) for weights in (self.W_enc_FD, self.b_enc_F, self.W_dec_FD)
        )
        codes = encode_topk(x_TD, self.b_dec_D.detach(), W_enc_GD, b_enc_G, k_aux)
        return normalised_error(decode_rows(codes, along_sphere(W_dec_GD)), error_TD)

    def after_step(self) -> None:
        make_unit_rows(self.W_dec_FD)

    @torch.no_grad()
    def absorb(self, centre_D: Tensor, scale: float) -> None:
        """Scores are homogeneous: in the units of x they are 1 / scale as large, with the same order."""
        self.b_enc_F.div_(scale)
        self.b_dec_D.div_(scale).add_(centre_D)

    @property
    def directions_FD(self) -> Tensor:
        return self.W_dec_FD
