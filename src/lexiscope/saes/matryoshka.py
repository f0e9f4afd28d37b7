"""Matryoshka: nested dictionaries in one. The first latents have to reconstruct alone, then more of them, then all.

    f = activation(W_enc (x - b_dec) + b_enc),   x̂_m = W_dec[:m]ᵀ f[:m] + b_dec
    L = Σ_m w_m ‖x - x̂_m‖² / D  over prefixes m of the F latents,   Σ_m w_m = 1

Early latents then stay general instead of leaving their exceptions to special ones. Each latent is decoded once: a
prefix adds its new latents to the prefix before it (`lexiscope.saes.nested`). Any activation function serves; its own
penalties are added.

Sources: Bussmann et al. 2025, "Learning multi-level features with Matryoshka sparse autoencoders"; Nabeshima 2024,
"Matryoshka sparse autoencoders"; weights: Chanin et al. 2025, "Feature hedging" (balanced Matryoshka).
T tokens, D model width, F latents, M prefixes.
"""

from __future__ import annotations

from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.saes import activation
from lexiscope.saes.base import Batch, TrainingState
from lexiscope.saes.dictionary import LinearDictionary
from lexiscope.saes.nested import nested_error
from lexiscope.saes.registry import ActivatedConfig, AnyActivation, make_activation, read_activation


class Config(ActivatedConfig):
    architecture: Literal["matryoshka"] = "matryoshka"
    activation: AnyActivation = Field(default_factory=lambda: read_activation("batch_topk"))
    """Which latents fire: ``{ name = "batch_topk", k = 32 }``."""
    prefixes: tuple[int, ...] | None = None
    """Numbers of latents, rising; the whole dictionary always comes after them. None: by ``prefix_shares``."""
    prefix_shares: tuple[float, ...] = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
    """The same as shares of the latents."""
    prefix_weights: tuple[float, ...] | None = None
    """What the error of each prefix counts, the whole dictionary last; only ratios matter. None: all the same."""

    @model_validator(mode="after")
    def _nested(self) -> Self:
        given = self.prefix_shares if self.prefixes is None else self.prefixes
        if any(one >= next_one for one, next_one in zip((0, *given), given, strict=False)):
            raise ValueError("prefixes and prefix_shares rise, from above 0")
        if self.prefixes is None and given and given[-1] > 1:
            raise ValueError("prefix_shares are at most 1")
        if self.prefix_weights is not None and not (
            min(self.prefix_weights, default=0) >= 0 < sum(self.prefix_weights)
        ):
            raise ValueError("prefix_weights are not negative, and not all of them are 0")
        return self

    def sizes(self, num_latents: int) -> tuple[int, ...]:
        """Latents of every prefix, the whole dictionary last.

        Raises:
            InputError: a prefix is larger than the dictionary, or there is another number of weights.
        """
        if self.prefixes is None:
            given = {max(1, round(share * num_latents)) for share in self.prefix_shares}
        else:
            given = set(self.prefixes)
            if max(given, default=0) > num_latents:
                raise InputError(
                    f"a prefix of {max(given)} latents does not fit into {num_latents}; give smaller prefixes"
                )
        sizes = tuple(sorted({*given, num_latents}))
        if self.prefix_weights is not None and len(self.prefix_weights) != len(sizes):
            listed = ", ".join(map(str, sizes))
            raise InputError(f"there are {len(self.prefix_weights)} prefix_weights for prefixes of {listed} latents")
        return sizes


class Matryoshka(LinearDictionary):
    config: Config
    config_type: ClassVar[type[Config]] = Config

    def __init__(self, config: Config, width: int, output_width: int | None = None) -> None:
        super().__init__(config, width, output_width)
        self.sizes = config.sizes(self.num_latents)
        weights = config.prefix_weights or (1.0,) * len(self.sizes)
        self.weights = [weight / sum(weights) for weight in weights]

    def make_activation(self) -> activation.Activation:
        return make_activation(self.config.activation, self.num_latents)

    def losses(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, state: TrainingState) -> dict[str, Tensor]:
        edges = torch.tensor(self.sizes[:-1], device=codes.latents.device)
        group_N = torch.bucketize(codes.latents, edges, right=True)
        return {
            "reconstruction": nested_error(codes, group_N, self.weights, self.W_dec_FD, self.b_dec_D, batch.target_TD),
            **self.activation.penalties(self, batch, codes, output_TD, state),
        }
