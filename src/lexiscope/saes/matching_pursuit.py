"""Matching pursuit: latents are taken one after another, each the best for what is left.

    r_0 = x - b,   f_j = argmax_f ⟨r_{j-1}, w_f⟩,   v_j = ⟨r_{j-1}, w_{f_j}⟩,   r_j = r_{j-1} - v_j w_{f_j}
    x̂ = b + Σ_j v_j w_{f_j} = x - r_k,   L = ‖r_k‖² / D

One dictionary W encodes and decodes, its rows of length 1. A latent that was taken may be taken again; its values add
up. A token stops early when nothing has a positive product with what is left. Gradients are those of the loop above
with the chosen latents held fixed.

What a step costs: k searches over all latents where TopK has one. Where W Wᵀ fits (`GRAM_CELLS`) and there are tokens
enough to pay for it, a search is a subtraction of k rows of it from the first scores instead of a matrix product; the
values are products with the true residual either way. See `docs/log.md` for figures.

Source: Costa et al. 2025, "From flat to hierarchical: extracting sparse representations with matching pursuit"; Mallat
and Zhang 1993. T tokens, D model width, F latents, K steps, B tokens of a block.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar, Literal, NamedTuple, Self

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.affine import Affine
from lexiscope.saes.base import Batch, SparseAutoencoder, TrainingState
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.kernels.gather import weighted_columns
from lexiscope.saes.kernels.select import select_topk
from lexiscope.saes.parts import mean_square_error
from lexiscope.saes.settings import SizedConfig

GRAM_CELLS = 2**27
"""512 MB of fp32: the largest W Wᵀ, at F = 11,585."""
SCORES_PER_BLOCK = 2**21
"""8 MB of fp32 scores that are updated in cache."""
BLOCK_CELLS = 2**24
"""64 MB of fp32: gradients of the chosen rows, [K, B, D], before they are added up."""


class Config(SizedConfig):
    architecture: Literal["matching_pursuit"] = "matching_pursuit"
    k: int = Field(32, ge=1)
    """Steps; at most so many latents fire on a token."""

    @property
    def fixed_l0(self) -> float:
        return self.k

    @property
    def bears_high_rates(self) -> bool:
        return True


class MatchingPursuit(SparseAutoencoder):
    config: Config
    config_type: ClassVar[type[Config]] = Config

    def __init__(self, config: Config, width: int, output_width: int | None = None) -> None:
        super().__init__(config, width, output_width)
        self.W_FD = nn.Parameter(torch.zeros(self.num_latents, width))
        self.b_D = nn.Parameter(torch.zeros(width))

    @classmethod
    @torch.no_grad()
    def from_sample(cls, config: Config, sample: Batch, *, seed: int = 0) -> Self:
        """Directions as ``init`` says around the mean of the sample."""
        sae = cls(config, sample.input_TD.shape[1])
        sae.W_FD.copy_(config.initial_directions(sample.input_TD, sae.num_latents, seed=seed))
        sae.b_D.copy_(sample.input_TD.mean(0))
        return sae

    def encode(self, x_TD: Tensor) -> SparseCodes:
        with torch.no_grad():
            way = pursue(x_TD - self.b_D, self.W_FD, self.config.k)
        values_KT = _Values.apply(x_TD, self.b_D, self.W_FD, *way)  # type: ignore[no-untyped-call]
        return _gathered(way.latents_KT.T, values_KT.T, self.num_latents)

    def decode(self, codes: SparseCodes) -> Tensor:
        return decode_rows(codes, self.W_FD, self.b_D)

    def losses(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, state: TrainingState) -> dict[str, Tensor]:  # noqa: ARG002
        return {"reconstruction": mean_square_error(output_TD, batch.target_TD)}

    @property
    def unit_rows(self) -> tuple[nn.Parameter, ...]:
        return (self.W_FD,)

    @torch.no_grad()
    def absorb(self, source: Affine, target: Affine) -> None:
        """Projections are homogeneous: only the centre has units."""
        self.b_D.div_(source.scale).add_(target.centre_D)

    @property
    def directions_FD(self) -> Tensor:
        return self.W_FD


class Way(NamedTuple):
    """Which latent each step takes on each token (-1: nothing has a positive product), its value, what is left."""

    latents_KT: Tensor
    values_KT: Tensor
    residual_TD: Tensor


def pursue(residual_TD: Tensor, W_FD: Tensor, k: int) -> Way:
    """Up to k steps from the residual at the start."""
    num_tokens, num_latents = len(residual_TD), len(W_FD)
    latents_KT = torch.full((k, num_tokens), -1, device=residual_TD.device)
    way = Way(latents_KT, residual_TD.new_zeros(k, num_tokens), residual_TD.clone())
    if num_latents**2 <= GRAM_CELLS and num_tokens * k > num_latents:
        gram_FF = W_FD @ W_FD.T
        size = max(1, SCORES_PER_BLOCK // num_latents)
        for first in range(0, num_tokens, size):
            block = _part(way, slice(first, first + size))
            _take_steps(block, W_FD, _search_scores(block.residual_TD @ W_FD.T, gram_FF))
    else:
        _take_steps(way, W_FD, _search_residual(W_FD))
    return way


Search = Callable[[Tensor, Tensor | None, Tensor | None], Tensor]
"""From the residual, the latents just taken and their values to the latents to take next."""


def _take_steps(way: Way, W_FD: Tensor, search: Search) -> None:
    """Fill it in, in place."""
    latents_T: Tensor | None = None
    values_T: Tensor | None = None
    for step in range(len(way.latents_KT)):
        latents_T = search(way.residual_TD, latents_T, values_T)
        rows_TD = W_FD[latents_T.clamp_min(0)]
        values_T = torch.linalg.vecdot(way.residual_TD, rows_TD) * (latents_T >= 0)
        way.residual_TD.addcmul_(rows_TD, values_T[:, None], value=-1)
        way.latents_KT[step], way.values_KT[step] = latents_T, values_T


def _search_residual(W_FD: Tensor) -> Search:
    """Scores of every residual, by the kernel of TopK."""
    nothing_F = W_FD.new_zeros(len(W_FD))

    def search(residual_TD: Tensor, _latents_T: Tensor | None, _values_T: Tensor | None) -> Tensor:
        best = select_topk(residual_TD, W_FD, nothing_F, 1)
        next_T = best.latents.new_full((len(residual_TD),), -1)
        next_T[best.counts() > 0] = best.latents
        return next_T

    return search


def _search_scores(scores_TF: Tensor, gram_FF: Tensor) -> Search:
    """Scores follow the residual: ⟨r - v w_f, w_g⟩ = ⟨r, w_g⟩ - v ⟨w_f, w_g⟩."""

    def search(_residual_TD: Tensor, latents_T: Tensor | None, values_T: Tensor | None) -> Tensor:
        if latents_T is not None and values_T is not None:
            scores_TF.addcmul_(gram_FF[latents_T.clamp_min(0)], values_T[:, None], value=-1)
        best = scores_TF.max(1)
        next_T: Tensor = torch.where(best.values > 0, best.indices, -1)
        return next_T

    return search


def _part(way: Way, tokens: slice) -> Way:
    return Way(way.latents_KT[:, tokens], way.values_KT[:, tokens], way.residual_TD[tokens])


class _Values(torch.autograd.Function):
    """Values of the latents that were chosen; they are known already, so forward is free."""

    @staticmethod
    def forward(
        ctx: Any, _x_TD: Tensor, _b_D: Tensor, W_FD: Tensor, latents_KT: Tensor, values_KT: Tensor, residual_TD: Tensor
    ) -> Tensor:
        ctx.save_for_backward(W_FD, latents_KT, values_KT, residual_TD)
        return values_KT.view_as(values_KT)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad_KT: Tensor) -> tuple[Tensor | None, ...]:
        W_FD, *way = ctx.saved_tensors
        start_TD = torch.zeros_like(way[2])
        grad_W = torch.zeros_like(W_FD) if ctx.needs_input_grad[2] else None
        size = max(1, BLOCK_CELLS // max(1, len(grad_KT) * W_FD.shape[1]))
        for first in range(0, len(start_TD), size):
            tokens = slice(first, first + size)
            block = _part(Way(*way), tokens)
            rows_KBD = _unroll(block, W_FD, grad_KT[:, tokens], start_TD[tokens])
            if grad_W is not None:
                grad_W += _add_up(rows_KBD, block.latents_KT, len(W_FD))
        return start_TD, -start_TD.sum(0), grad_W, None, None, None


def _unroll(way: Way, W_FD: Tensor, grad_KB: Tensor, rho_BD: Tensor) -> Tensor:
    """The steps backwards: gradients of the rows taken, [K, B, D]; rho, dL/dr_K at first, becomes dL/dr_0.

    a = dL/dv_j - ⟨rho, w⟩ is all that v_j moves; then dL/dw = a r_{j-1} - v_j rho, and dL/dr_{j-1} = rho + a w.
    """
    residual_BD = way.residual_TD.clone()
    rows_KBD = residual_BD.new_empty(*grad_KB.shape, residual_BD.shape[1])
    for step in reversed(range(len(grad_KB))):
        latents_B, values_B1 = way.latents_KT[step], way.values_KT[step][:, None]
        chosen_BD = W_FD[latents_B.clamp_min(0)]
        a_B1 = ((grad_KB[step] - torch.linalg.vecdot(rho_BD, chosen_BD)) * (latents_B >= 0))[:, None]
        residual_BD.addcmul_(chosen_BD, values_B1)
        torch.mul(residual_BD, a_B1, out=rows_KBD[step]).addcmul_(rho_BD, values_B1, value=-1)
        rho_BD.addcmul_(chosen_BD, a_B1)
    return rows_KBD


def _add_up(rows_KBD: Tensor, latents_KB: Tensor, num_latents: int) -> Tensor:
    """Σ of the rows of each latent, [F, D]."""
    taken_N = latents_KB.flatten() >= 0
    offsets = torch.zeros(len(taken_N) + 1, dtype=torch.int64, device=taken_N.device)
    torch.cumsum(taken_N, 0, out=offsets[1:])
    latents_N = latents_KB.flatten()[taken_N]
    ones_N = rows_KBD.new_ones(len(latents_N))
    return weighted_columns(rows_KBD.flatten(0, 1), latents_N, offsets, ones_N, num_latents)


def _gathered(latents_TK: Tensor, values_TK: Tensor, num_latents: int) -> SparseCodes:
    """Codes in which a latent that was taken several times stands once, with the sum of its values."""
    latents_TK, order_TK = latents_TK.sort(dim=1)
    taken_TK = latents_TK >= 0
    first_TK = taken_TK.clone()
    first_TK[:, 1:] &= latents_TK[:, 1:] != latents_TK[:, :-1]
    entry_N = (first_TK.flatten().cumsum(0) - 1)[taken_TK.flatten()]
    values_N = values_TK.gather(1, order_TK)[taken_TK]
    merged_N = values_N.new_zeros(int(first_TK.sum())).index_add(0, entry_N, values_N)
    offsets = torch.zeros(len(latents_TK) + 1, dtype=torch.int64, device=latents_TK.device)
    torch.cumsum(first_TK.sum(1), 0, out=offsets[1:])
    return SparseCodes(offsets, latents_TK[first_TK], merged_N, num_latents)
