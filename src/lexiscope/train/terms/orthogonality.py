"""Orthogonality: decoder rows are pushed away from the row that is most like them.

    orthogonality = coefficient · mean over latents i of max_{j ≠ i} cos²(w_i, w_j)

A general latent and its special cases, or two halves of one feature, would otherwise share a direction. The maximum is
taken among the latents of the same chunk; at every step latents are dealt into chunks anew, so that all pairs meet in
time and the [F, F] matrix never exists: the search costs 2 · F · chunk · D operations, forward only.

Source: Korznikov et al. 2025, "OrtSAE: orthogonal sparse autoencoders uncover atomic features".
D width of what is written, F latents, C latents of a chunk.
"""

from __future__ import annotations

from typing import ClassVar

import torch
from pydantic import Field
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.core.seeds import generator
from lexiscope.saes import Batch, SparseAutoencoder, TrainingState
from lexiscope.train.terms.term import Term, TermConfig


class Config(TermConfig):
    coefficient: float = Field(0.25, ge=0)
    """Weight against the reconstruction."""
    chunk_latents: int = Field(1024, ge=2)
    """Latents that are compared with each other at a step, at least."""


class Orthogonality(Term):
    config: Config
    config_type: ClassVar[type[Config]] = Config

    def __init__(self, config: Config, sae: SparseAutoencoder) -> None:
        super().__init__(config, sae)
        if not sae.directions_FD.requires_grad:
            raise InputError(
                f"orthogonality needs decoder rows that learn, which {sae.config.architecture} has not; leave it out"
            )

    def losses(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, state: TrainingState) -> dict[str, Tensor]:  # noqa: ARG002
        if self.config.coefficient == 0 or self.sae.num_latents < 2:
            return {}
        rows_FD = torch.nn.functional.normalize(self.sae.directions_FD, dim=1)
        nearest_F = self._nearest(rows_FD.detach(), state.step)
        cosines_F = (rows_FD * torch.nn.functional.embedding(nearest_F, rows_FD)).sum(1)
        return {"orthogonality": self.config.coefficient * cosines_F.square().mean()}

    def _nearest(self, rows_FD: Tensor, step: int) -> Tensor:
        """For every latent the other one of its chunk with the largest cos²."""
        num_latents = len(rows_FD)
        dealt_F = torch.randperm(num_latents, generator=generator(0, "orthogonality", step)).to(rows_FD.device)
        nearest_F = torch.empty_like(dealt_F)
        for chunk_C in dealt_F.tensor_split(max(1, num_latents // self.config.chunk_latents)):
            chunk_CD = rows_FD[chunk_C]
            cosines_CC = (chunk_CD @ chunk_CD.T).abs_().fill_diagonal_(-1)
            nearest_F[chunk_C] = chunk_C[cosines_CC.argmax(1)]
        return nearest_F
