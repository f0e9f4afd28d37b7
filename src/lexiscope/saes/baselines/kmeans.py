"""k-means on the sphere: one latent fires on each token, the direction nearest to it, as strongly as fits best.

    i = argmax_j ⟨x - μ, c_j⟩,   f_i = ReLU(⟨x - μ, c_i⟩),   x̂ = μ + f_i c_i,   ‖c_j‖ = 1

L0 is 1. Given who belongs to whom and f, the best c_j is Σ f x over its tokens, scaled to length 1; given the c_j, the
best i and f are the ones above. Both steps lower Σ ‖x - x̂‖². A direction that nobody is nearest to moves to the token
that is explained worst.

Source: Coates and Ng 2012, "Learning feature representations with k-means". T tokens, D model width, F latents.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.saes.baselines.fixed import Fixed
from lexiscope.saes.initialise import Init
from lexiscope.saes.kernels.encode import encode_topk
from lexiscope.saes.parts import make_unit_rows
from lexiscope.saes.settings import SizedConfig


class Config(SizedConfig):
    architecture: Literal["kmeans"] = "kmeans"
    init: Init = "data"
    max_steps: int = Field(30, ge=1)
    """Rounds at most; fewer if directions come to rest."""
    tolerance: float = Field(1e-6, gt=0)
    """They rest when none turns by more: 1 - cos."""


class KMeans(Fixed):
    config: Config
    config_type: ClassVar[type[Config]] = Config
    centres_FD: Tensor

    def __init__(self, config: Config, width: int, output_width: int | None = None) -> None:
        super().__init__(config, width, output_width)
        self.register_buffer("centres_FD", torch.zeros(self.num_latents, width))

    def fit(self, x_TD: Tensor, seed: int) -> None:
        if len(x_TD) < self.num_latents:
            raise InputError(
                f"k-means with {self.num_latents:,} latents needs as many activations, but there are {len(x_TD):,}; "
                "give a larger sample, or a smaller num_latents"
            )
        centred_TD = self.centre(x_TD).float()
        self.centres_FD.copy_(self.config.initial_directions(x_TD, self.num_latents, seed=seed))
        for _ in range(self.config.max_steps):
            strength_T, nearest_T = self._nearest(centred_TD)
            sums_FD = torch.zeros_like(self.centres_FD).index_add_(0, nearest_T, strength_T[:, None] * centred_TD)
            lonely = (sums_FD == 0).all(1).nonzero().flatten()
            if len(lonely):
                unexplained_T = centred_TD.square().sum(1) - strength_T.square()
                sums_FD[lonely] = centred_TD[unexplained_T.topk(len(lonely)).indices]
            make_unit_rows(sums_FD)
            turned_F = 1 - torch.linalg.vecdot(sums_FD, self.centres_FD)
            self.centres_FD.copy_(sums_FD)
            if turned_F.max() < self.config.tolerance:
                break

    def _nearest(self, centred_TD: Tensor) -> tuple[Tensor, Tensor]:
        parts = [(block_TD @ self.centres_FD.T).max(1) for block_TD in torch.split(centred_TD, 1024)]
        strengths, nearest = (torch.cat(list(part)) for part in zip(*parts, strict=True))
        return strengths.relu(), nearest

    def encode(self, x_TD: Tensor) -> SparseCodes:
        return encode_topk(x_TD, self.mean_D, self.centres_FD, self.centres_FD.new_zeros(self.num_latents), 1)

    @property
    def directions_FD(self) -> Tensor:
        return self.centres_FD
