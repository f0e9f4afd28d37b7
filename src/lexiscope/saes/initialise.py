"""Directions that a dictionary starts with. Latents that nothing calls upon at the start die before they learn.

    random      uniform on the sphere
    balanced    uniform on the sphere where activations are white, and taken from there: a score ⟨w, x⟩ then owes as
                much to one principal direction as to another, and no outlier dimension decides which latents fire
    subspace    uniform on the sphere of the leading principal subspace, the smallest with the asked-for share of the
                variance: what activations hardly use gets no latents (arXiv:2508.16929, active subspace initialisation)
    data        an activation about the mean, scaled to length 1, mixed with a random direction so that no two are the
                same: every latent has a token to fire on from the first step

Rows have length 1. The encoder starts as the decoder wherever both live in one space. T tokens, D model width, F
latents, S dimensions of a subspace.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lexiscope.core.seeds import generator
from lexiscope.saes.parts import make_unit_rows, random_directions

Init = Literal["random", "balanced", "subspace", "data"]

VARIANCE_SHARE = 0.99
"""Of the leading principal subspace, unless asked otherwise. In attention outputs of language models 60 % of the
dimensions hold so much (arXiv:2508.16929)."""
DATA_SHARE = 0.8
"""Weight of the activation against the random direction, both of length 1."""


class Spectrum(NamedTuple):
    """Principal directions, largest variance first; float64."""

    variances_D: Tensor
    axes_DD: Tensor
    """Orthonormal rows."""


def initial_directions(
    init: Init, sample_TD: Tensor, num_latents: int, *, variance_share: float | None = None, seed: int = 0
) -> Tensor:
    """Unit rows, float32 [F, D]. The same seed takes the same tokens from samples of several places."""
    width = sample_TD.shape[1]
    if init == "random":
        return random_directions(num_latents, width, seed=seed)
    if init == "balanced":
        rows_FD = random_directions(num_latents, width, seed=seed) @ whitening(spectrum(sample_TD))
    elif init == "subspace":
        axes_SD = principal_subspace(spectrum(sample_TD), variance_share or VARIANCE_SHARE)
        rows_FD = random_directions(num_latents, len(axes_SD), seed=seed) @ axes_SD
    else:
        rows_FD = random_directions(num_latents, width, seed=seed).mul_(1 - DATA_SHARE)
        rows_FD += DATA_SHARE * _activations(sample_TD.cpu(), num_latents, seed)
    make_unit_rows(rows_FD)
    return rows_FD


def spectrum(sample_TD: Tensor) -> Spectrum:
    """Of activations about their mean."""
    width = sample_TD.shape[1]
    sum_D, products_DD = (torch.zeros(shape, dtype=torch.float64) for shape in (width, (width, width)))
    for start in range(0, len(sample_TD), 1024):  # a copy of the sample in float64 would be the peak of a run
        part_TD = sample_TD[start : start + 1024].cpu().double()
        sum_D += part_TD.sum(0)
        products_DD += part_TD.T @ part_TD
    mean_D = sum_D / len(sample_TD)
    covariance_DD = products_DD / len(sample_TD) - torch.outer(mean_D, mean_D)
    variances_D, axes_DD = torch.linalg.eigh(covariance_DD)
    return Spectrum(variances_D.flip(0).clamp_min(0), axes_DD.T.flip(0))


def whitening(found: Spectrum) -> Tensor:
    """C^-1/2 of the covariance C, float32 [D, D]; variances below the median count as the median."""
    deviations_D = found.variances_D.clamp_min(found.variances_D.median()).sqrt()
    scales_D = 1 / deviations_D.clamp_min(torch.finfo(torch.float32).tiny)
    return ((found.axes_DD.T * scales_D) @ found.axes_DD).float()


def principal_subspace(found: Spectrum, share: float) -> Tensor:
    """The fewest principal directions that hold this share of the variance, orthonormal rows, float32 [S, D]."""
    enough_D = found.variances_D.cumsum(0) >= share * found.variances_D.sum() * (1 - 1e-12)
    return found.axes_DD[: 1 + int((~enough_D).sum())].float()


def _activations(sample_TD: Tensor, num_latents: int, seed: int) -> Tensor:
    """Unit rows, every token once before any comes twice."""
    draw = generator(seed, "activations")
    rounds = -(-num_latents // len(sample_TD))
    chosen = torch.cat([torch.randperm(len(sample_TD), generator=draw) for _ in range(rounds)])[:num_latents]
    rows_FD = (sample_TD[chosen] - sample_TD.mean(0)).float()
    make_unit_rows(rows_FD)
    return rows_FD
