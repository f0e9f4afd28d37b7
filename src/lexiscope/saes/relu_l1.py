"""ReLU + L1: every latent that scores above zero fires, and firing costs.

    f = ReLU(W_enc (x - b_dec) + b_enc),   x̂ = W_decᵀ f + b_dec,   L = (‖x - x̂‖² + λ P(f)) / D

Two penalties P. "l1" is Σ f with decoder rows held at unit length, so that codes can't shrink into long rows (Bricken
et al. 2023, "Towards Monosemanticity"). "decoder_norm" is Σ f ‖W_dec‖ with free rows, the same cost without the
constraint (Conerly et al. 2024, "Update on how we train SAEs"). Dividing all of it by D moves no minimum; it lets one
``grad_clip`` serve every width. T tokens, D model width, F latents, N active entries.
"""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.saes import activation
from lexiscope.saes.base import Batch, SizedConfig, TrainingState
from lexiscope.saes.dictionary import LinearDictionary
from lexiscope.saes.kernels.encode import encode_relu


class Options(activation.Options):
    penalty: Literal["l1", "decoder_norm"] = "l1"
    l1_coefficient: float = Field(1.0, ge=0)
    """λ, for activations scaled to mean ‖x‖² = D. A latent costs λ / 2 of its strength when it fires."""


class Activation(activation.Activation):
    options: Options
    options_type: ClassVar[type[Options]] = Options

    def encode(self, x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor) -> SparseCodes:
        return encode_relu(x_TD, centre_D, W_FD, b_F)

    def penalties(
        self,
        dictionary: LinearDictionary,
        batch: Batch,
        codes: SparseCodes,
        output_TD: Tensor,  # noqa: ARG002
        state: TrainingState,
    ) -> dict[str, Tensor]:
        costs_N = codes.values
        if self.options.penalty == "decoder_norm":
            costs_N = costs_N * dictionary.row_lengths_F[codes.latents]
        weight = self.options.l1_coefficient * state.sparsity_scale
        return {"sparsity": weight * costs_N.sum() / batch.target_TD.numel()}

    @property
    def unit_rows(self) -> bool:
        return self.options.penalty == "l1"


class Config(Options, SizedConfig):
    architecture: Literal["relu_l1"] = "relu_l1"


class ReluL1(LinearDictionary):
    config: Config
    config_type: ClassVar[type[Config]] = Config

    def make_activation(self) -> Activation:
        return Activation(self.config, self.num_latents)
