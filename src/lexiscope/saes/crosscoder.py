"""Crosscoder: one dictionary for several hook points, so that a feature is seen wherever it lives.

    f = activation(Σ_s W_enc^s x^s + b_enc),   x̂^s = W_dec^sᵀ f + b_dec^s,   L = Σ_s ‖x^s - x̂^s‖² / D

The sites are layers of one model, or the same place in several models; their activations stand side by side in D. A
latent costs the sum of its decoder lengths over sites, Σ_s ‖W_dec^s‖: it is dearer to be at two sites than to be twice
as long at one, so a penalty moves latents to the sites that need them (`Crosscoder.site_lengths_SF`). An activation
that holds rows at unit length holds them over all sites together.

Source: Lindsey et al. 2024, "Sparse crosscoders for cross-layer features and model diffing".
T tokens, D width of all sites together, F latents, S sites, C width of one site.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, ClassVar, Literal, Self

import torch
from pydantic import Field
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.saes import activation
from lexiscope.saes.base import Batch
from lexiscope.saes.dictionary import LinearDictionary
from lexiscope.saes.registry import ActivatedConfig, AnyActivation, make_activation, read_activation


class Config(ActivatedConfig):
    architecture: Literal["crosscoder"] = "crosscoder"
    activation: AnyActivation = Field(default_factory=lambda: read_activation("batch_topk"))
    """Which latents fire: ``{ name = "batch_topk", k = 32 }``."""
    site_widths: tuple[Annotated[int, Field(ge=1)], ...] | None = Field(None, min_length=2)
    """Width of each site. None: those of the hook points it is trained on."""

    def for_sites(self, reads: Sequence[HookPoint], writes: Sequence[HookPoint], widths: Sequence[int]) -> Self:
        if len(reads) < 2:
            raise InputError(
                f"a crosscoder of {reads[0]} alone is an autoencoder; give it several hook points, or use architecture "
                "batch_topk"
            )
        if tuple(reads) != tuple(writes):
            raise InputError("a crosscoder writes all that it reads; leave target out")
        if self.site_widths not in (None, tuple(widths)):
            raise InputError(
                f"site_widths are {self.site_widths}, but the hook points have {tuple(widths)}; leave them out"
            )
        return self.model_copy(update={"site_widths": tuple(widths)})


class Crosscoder(LinearDictionary):
    config: Config
    config_type: ClassVar[type[Config]] = Config
    ties_centre: ClassVar[bool] = False

    def __init__(self, config: Config, width: int, output_width: int | None = None) -> None:
        super().__init__(config, width, output_width)
        if config.site_widths is None or sum(config.site_widths) != width:
            raise InputError(
                f"site_widths {config.site_widths} do not make up the {width} dimensions; say how wide each is"
            )

    def make_activation(self) -> activation.Activation:
        return make_activation(self.config.activation, self.num_latents)

    @classmethod
    @torch.no_grad()
    def from_sample(cls, config: Any, sample: Batch, *, seed: int = 0) -> Self:
        """Directions as ``init`` says over all sites, the encoder equal to the decoder, both centred on the sample."""
        sae = cls(config, sample.input_TD.shape[1])
        sae.W_dec_FD.copy_(config.initial_directions(sample.input_TD, sae.num_latents, seed=seed))
        sae.W_enc_FD.copy_(sae.W_dec_FD)
        sae.b_enc_F.copy_(-(sae.W_enc_FD @ sample.input_TD.mean(0)))
        sae.b_dec_D.copy_(sample.target_TD.mean(0))
        sae.start(sample.input_TD)
        return sae

    @property
    def row_lengths_F(self) -> Tensor:
        return self.site_lengths_SF.sum(0)

    @property
    def site_lengths_SF(self) -> Tensor:
        """Length of what one unit of each latent adds at each site."""
        return torch.stack([torch.linalg.vector_norm(rows_FC, dim=1) for rows_FC in self.site_directions])

    @property
    def site_directions(self) -> tuple[Tensor, ...]:
        """What one unit of each latent adds, [F, C] for each site."""
        assert self.config.site_widths is not None
        return torch.split(self.W_dec_FD, list(self.config.site_widths), dim=1)
