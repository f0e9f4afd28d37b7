"""Matching: how many features of a dictionary have a close one in another dictionary.

By decoder cosine, and by the correlation of where they fire (phi, of firing or not) on rows of which both indexes keep
the codes.
A sample of live features of each is compared with all of the other's; beside it stands what random directions get.
F features, S of them sampled, D model width, R rows.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lexiscope.core.seeds import derive_seed
from lexiscope.index.concordance.sample import Sample
from lexiscope.index.feature import Real
from lexiscope.web.compare import read_directions, same_text
from lexiscope.web.folder.library import Dictionary
from lexiscope.web.view import View

CLOSE_COSINE, CLOSE_PHI = 0.7, 0.5
_MOST_SAMPLED, _MOST_PRODUCTS = 512, 2e10
_MOST_BY_FIRING = 96
_AT_ONCE = 1 << 16


class OneWay(View):
    """Features of one dictionary, each with its closest in the other."""

    sampled: int
    """Live features that were looked at, drawn evenly."""
    close: int
    """Of those, how many have one at least as close as the bar."""
    mean: Real
    """Of the closeness of the closest."""


class ByCosine(View):
    bar: float = CLOSE_COSINE
    a_in_b: OneWay
    b_in_a: OneWay
    mutual: int
    """Sampled features of a that are the closest of their closest, too, above the bar."""
    chance: Real
    """Mean cosine of random directions with the closest in b."""


class ByFiring(View):
    bar: float = CLOSE_PHI
    rows: int
    """Tokens on which it was counted."""
    a_in_b: OneWay
    b_in_a: OneWay


class Matches(View):
    cosine: ByCosine | None
    """None where one has no decoder directions here, or they read activations of another width."""
    firing: ByFiring | None
    """None where the two were not indexed on the same activations."""


@lru_cache(maxsize=8)
def matches(a: Dictionary, b: Dictionary) -> Matches:
    """Both directions, both measures."""
    return Matches(cosine=_by_cosine(a, b), firing=_by_firing(a, b) if same_text(a, b) else None)


def closest(queries_SD: Tensor, directions_FD: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine of each query with the closest direction, and which that is."""
    unit_SD = torch.nn.functional.normalize(queries_SD, dim=1)
    best_S, place_S = torch.full((len(unit_SD),), -2.0), torch.zeros(len(unit_SD), dtype=torch.long)
    for start in range(0, len(directions_FD), _AT_ONCE):
        part_ND = torch.nn.functional.normalize(directions_FD[start : start + _AT_ONCE], dim=1)
        found = (unit_SD @ part_ND.T).max(dim=1)
        better_S = found.values > best_S
        best_S[better_S] = found.values[better_S]
        place_S[better_S] = found.indices[better_S] + start
    return best_S, place_S


def phi(sample: Sample, features: NDArray[np.int64], other: Sample) -> NDArray[np.float64]:
    """Correlation of each feature's firing with that of the other dictionary's feature that it correlates with most.

    Over the rows that are in both samples; 0 where it fires on none of them.
    """
    rows = np.intersect1d(sample.rows, other.rows, assume_unique=True)
    own_rows_M = np.repeat(sample.rows, np.diff(sample.offsets))
    wanted_M = np.isin(sample.latents, features) & np.isin(own_rows_M, rows)
    latents_M, own_rows_M = sample.latents[wanted_M], own_rows_M[wanted_M]
    other_rows_M = np.repeat(other.rows, np.diff(other.offsets))
    fires_F = np.bincount(other.latents[np.isin(other_rows_M, rows)])
    best = np.zeros(len(features))
    for place, feature in enumerate(features.tolist()):
        latents, both, fired = other.beside(np.sort(own_rows_M[latents_M == feature]))
        if fired:
            theirs = fires_F[latents]
            spread = fired * (len(rows) - fired) * (theirs * (len(rows) - theirs)).astype(np.float64)
            found = (len(rows) * both - fired * theirs) / np.sqrt(np.maximum(spread, 1e-300))
            best[place] = max(0.0, float(found[spread > 0].max(initial=0)))
    return best


def _by_cosine(a: Dictionary, b: Dictionary) -> ByCosine | None:
    first_FD, second_FD = read_directions(a.sae), read_directions(b.sae)
    if first_FD is None or second_FD is None or first_FD.shape[1] != second_FD.shape[1]:
        return None
    most = int(min(_MOST_SAMPLED, max(32, _MOST_PRODUCTS / max(first_FD.numel(), second_FD.numel()))))
    chosen_a, chosen_b = (torch.from_numpy(_drawn(of, most)) for of in (a, b))
    cosine_a, place_a = closest(first_FD[chosen_a], second_FD)
    cosine_b, _ = closest(second_FD[chosen_b], first_FD)
    _, back_a = closest(second_FD[place_a], first_FD)
    generator = torch.Generator().manual_seed(derive_seed(0, "matching"))
    random_SD = torch.randn(min(len(chosen_a), 128), first_FD.shape[1], generator=generator)
    return ByCosine(
        a_in_b=_one_way(cosine_a.numpy(), CLOSE_COSINE),
        b_in_a=_one_way(cosine_b.numpy(), CLOSE_COSINE),
        mutual=int(((back_a == chosen_a) & (cosine_a >= CLOSE_COSINE)).sum()),
        chance=float(closest(random_SD, second_FD)[0].mean()) if len(random_SD) else 0.0,
    )


def _by_firing(a: Dictionary, b: Dictionary) -> ByFiring:
    samples = a.index.sample, b.index.sample
    chosen_a, chosen_b = (_drawn(of, _MOST_BY_FIRING) for of in (a, b))
    return ByFiring(
        rows=len(np.intersect1d(samples[0].rows, samples[1].rows, assume_unique=True)),
        a_in_b=_one_way(phi(samples[0], chosen_a, samples[1]), CLOSE_PHI),
        b_in_a=_one_way(phi(samples[1], chosen_b, samples[0]), CLOSE_PHI),
    )


def _one_way(found_S: NDArray[np.floating], bar: float) -> OneWay:
    return OneWay(
        sampled=len(found_S),
        close=int((found_S >= bar).sum()),
        mean=float(found_S.mean()) if len(found_S) else 0.0,
    )


def _drawn(of: Dictionary, most: int) -> NDArray[np.int64]:
    """Live features, evenly spaced by number where there are more than wanted."""
    live_L = of.index.live_L
    if len(live_L) > most:
        live_L = live_L[np.linspace(0, len(live_L) - 1, most).astype(np.int64)]
    return live_L.astype(np.int64)
