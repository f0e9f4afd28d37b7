"""LinearDictionary: a linear encoder, an activation function, a linear decoder. Most architectures are one.

    f = activation(W_enc (x - centre) + b_enc),   x̂ = W_decᵀ f + b_dec

An autoencoder's centre is b_dec: what the decoder adds, the encoder takes away first.
T tokens, D model width, F latents.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar, Self

import torch
from torch import Tensor, nn

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.activation import Activation
from lexiscope.saes.affine import Affine
from lexiscope.saes.base import Batch, SparseAutoencoder, TrainingState
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.kernels.kept import Kept
from lexiscope.saes.parts import mean_square_error, without_gradients
from lexiscope.saes.settings import SaeConfig

START_TOKENS = 4096
"""Of the sample, to set the first thresholds on."""
START_L0 = 128
"""Where nothing says how many latents should fire: more than are wanted, and yet so few that the start is fast."""


class LinearDictionary(SparseAutoencoder):
    """Weights, encoder and decoder; a final class says which activation, and adds what is its own."""

    ties_centre: ClassVar[bool] = True
    """Whether the encoder subtracts b_dec from what it reads."""

    def __init__(self, config: SaeConfig, width: int, output_width: int | None = None) -> None:
        super().__init__(config, width, output_width)
        self.W_enc_FD = nn.Parameter(torch.zeros(self.num_latents, self.width))
        self.b_enc_F = nn.Parameter(torch.zeros(self.num_latents))
        self.W_dec_FD = nn.Parameter(torch.zeros(self.num_latents, self.output_width))
        self.b_dec_D = nn.Parameter(torch.zeros(self.output_width))
        self.activation = self.make_activation()

    def make_activation(self) -> Activation:
        """The activation function that the settings ask for."""
        raise NotImplementedError

    @classmethod
    @torch.no_grad()
    def from_sample(cls, config: Any, sample: Batch, *, seed: int = 0) -> Self:
        """Directions as ``init`` says, the encoder equal to the decoder, the sample's mean as the decoder's bias."""
        sae = cls(config, sample.input_TD.shape[1], sample.target_TD.shape[1])
        sae.W_dec_FD.copy_(config.initial_directions(sample.target_TD, sae.num_latents, seed=seed))
        if cls.ties_centre:
            sae.W_enc_FD.copy_(sae.W_dec_FD)
        else:
            sae.W_enc_FD.copy_(config.initial_directions(sample.input_TD, sae.num_latents, seed=seed))
        sae.b_dec_D.copy_(sample.target_TD.mean(0))
        sae.start(sample.input_TD)
        return sae

    @torch.no_grad()
    def start(self, sample_TD: Tensor, l0: float | None = None) -> None:
        l0 = self.activation.fixed_l0 or min(l0 or START_L0, self.num_latents / 4)  # half of all scores are negative
        self.activation.start(sample_TD[:START_TOKENS], self.centre_D, self.W_enc_FD, self.b_enc_F, l0)

    @property
    def centre_D(self) -> Tensor:
        """What the encoder subtracts from its input."""
        return self.b_dec_D if self.ties_centre else self.b_dec_D.new_zeros(self.width)

    def encode(self, x_TD: Tensor) -> SparseCodes:
        return self.activation.encode(x_TD, self.centre_D, self.W_enc_FD, self.b_enc_F)

    def encoder(self) -> Callable[[Tensor], SparseCodes]:
        weights = Kept(self.W_enc_FD)

        @without_gradients
        def encode(x_TD: Tensor) -> SparseCodes:
            codes = weights.encode(x_TD, self.encode)
            return codes.fired() if self.training else codes

        return encode

    def reader(self, latents: Sequence[int]) -> Callable[[Tensor], Tensor]:
        short = self.activation.reader(latents, self.centre_D, self.W_enc_FD, self.b_enc_F)
        return super().reader(latents) if short is None else short

    def decode(self, codes: SparseCodes) -> Tensor:
        return decode_rows(codes, self.W_dec_FD, self.b_dec_D)

    def losses(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, state: TrainingState) -> dict[str, Tensor]:
        return {
            "reconstruction": mean_square_error(output_TD, batch.target_TD),
            **self.activation.penalties(self, batch, codes, output_TD, state),
        }

    @property
    def row_lengths_F(self) -> Tensor:
        """Length of what one unit of each latent adds: its weight in a penalty on free decoder rows."""
        lengths_F: Tensor = torch.linalg.vector_norm(self.W_dec_FD, dim=1)
        return lengths_F

    @property
    def unit_rows(self) -> tuple[nn.Parameter, ...]:
        return (self.W_dec_FD,) if self.activation.unit_rows else ()

    def before_step(self, progress: float) -> None:
        self.activation.before_step(progress)

    def after_step(self, codes: SparseCodes) -> None:
        self.activation.after_step(codes)

    def steer(self, excess: float) -> None:
        self.activation.steer(excess)

    @torch.no_grad()
    def calibrate(self, x_TD: Tensor, l0: float | None = None) -> None:
        l0 = self.activation.fixed_l0 if l0 is None else l0
        if l0 is not None:
            self.activation.calibrate(x_TD, self.centre_D, self.W_enc_FD, self.b_enc_F, l0)

    @torch.no_grad()
    def absorb(self, source: Affine, target: Affine) -> None:
        """Scores are homogeneous: 1 / scale as large, they keep their order and signs.

        Codes come out in the units of what is written, where all of it has one scale.
        """
        if self.ties_centre:
            self.b_enc_F.div_(source.scale)
            self.activation.absorb(source.scale)
            self.b_dec_D.div_(target.scale).add_(target.centre_D)
            return
        scale = target.scale if target.has_one_scale else 1.0
        self.W_enc_FD.mul_(source.scale_D / scale)
        by_centre_F = self.W_enc_FD @ source.centre_D
        self.b_enc_F.div_(scale).sub_(by_centre_F)
        self.activation.absorb(scale)
        self.activation.absorb_centre(by_centre_F)
        self.W_dec_FD.mul_(scale / target.scale_D)
        self.b_dec_D.div_(target.scale_D).add_(target.centre_D)

    @property
    def directions_FD(self) -> Tensor:
        return self.W_dec_FD
