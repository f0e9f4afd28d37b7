"""Alignment: which neurons or residual dimensions a feature's directions load on most, and how many it is spread over.

A loading is the cosine with what one unit of the neuron writes, its share the square of that. Dimensions of the place
itself are at right angles, so their shares add up to 1 over all of them: "40 %" means that this one dimension holds
40 % of the direction's squared length. Neurons of an MLP write directions that overlap, and there are more of them than
dimensions: their shares say how alike two directions are and add up to nothing. F features, D width, N neurons, K kept.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.feature import Real, Record
from lexiscope.index.live.contexts import Places
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.saes.parts import random_directions

_ROWS_AT_ONCE = 4096
_DRAWN = 512
"""Random directions that say what chance gives."""
Side = Literal["decoder", "encoder"]


class Loading(Record):
    """One neuron or dimension."""

    neuron: int
    cosine: Real
    share: Real
    """Square of the cosine."""


class ByChance(Record):
    """What directions drawn uniformly from the sphere have in the same basis."""

    share: Real
    """Largest share, mean over random directions."""
    share_high: Real
    """95 % of them have no larger one."""
    spread: Real
    """Mean. (D + 2) / 3 in theory, for D dimensions."""
    spread_low: Real
    """95 % of them are spread over more."""


class Aligned(Record):
    """One direction of a feature."""

    direction: Side
    basis: Literal["dimensions", "neurons"]
    """Of the place itself, or the neurons of the layer's MLP."""
    hook: str
    loadings: list[Loading]
    """Largest shares first."""
    spread: Real
    """Over how many dimensions the direction is spread, (Σ w²)² / Σ w⁴: 1 is one dimension, D all alike."""
    width: int
    """D."""
    by_chance: ByChance


class Loadings(NamedTuple):
    """The K largest shares of every feature."""

    neurons_FK: Tensor
    cosines_FK: Tensor


@torch.no_grad()
def loadings(directions_FD: Tensor, keep: int, basis_ND: Tensor | None = None) -> Loadings:
    """Cosines with the rows of a basis, largest squares first.

    Args:
        basis_ND: None: the dimensions themselves.
    """
    parts = []
    unit_ND = None if basis_ND is None else torch.nn.functional.normalize(basis_ND.float().cpu(), dim=1)
    for rows_RD in torch.split(directions_FD, _ROWS_AT_ONCE):
        unit_RD = torch.nn.functional.normalize(rows_RD.float().cpu(), dim=1)
        cosines_RN = unit_RD if unit_ND is None else unit_RD @ unit_ND.T
        best = cosines_RN.abs().topk(min(keep, cosines_RN.shape[1]))
        parts.append(Loadings(best.indices, cosines_RN.gather(1, best.indices)))
    return Loadings(*(torch.cat(column) for column in zip(*parts, strict=True)))


@torch.no_grad()
def spread(directions_FD: Tensor) -> Tensor:
    """Over how many dimensions each direction is spread, [F]; 0 for one without length."""
    squares_FD = directions_FD.float().square()
    return squares_FD.sum(1) ** 2 / squares_FD.square().sum(1).clamp_min(torch.finfo(torch.float32).tiny)


@torch.no_grad()
def alignment(model: LanguageModel, sae: SparseAutoencoder, feature: int, *, keep: int = 8) -> list[Aligned]:
    """A feature's decoder direction at every place it writes, and its encoder direction at every place it reads.

    At ``mlp_out`` also against the neurons of that layer, where the model's family tells them.

    Raises:
        InputError: there is no such feature, or nobody says where the dictionary stands.
    """
    places = Places.of(sae)
    if not 0 <= feature < sae.num_latents:
        raise InputError(f"there is no feature {feature}; this dictionary has features 0 to {sae.num_latents - 1}")
    widths = getattr(sae.config, "site_widths", None)  # of a crosscoder, which stands at several places

    def neurons(layer: int) -> Tensor | None:
        try:
            return model.neurons(layer)
        except InputError:
            return None

    found = align("decoder", sae.directions_FD[feature], places.writes, widths, keep=keep, neurons=neurons)
    encoder_FD = getattr(sae, "W_enc_FD", None)  # some architectures have no encoder of their own
    if isinstance(encoder_FD, Tensor):
        found += align("encoder", encoder_FD[feature], places.reads, widths, keep=keep, neurons=neurons)
    return found


@torch.no_grad()
def align(
    direction: Side,
    row_E: Tensor,
    hooks: Sequence[HookPoint],
    widths: Sequence[int] | None = None,
    *,
    keep: int = 8,
    neurons: Callable[[int], Tensor | None] = lambda _: None,
) -> list[Aligned]:
    """One direction at every place where it stands, which takes neither the model nor the dictionary.

    Args:
        widths: of the parts of the row, where there are several places.
        neurons: the directions that the neurons of a layer's MLP write, where anybody knows them.
    """
    found = []
    parts = torch.split(row_E.detach().float().cpu(), list(widths or [len(row_E)]))
    for hook, part_D in zip(hooks, parts, strict=True):
        found.append(_aligned(direction, "dimensions", hook, part_D, None, keep))
        if hook.site == "mlp_out" and hook.layer is not None and (neurons_ND := neurons(hook.layer)) is not None:
            found.append(_aligned(direction, "neurons", hook, part_D, neurons_ND, keep))
    return found


def by_chance(width: int, basis_ND: Tensor | None = None) -> ByChance:
    """What random directions have, from 512 of them, always the same."""
    return _of_dimensions(width) if basis_ND is None else _drawn(width, basis_ND)


@lru_cache(maxsize=16)
def _of_dimensions(width: int) -> ByChance:
    return _drawn(width, None)


def _drawn(width: int, basis_ND: Tensor | None) -> ByChance:
    random_ND = random_directions(_DRAWN, width, seed=0)
    shares = loadings(random_ND, 1, basis_ND).cosines_FK[:, 0].square()
    spreads = spread(random_ND)
    return ByChance(
        share=float(shares.mean()),
        share_high=float(shares.quantile(0.95)),
        spread=float(spreads.mean()),
        spread_low=float(spreads.quantile(0.05)),
    )


def _aligned(
    direction: Side,
    basis: Literal["dimensions", "neurons"],
    hook: HookPoint,
    part_D: Tensor,
    basis_ND: Tensor | None,
    keep: int,
) -> Aligned:
    at = loadings(part_D[None], keep, basis_ND)
    return Aligned(
        direction=direction,
        basis=basis,
        hook=str(hook),
        loadings=[
            Loading(neuron=neuron, cosine=cosine, share=cosine**2)
            for neuron, cosine in zip(at.neurons_FK[0].tolist(), at.cosines_FK[0].tolist(), strict=True)
        ],
        spread=float(spread(part_D[None])[0]),
        width=len(part_D),
        by_chance=by_chance(len(part_D), basis_ND),
    )
