"""Transcoder: reads one hook point and writes another, such as what an MLP reads and what it adds.

    f = activation(W_enc x + b_enc),   ŷ = W_decᵀ f + b_dec (+ W_skip x),   L = ‖y - ŷ‖² / E

With ``skip`` a linear map goes around the codes and takes what is linear in the step from x to y; it starts at 0. The
encoder does not subtract b_dec, which lives in the space of y.

Sources: Dunefsky et al. 2024, "Transcoders find interpretable LLM feature circuits"; Paulo et al. 2025, "Transcoders
beat sparse autoencoders for interpretability" (skip). T tokens, D width of x, E width of y, F latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.seeds import derive_seed
from lexiscope.saes import activation
from lexiscope.saes.affine import Affine
from lexiscope.saes.base import Batch
from lexiscope.saes.dictionary import LinearDictionary
from lexiscope.saes.registry import ActivatedConfig, AnyActivation, make_activation, read_activation


class Config(ActivatedConfig):
    architecture: Literal["transcoder"] = "transcoder"
    activation: AnyActivation = Field(default_factory=lambda: read_activation("topk"))
    """Which latents fire: ``{ name = "topk", k = 32 }``."""
    skip: bool = False
    """Whether a linear map goes around the codes."""

    def for_sites(self, reads: Sequence[HookPoint], writes: Sequence[HookPoint], widths: Sequence[int]) -> Self:  # noqa: ARG002
        if tuple(reads) == tuple(writes):
            raise InputError(
                f"a transcoder from {reads[0]} to itself is an autoencoder; give a target, or use architecture topk"
            )
        if len(reads) > 1 or len(writes) > 1:
            raise InputError("a transcoder reads one hook point and writes one; give one hook and one target")
        return self


class Transcoder(LinearDictionary):
    config: Config
    config_type: ClassVar[type[Config]] = Config
    ties_centre: ClassVar[bool] = False

    def __init__(self, config: Config, width: int, output_width: int | None = None) -> None:
        super().__init__(config, width, output_width)
        self.W_skip_ED = nn.Parameter(torch.zeros(self.output_width, self.width)) if config.skip else None

    def make_activation(self) -> activation.Activation:
        return make_activation(self.config.activation, self.num_latents)

    @classmethod
    @torch.no_grad()
    def from_sample(cls, config: Any, sample: Batch, *, seed: int = 0) -> Self:
        """Directions in x as ``init`` says, centred on the sample, and others in y."""
        sae = cls(config, sample.input_TD.shape[1], sample.target_TD.shape[1])
        sae.W_enc_FD.copy_(config.initial_directions(sample.input_TD, sae.num_latents, seed=seed))
        sae.b_enc_F.copy_(-(sae.W_enc_FD @ sample.input_TD.mean(0)))
        other = seed if config.init == "data" else derive_seed(seed, "decoder")  # data: what the same tokens lead to
        sae.W_dec_FD.copy_(config.initial_directions(sample.target_TD, sae.num_latents, seed=other))
        sae.b_dec_D.copy_(sample.target_TD.mean(0))
        sae.start(sample.input_TD)
        return sae

    def reconstruct(self, x_TD: Tensor, codes: SparseCodes) -> Tensor:
        output_TE = self.decode(codes)
        return output_TE if self.W_skip_ED is None else output_TE + x_TD @ self.W_skip_ED.T

    @torch.no_grad()
    def absorb(self, source: Affine, target: Affine) -> None:
        super().absorb(source, target)
        if self.W_skip_ED is not None:
            self.W_skip_ED.mul_(source.scale_D).div_(target.scale_D[:, None])
            self.b_dec_D.sub_(self.W_skip_ED @ source.centre_D)
