"""Arithmetic that architectures share, as plain functions. T tokens, D model width, F latents."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from typing import TypeVar

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.seeds import generator
from lexiscope.saes.kernels.error import mean_square
from lexiscope.saes.kernels.select import select_batch_topk

Result = TypeVar("Result")

FEW_PAIRS = 2**14
"""Comparisons that are faster than a table of all latents."""


def mean_square_error(output_TD: Tensor, target_TD: Tensor) -> Tensor:
    """‖x̂ - x‖² / D, mean over tokens. On activations with mean ‖x‖² = D about zero it is the FVU, 0 to about 1."""
    return mean_square(output_TD, target_TD)


def random_directions(num_latents: int, width: int, *, seed: int) -> Tensor:
    """Unit vectors uniform on the sphere, float32 [F, D]."""
    rows_FD = torch.randn(num_latents, width, generator=generator(seed, "directions"))
    make_unit_rows(rows_FD)
    return rows_FD


@torch.no_grad()
def make_unit_rows(W_FD: Tensor) -> None:
    """Scale every row to length 1, in place; a row of zeros stays."""
    W_FD.div_(W_FD.norm(dim=1, keepdim=True).clamp_min(torch.finfo(W_FD.dtype).tiny))


@torch.no_grad()
def floor_for_l0(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, l0: float) -> float:
    """The number that ``l0`` scores x · Wᵀ + b of a token exceed, in the mean: half-way to the next smaller score."""
    cells = len(x_TD) * len(W_FD)
    budget = min(round(l0 * len(x_TD)), cells - 1)
    lift, spread = 0.0, float(torch.linalg.vector_norm(x_TD @ W_FD[:64].t() + b_F[:64])) / len(x_TD) ** 0.5
    while True:  # the search sees positive scores only: lift them until there are enough
        codes = select_batch_topk(x_TD, W_FD, b_F + lift, (budget + 1) / len(x_TD))
        if len(codes) > budget:
            return float(codes.values.topk(min(2, budget + 1), largest=False).values.double().mean()) - lift
        lift = max(2 * lift, spread, 1e-3)


@torch.no_grad()
def ranks(codes: SparseCodes) -> Tensor:
    """How many entries of the same token are larger, int64 [N]; of equal ones the first counts as larger."""
    tokens_N = codes.tokens()
    places_N = torch.arange(len(codes), device=tokens_N.device) - codes.offsets[tokens_N]
    most = int(codes.counts().max()) if codes.num_tokens else 0
    values_TK = codes.values.new_full((codes.num_tokens, most), -torch.inf)
    values_TK[tokens_N, places_N] = codes.values
    order_TK = values_TK.argsort(dim=1, descending=True, stable=True)
    ranks_TK = torch.empty_like(order_TK).scatter_(
        1, order_TK, torch.arange(most, device=tokens_N.device).expand_as(order_TK)
    )
    return ranks_TK[tokens_N, places_N]


def without_gradients(function: Callable[[Tensor], Result]) -> Callable[[Tensor], Result]:
    """As `torch.no_grad`, which takes its time even where there are none."""

    @functools.wraps(function)
    def call(x_TD: Tensor) -> Result:
        if not torch.is_grad_enabled():
            return function(x_TD)
        with torch.no_grad():
            return function(x_TD)

    return call


def columns(codes: SparseCodes, latents: Sequence[int]) -> Tensor:
    """Activations of some latents on every token, [T, J]."""
    out_TJ = codes.values.new_zeros(codes.num_tokens, len(latents))
    if not len(latents):
        return out_TJ
    if codes.num_tokens == 1 and codes.latents.is_cpu:
        place = {latent: entry for entry, latent in enumerate(codes.latents.tolist())}
        for column, latent in enumerate(latents):
            if latent in place:
                out_TJ[0, column] = codes.values[place[latent]]
        return out_TJ
    wanted_J = torch.tensor(latents, device=codes.latents.device)
    if len(codes) * len(latents) <= FEW_PAIRS:
        mine_N, columns_N = (codes.latents[:, None] == wanted_J).nonzero(as_tuple=True)
    else:
        column_F = wanted_J.new_full((codes.num_latents,), -1)
        column_F[wanted_J] = torch.arange(len(latents), device=wanted_J.device)
        mine_N = (column_F[codes.latents] >= 0).nonzero()[:, 0]
        columns_N = column_F[codes.latents[mine_N]]
    if len(mine_N):
        out_TJ[codes.tokens()[mine_N], columns_N] = codes.values[mine_N]
    return out_TJ


def signed_codes(z_TD: Tensor, k: int | None) -> SparseCodes:
    """Coordinates as 2 D latents: latent i is the positive part of coordinate i, latent D + i its negative part.

    ``k`` keeps the coordinates of largest magnitude in every row; None keeps all that are not zero.
    """
    num_axes = z_TD.shape[1]
    if k is None:
        latents_TD = torch.arange(num_axes, device=z_TD.device) + num_axes * (z_TD < 0)
        return SparseCodes.from_topk(z_TD.abs(), latents_TD, 2 * num_axes)
    sizes_TK, axes_TK = z_TD.abs().topk(min(k, num_axes), dim=1, sorted=False)
    latents_TK = axes_TK + num_axes * (z_TD.gather(1, axes_TK) < 0)
    return SparseCodes.from_topk(sizes_TK, latents_TK, 2 * num_axes)
