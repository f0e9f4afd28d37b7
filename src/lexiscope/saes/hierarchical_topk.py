"""Hierarchical TopK: one dictionary that is good at every sparsity up to k.

    f = TopK(ReLU(W_enc (x - b_dec) + b_enc)), sorted by size on each token,   x̂_j = b_dec + Σ_{i ≤ j} f_i W_dec[i]
    L = mean over budgets j of ‖x - x̂_j‖² / D

The j largest latents of a token are what TopK with k = j would choose, so that ``at(j)`` is an autoencoder of L0 j. The
budgets share one decoding: each adds to the one before (`lexiscope.saes.nested`). Rows of W_dec have unit length.

Source: Balagansky et al. 2025, "Train one sparse autoencoder across multiple sparsity budgets to preserve
interpretability and accuracy"; all j = 1..k there. T tokens, D model width, F latents, N active entries.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import ClassVar, Literal, Self

import torch
from pydantic import Field, model_validator
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.saes import activation
from lexiscope.saes.base import Batch, SparseAutoencoder, TrainingState
from lexiscope.saes.dictionary import LinearDictionary
from lexiscope.saes.kernels.encode import encode_topk
from lexiscope.saes.nested import nested_error
from lexiscope.saes.parts import ranks
from lexiscope.saes.registry import make_activation, read_activation
from lexiscope.saes.settings import SizedConfig


class Config(SizedConfig):
    architecture: Literal["hierarchical_topk"] = "hierarchical_topk"
    k: int = Field(32, ge=1, le=2**16)
    """Latents that fire on each token, at most, while training: the largest budget."""
    k_used: int | None = Field(None, ge=1)
    """Latents that fire after training. None: ``k``."""
    budgets: tuple[int, ...] | Literal["all"] | None = None
    """Numbers of latents that have to reconstruct, rising; ``k`` always comes after them. None: 1, 2, 4, 8, …"""

    @model_validator(mode="after")
    def _within_k(self) -> Self:
        if self.k_used is not None and self.k_used > self.k:
            raise ValueError(f"k_used is {self.k_used}, but it is trained for at most k = {self.k}")
        edges = self.edges()
        if not all(low < high for low, high in zip((0, *edges), edges, strict=False)):
            raise ValueError("budgets rise from above 0, and none is above k")
        return self

    @property
    def remedies(self) -> tuple[str, ...]:
        return ("auxk",)

    @property
    def fixed_l0(self) -> float:
        return self.k

    @property
    def bears_high_rates(self) -> bool:
        return True

    def edges(self) -> tuple[int, ...]:
        """The budgets, ``k`` last."""
        if self.budgets == "all":
            return tuple(range(1, self.k + 1))
        given = tuple(2**power for power in range(self.k.bit_length())) if self.budgets is None else self.budgets
        return given if given and given[-1] == self.k else (*given, self.k)


class HierarchicalTopK(LinearDictionary):
    config: Config
    config_type: ClassVar[type[Config]] = Config

    def make_activation(self) -> activation.Activation:
        return make_activation(read_activation({"name": "topk", "k": self.config.k}), self.num_latents)

    def encode(self, x_TD: Tensor) -> SparseCodes:
        return self.encode_at(x_TD, self.config.k if self.training else self.config.k_used or self.config.k)

    def reader(self, latents: Sequence[int]) -> Callable[[Tensor], Tensor]:
        """The activation's own does not know how many latents are used."""
        return SparseAutoencoder.reader(self, latents)

    def encode_at(self, x_TD: Tensor, k: int) -> SparseCodes:
        """The k largest latents of every token."""
        return encode_topk(x_TD, self.centre_D, self.W_enc_FD, self.b_enc_F, k)

    def at(self, k: int) -> Self:
        """The same weights with another number of latents per token after training.

        Raises:
            InputError: more than it was trained for.
        """
        if not 1 <= k <= self.config.k:
            raise InputError(f"this autoencoder was trained for 1 to {self.config.k} latents per token, not {k}")
        view = copy.copy(self)
        view.config = self.config.model_copy(update={"k_used": k})
        return view

    def losses(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, state: TrainingState) -> dict[str, Tensor]:
        edges = self.config.edges()
        group_N = torch.bucketize(ranks(codes), torch.tensor(edges[:-1], device=codes.latents.device), right=True)
        weights = [1 / len(edges)] * len(edges)
        return {
            "reconstruction": nested_error(codes, group_N, weights, self.W_dec_FD, self.b_dec_D, batch.target_TD),
            **self.activation.penalties(self, batch, codes, output_TD, state),
        }
