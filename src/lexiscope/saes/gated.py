"""Gated: one path decides whether a latent fires, another how strongly; the penalty presses on the first only.

    π = W_enc (x - b_dec) + b_enc                                 the gate
    m = exp(r_mag) W_enc (x - b_dec) + b_mag                      the magnitude, along the same directions
    f = H(π) ReLU(m),   x̂ = W_decᵀ f + b_dec
    L = (‖x - x̂‖² + λ Σ ReLU(π) + ‖x - x̂ - W_decᵀ (ReLU(π) - f)‖²) / D

H has no gradient: the gate learns from the last two terms, in which f and x̂ are constants. In the paper the decoder is
one too, so that it never learns from the shrunken ReLU(π) ("frozen"). Here it learns from both by default: free rows
that are pulled only by codes part from the gates on real activations (residual stream of width 256, L0 32: FVU 0.37
frozen, 0.090 learning; with rows of unit length 0.107 and 0.094). Rows of W_dec are free and ReLU(π) costs ‖W_dec‖ as
much (penalty "decoder_norm"), or have unit length ("l1").

Source: Rajamanoharan et al. 2024, "Improving dictionary learning with gated sparse autoencoders", section 3.2.
T tokens, D model width, F latents, N entries with π > 0.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from lexiscope.core.codes import SparseCodes
from lexiscope.saes import activation
from lexiscope.saes.base import Batch, TrainingState
from lexiscope.saes.dictionary import LinearDictionary
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.kernels.encode import encode_relu
from lexiscope.saes.parts import floor_for_l0, mean_square_error
from lexiscope.saes.settings import SizedConfig


class Options(activation.Options):
    penalty: Literal["l1", "decoder_norm"] = "decoder_norm"
    gate_decoder: Literal["learns", "frozen"] = "learns"
    """Whether the decoder learns from the reconstruction by ReLU(π), or from that by the codes only."""
    l1_coefficient: float | None = Field(None, ge=0)
    """λ, for activations scaled to mean ‖x‖² = D. None: L0 is steered instead."""

    @property
    def remedies(self) -> tuple[str, ...]:
        return ("auxk",)

    @property
    def needs_target_l0(self) -> bool:
        return self.l1_coefficient is None


class Activation(activation.Activation):
    options: Options
    options_type: ClassVar[type[Options]] = Options

    def __init__(self, options: Options, num_latents: int) -> None:
        super().__init__(options, num_latents)
        self.r_mag_F = nn.Parameter(torch.zeros(num_latents))
        self.b_mag_F = nn.Parameter(torch.zeros(num_latents))

    def encode(self, x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor) -> SparseCodes:
        gates = encode_relu(x_TD, centre_D, W_FD, b_F)
        linear_N = gates.values - b_F.index_select(0, gates.latents)
        # Not r[latents]: several threads would add up its gradient in any order.
        gain_N, shift_N = (weight_F.index_select(0, gates.latents) for weight_F in (self.r_mag_F.exp(), self.b_mag_F))
        values_N = (gain_N * linear_N + shift_N).relu()
        codes = SparseCodes(gates.offsets, gates.latents, values_N, gates.num_latents, aside=gates)
        return codes if self.training else codes.keep(values_N.detach() > 0)

    def alone(self, latents: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor]:
        chosen = list(latents)
        gain_J, shift_J = self.r_mag_F.detach()[chosen].exp(), self.b_mag_F.detach()[chosen]
        return lambda gates_TJ, b_J: (gain_J * (gates_TJ - b_J) + shift_J).relu() * (gates_TJ > 0)

    def penalties(
        self,
        dictionary: LinearDictionary,
        batch: Batch,
        codes: SparseCodes,
        output_TD: Tensor,
        state: TrainingState,
    ) -> dict[str, Tensor]:
        gates = codes.aside
        if gates is None:
            gates = encode_relu(batch.input_TD, dictionary.centre_D, dictionary.W_enc_FD, dictionary.b_enc_F)
        costs_N = gates.values
        if self.options.penalty == "decoder_norm":
            costs_N = costs_N * dictionary.row_lengths_F.index_select(0, gates.latents)
        coefficient = 1.0 if self.options.l1_coefficient is None else self.options.l1_coefficient
        rest_TD = (output_TD - decode_rows(codes, dictionary.W_dec_FD.detach())).detach()
        frozen = self.options.gate_decoder == "frozen"
        W_dec_FD = dictionary.W_dec_FD.detach() if frozen else dictionary.W_dec_FD
        return {
            "sparsity": coefficient * state.sparsity_scale * costs_N.sum() / batch.target_TD.numel(),
            "gate": mean_square_error(rest_TD + decode_rows(gates, W_dec_FD), batch.target_TD),
        }

    @property
    def unit_rows(self) -> bool:
        return self.options.penalty == "l1"

    @torch.no_grad()
    def calibrate(self, x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor, l0: float) -> None:
        """One number added to the bias of every gate; magnitudes do not depend on it."""
        b_F.sub_(floor_for_l0(x_TD - centre_D, W_FD, b_F, l0))

    @torch.no_grad()
    def absorb_centre(self, by_centre_F: Tensor) -> None:
        self.b_mag_F.sub_(self.r_mag_F.exp() * by_centre_F)

    @torch.no_grad()
    def absorb(self, scale: float) -> None:
        self.b_mag_F.div_(scale)


class Config(Options, SizedConfig):
    architecture: Literal["gated"] = "gated"


class Gated(LinearDictionary):
    config: Config
    config_type: ClassVar[type[Config]] = Config

    def make_activation(self) -> Activation:
        return Activation(self.config, self.num_latents)
