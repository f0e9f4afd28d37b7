"""Relations of two features: likely duplicates, and features suspected to absorb another.

Both start from decoder directions (`lexiscope.index.directions.neighbours`) and are settled by where the two fire:
`rows` are the ascending numbers of the tokens of a text on which a feature fires. F features, K neighbours, P pairs,
T tokens.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lexiscope.index.directions.neighbours import Neighbours
from lexiscope.index.feature import Real, Record

Rows = NDArray[np.integer]
LEAST_COSINE, LEAST_JACCARD = 0.9, 0.5
"""Of likely duplicates."""
ABSORBING_COSINE = 0.1
"""Of an absorbing feature with what it absorbs, the threshold of SAEBench's absorption fraction."""
LEAST_SUPPLIED = 0.4
"""What an absorbing feature must supply; SAEBench asks for this share of a probe's projection."""
LEAST_EXPECTED, MOST_OF_EXPECTED, MOST_CHANCE = 0.2, 0.5, 0.001


class Duplicate(Record):
    """Two features that point the same way and fire on the same tokens."""

    first: int
    second: int
    cosine: Real
    jaccard: Real
    """Tokens on which both fire over tokens on which either does."""


class AbsorptionSuspect(Record):
    """A feature that seems to stand in for a more general one, which is silent where it would be expected."""

    absorbing: int
    absorbed: int
    cosine: Real
    """Of the two decoder directions."""
    supplied: Real
    """What the absorbing feature adds along the other's direction at its mean, over what the other adds at its own."""
    together: Real
    """Share of the absorbing feature's firings on which the absorbed one fires, too."""
    expected: Real
    """Share on which it fires on the same tokens when the absorbing feature is silent, in the same proportions."""
    chance: Real
    """Upper bound of the chance to see so few together if the absorbing feature made no difference."""


class Pairs(NamedTuple):
    """Two features each, and the cosine of their directions."""

    first_P: Tensor
    second_P: Tensor
    cosine_P: Tensor


class Candidates(NamedTuple):
    """Pairs whose directions and rates are those of absorption."""

    absorbing_P: Tensor
    absorbed_P: Tensor
    cosine_P: Tensor
    supplied_P: Tensor


class Hole(NamedTuple):
    """How often one feature fires where another does, and on the same tokens where that is silent."""

    firings: int
    """Of the one that may be absorbing."""
    together: int
    expected: float | None
    """None: the token stands nowhere without it, so that nothing can be expected."""


def close_pairs(beside: Neighbours, least_cosine: float = LEAST_COSINE) -> Pairs:
    """Pairs with a larger cosine, each once, the smaller number first. A pair counts if either names the other."""
    rows, places = torch.nonzero((beside.cosines_FK > least_cosine) & (beside.features_FK >= 0), as_tuple=True)
    others = beside.features_FK[rows, places]
    cosines = beside.cosines_FK[rows, places]
    keys = torch.minimum(rows, others) * len(beside.features_FK) + torch.maximum(rows, others)
    order = keys.argsort(stable=True)
    first_of_key = torch.ones(len(keys), dtype=torch.bool)
    first_of_key[1:] = keys[order][1:] != keys[order][:-1]
    chosen = order[first_of_key]
    return Pairs(torch.minimum(rows, others)[chosen], torch.maximum(rows, others)[chosen], cosines[chosen])


def duplicates(
    pairs: Pairs, together_P: Tensor, firings_F: Tensor, *, least_jaccard: float = LEAST_JACCARD
) -> list[Duplicate]:
    """The pairs that also fire together, most alike first.

    Args:
        together_P: on how many tokens both of a pair fire.
        firings_F: on how many tokens each feature fires, of the same text.
    """
    either_P = firings_F[pairs.first_P] + firings_F[pairs.second_P] - together_P
    jaccard_P = together_P / either_P.clamp_min(1)
    order = jaccard_P.argsort(descending=True, stable=True)
    order = order[jaccard_P[order] >= least_jaccard]
    return [
        Duplicate(first=first, second=second, cosine=cosine, jaccard=jaccard)
        for first, second, cosine, jaccard in zip(*(c[order].tolist() for c in (*pairs, jaccard_P)), strict=True)
    ]


def groups(pairs: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Features that are joined by pairs, directly or by others, ascending; the largest groups first."""
    leader: dict[int, int] = {}

    def find(feature: int) -> int:
        while leader.setdefault(feature, feature) != feature:
            leader[feature] = leader[leader[feature]]
            feature = leader[feature]
        return feature

    for first, second in pairs:
        low, high = sorted((find(first), find(second)))
        leader[high] = low
    found: dict[int, list[int]] = {}
    for feature in sorted(leader):
        found.setdefault(find(feature), []).append(feature)
    return sorted(found.values(), key=len, reverse=True)


@torch.no_grad()
def absorption_candidates(
    directions_FD: Tensor,
    beside: Neighbours,
    density_F: Tensor,
    means_F: Tensor,
    *,
    least_cosine: float = ABSORBING_COSINE,
    least_supplied: float = LEAST_SUPPLIED,
    denser: float = 2.0,
) -> Candidates:
    """Pairs in which one feature writes a clear part of a more general one's direction.

    Looked for among the neighbours that are known, of either.

    Args:
        means_F: mean activation over firings.
        denser: how many times more often the absorbed feature has to fire.
    """
    rows, places = torch.nonzero((beside.cosines_FK >= least_cosine) & (beside.features_FK >= 0), as_tuple=True)
    others = beside.features_FK[rows, places]
    swap = density_F[rows] > density_F[others]
    absorbing, absorbed = torch.where(swap, others, rows), torch.where(swap, rows, others)
    keys = torch.unique(absorbing * len(density_F) + absorbed)
    absorbing, absorbed = keys // len(density_F), keys % len(density_F)
    general = (density_F[absorbed] >= denser * density_F[absorbing]) & (density_F[absorbing] > 0)
    absorbing, absorbed = absorbing[general], absorbed[general]
    dots, lengths, own = [], [], []
    for one, other in zip(torch.split(absorbing, 1 << 14), torch.split(absorbed, 1 << 14), strict=True):
        one_ND, other_ND = directions_FD[one].float().cpu(), directions_FD[other].float().cpu()
        dots.append((one_ND * other_ND).sum(1))
        lengths.append(other_ND.norm(dim=1))
        own.append(one_ND.norm(dim=1))
    if not dots:
        return Candidates(absorbing, absorbed, torch.zeros(0), torch.zeros(0))
    dot_P, length_P, own_P = torch.cat(dots), torch.cat(lengths), torch.cat(own)
    supplied_P = means_F[absorbing] * dot_P / (means_F[absorbed] * length_P**2).clamp_min(1e-30)
    clear = supplied_P >= least_supplied
    cosine_P = dot_P / (own_P * length_P).clamp_min(1e-30)
    return Candidates(*(column[clear] for column in (absorbing, absorbed, cosine_P, supplied_P)))


def hole(absorbing_rows: Rows, absorbed_rows: Rows, tokens_T: NDArray[np.integer]) -> Hole:
    """Where two features fire, against what the tokens alone make one expect."""
    types, of_N = np.unique(tokens_T[absorbing_rows], return_inverse=True)
    shares = np.bincount(of_N) / max(len(absorbing_rows), 1)
    type_V = np.full(int(tokens_T.max(initial=0)) + 1, -1, np.int32)  # tables: a text has millions of tokens
    type_V[types] = np.arange(len(types))
    type_T = type_V[tokens_T]
    type_T[absorbing_rows] = -1
    silent_T, fires_T = type_T >= 0, np.zeros(len(tokens_T), dtype=bool)
    fires_T[absorbed_rows] = True
    occurrences = np.bincount(type_T[silent_T], minlength=len(types))
    fires = np.bincount(type_T[silent_T & fires_T], minlength=len(types))
    known = occurrences > 0
    together = len(np.intersect1d(absorbing_rows, absorbed_rows, assume_unique=True))
    if shares[known].sum() < 0.5:  # most of its firings are on tokens that it never leaves out
        return Hole(len(absorbing_rows), together, None)
    expected = float((shares[known] * fires[known] / occurrences[known]).sum() / shares[known].sum())
    return Hole(len(absorbing_rows), together, expected)


def absorption_suspects(candidates: Candidates, holes: Sequence[Hole]) -> list[AbsorptionSuspect]:
    """Candidates in which the general feature is silent where it would be expected, the widest gap first.

    Feature absorption (Chanin et al. 2024; SAEBench) is known to be one only where somebody says what the general
    feature means, as "starts with S" for a first letter. Without that, this shows less: that one feature writes along
    another's direction, and that the other fires clearly less often on the very tokens of the first when the first
    fires. Two features that share a direction and divide its occurrences by context look the same. Where a feature
    takes *every* occurrence of its tokens, which is the purest absorption, there is nothing to compare with and it is
    not listed.

    Args:
        holes: one for every candidate, from `hole`.
    """
    found = []
    for absorbing, absorbed, cosine, supplied, at in zip(
        *(column.tolist() for column in candidates), holes, strict=True
    ):
        if at.expected is None or at.expected < LEAST_EXPECTED or not at.firings:
            continue
        together = at.together / at.firings
        chance = _as_few(at.together, at.firings, at.expected)
        if together <= MOST_OF_EXPECTED * at.expected and chance <= MOST_CHANCE:
            found.append(
                AbsorptionSuspect(
                    absorbing=absorbing,
                    absorbed=absorbed,
                    cosine=cosine,
                    supplied=supplied,
                    together=together,
                    expected=at.expected,
                    chance=chance,
                )
            )
    return sorted(found, key=lambda suspect: suspect.together - suspect.expected)


def _as_few(count: int, trials: int, rate: float) -> float:
    """Bound of the chance of at most ``count`` in ``trials`` at a rate (Chernoff): exp(-n KL(count / n ‖ rate))."""
    share = count / trials
    if share >= rate:
        return 1.0

    def terms() -> Iterator[float]:
        for seen, expected in ((share, rate), (1 - share, 1 - rate)):
            if seen > 0:
                yield seen * math.log(seen / expected) if expected > 0 else math.inf

    return math.exp(-trials * sum(terms()))
