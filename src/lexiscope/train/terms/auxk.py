"""AuxK: dead latents learn to reconstruct what the live ones leave.

    AuxK = coefficient · Σ ‖e - ê‖² / Σ ‖e - ē‖²,   e = x - x̂,   ê = W_decᵀ f_dead

f_dead are the k_aux largest scores among latents that are dead, or quiet for so long that they may become so; ê has no
bias, because e has none. The error and b_dec are constants to it, so that only these latents learn from it.

Source: Gao et al. 2024, "Scaling and evaluating sparse autoencoders", appendix A.2 (coefficient 1/32, k_aux ≈ D / 2).
T tokens, D model width, F latents, G of them dead.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor, nn

from lexiscope.core.codes import SparseCodes
from lexiscope.saes import Batch, SparseAutoencoder, TrainingState
from lexiscope.saes.kernels.subset import subset_error
from lexiscope.train.terms.term import Term, TermConfig, linear


class Config(TermConfig):
    coefficient: float = Field(1 / 32, ge=0)
    """Weight against the reconstruction."""
    k_aux: int | None = Field(None, ge=1)
    """Dead latents that reconstruct each token's error. None: half the model width."""


class AuxK(Term):
    config: Config
    config_type: ClassVar[type[Config]] = Config

    def __init__(self, config: Config, sae: SparseAutoencoder) -> None:
        super().__init__(config, sae)
        self.dictionary = linear(sae, "auxk")
        self._found: list[tuple[nn.Parameter, Tensor, Tensor]] = []

    @torch.no_grad()
    def losses(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, state: TrainingState) -> dict[str, Tensor]:  # noqa: ARG002
        """Without a graph: `add_gradients` has what a backward pass would find, for the rows of dead latents only."""
        self._found.clear()
        dead_G = (state.dead_F if state.quiet_F is None else state.quiet_F).nonzero().flatten()
        if not len(dead_G) or self.config.coefficient == 0:
            return {}
        sae = self.dictionary
        error_TD = batch.target_TD - output_TD
        variance = (error_TD - error_TD.mean(0)).square().sum()
        if not variance > 0:
            return {"auxk": variance}
        weights = sae.W_enc_FD, sae.b_enc_F, sae.W_dec_FD
        k_aux = self.config.k_aux or max(1, sae.width // 2)
        W_enc_GD, b_enc_G, W_dec_GD = (weight.index_select(0, dead_G) for weight in weights)
        error, *grads = subset_error(batch.input_TD - sae.centre_D, error_TD, W_enc_GD, b_enc_G, W_dec_GD, k_aux)
        scale = self.config.coefficient / variance
        self._found = [(weight, dead_G, scale * grad) for weight, grad in zip(weights, grads, strict=True)]
        return {"auxk": scale * error}

    @torch.no_grad()
    def add_gradients(self) -> None:
        for weight, dead_G, rows in self._found:
            if weight.grad is None:
                weight.grad = torch.zeros_like(weight)
            weight.grad.index_add_(0, dead_G, rows)
        self._found.clear()
