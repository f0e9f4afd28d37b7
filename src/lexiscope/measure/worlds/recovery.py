"""How much of a world's truth a dictionary found: its directions, and what they explain on held-out activations.

| number | formula | range | better | random dictionary | untrained |
| --- | --- | --- | --- | --- | --- |
| ``mmcs`` | mean over true features g of max_f cos(d_g, w_f) | -1 to 1 | higher | below sqrt(2 ln F / D) | same |
| ``mmcs_learned`` | mean over latents f of max_g cos(d_g, w_f) | -1 to 1 | higher | below sqrt(2 ln G / D) | same |
| ``recovered`` | share of true features with max_f cos > 0.9 | 0 to 1 | higher | 0 | 0 |
| ``uniqueness`` | distinct features matched / latents that match one above 0.9 | 0 to 1 | higher | NaN | NaN |
| ``fve`` | 1 - Σ ‖x - x̂‖² / Σ ‖x - x̄‖² | up to 1 | higher | about 0 | about 0 or below |
| ``l0`` | latents per token | 0 to F | neither | k | k |
| ``dead`` | share of latents silent on all measured tokens | 0 to 1 | lower | mostly 0 | mostly 0 |

A direction counts with its sign, and by its direction alone: lengths do not matter, and a row of zeros has cosine 0 to
everything. MMCS rewards a large dictionary, so compare equal F; F < G bounds ``recovered`` by F / G. ``uniqueness`` 1
means that no feature was learned twice.

Source of MMCS: Sharkey, Braun and Millidge 2022, "Taking features out of superposition with sparse autoencoders".
T tokens, D width, F latents, G true features.
"""

from __future__ import annotations

from itertools import islice
from typing import NamedTuple, Protocol

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.measure.metric import Reconstruction
from lexiscope.measure.metrics.dead_fraction import DeadFraction
from lexiscope.measure.metrics.fvu import Fvu
from lexiscope.measure.metrics.l0 import L0
from lexiscope.measure.worlds.linear import LinearWorld

RECOVERED_COSINE = 0.9
"""A true feature with a latent closer than this counts as recovered."""


class Dictionary(Protocol):
    """What is judged: any `lexiscope.saes.SparseAutoencoder`, or another library's behind these three."""

    @property
    def directions_FD(self) -> Tensor: ...
    def encode(self, x_TD: Tensor) -> SparseCodes: ...
    def decode(self, codes: SparseCodes) -> Tensor: ...


class Matches(NamedTuple):
    """Largest cosines between true and learned directions, and where they are."""

    of_true_G: Tensor
    of_learned_F: Tensor
    feature_of_learned_F: Tensor

    @property
    def mmcs(self) -> float:
        return self.of_true_G.mean().item()

    @property
    def mmcs_learned(self) -> float:
        return self.of_learned_F.mean().item()

    @property
    def recovered(self) -> float:
        return (self.of_true_G > RECOVERED_COSINE).double().mean().item()

    @property
    def uniqueness(self) -> float:
        matched = self.feature_of_learned_F[self.of_learned_F > RECOVERED_COSINE]
        return len(set(matched.tolist())) / len(matched) if len(matched) else float("nan")


class Recovery(NamedTuple):
    """What the table at the top of this file explains."""

    mmcs: float
    mmcs_learned: float
    recovered: float
    uniqueness: float
    fve: float
    l0: float
    dead: float


@torch.no_grad()
def match(true_GD: Tensor, learned_FD: Tensor, *, block: int = 4096) -> Matches:
    """Compare every pair of directions, a block of latents at a time."""
    true_GD = _unit(true_GD)
    of_true_G = torch.full((len(true_GD),), -1.0)
    of_learned, features = [], []
    for first in range(0, len(learned_FD), block):
        cosines_FG = _unit(learned_FD[first : first + block]) @ true_GD.T
        of_true_G = torch.maximum(of_true_G, cosines_FG.amax(0))
        largest_F, feature_F = cosines_FG.max(1)
        of_learned.append(largest_F)
        features.append(feature_F)
    return Matches(of_true_G, torch.cat(of_learned), torch.cat(features))


@torch.no_grad()
def score(world: LinearWorld, dictionary: Dictionary, *, tokens: int = 131_072, seed: int = 0) -> Recovery:
    """Judge a dictionary on so many held-out activations of the world it was trained on."""
    found = match(world.directions_GD, dictionary.directions_FD)
    metrics = (Fvu(), L0(), DeadFraction())
    for metric in metrics:
        metric.start()
    size = min(tokens, 4096)
    for x_TD in islice(world.batches(world.hooks[0], batch_tokens=size, seed=seed, split="heldout"), tokens // size):
        codes = dictionary.encode(x_TD)
        one_document = torch.zeros(len(x_TD), dtype=torch.int64)
        seen = Reconstruction(x_TD, codes, dictionary.decode(codes), one_document)
        for metric in metrics:
            metric.add(seen)
    fvu, l0, dead = (metric.finish() for metric in metrics)
    return Recovery(found.mmcs, found.mmcs_learned, found.recovered, found.uniqueness, 1 - fvu, l0, dead)


def _unit(rows_XD: Tensor) -> Tensor:
    lengths_X1: Tensor = torch.linalg.vector_norm(rows_XD, dim=1, keepdim=True)
    return rows_XD / lengths_X1.clamp_min(torch.finfo(rows_XD.dtype).tiny)
