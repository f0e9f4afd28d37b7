"""Clusters: groups of features whose decoder directions are linked, the strongest links first (single linkage).

    link of a and b: their cosine, where one is among the K nearest of the other
    cluster: features joined by links of at least the bar, directly or by others

The bar is what no two of F random directions reach, or higher: where weaker links run all through a dictionary, one
cluster would swallow the rest, so that joining stops at the link that would make one of more than 2 % of the features.
The neighbours are exact and known since the index was built, so that this costs no product of directions.
F features, L links, M features in a cluster, C clusters.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

MOST_LINKS = 1 << 18
"""Only the strongest are looked at; the bar is never below them."""
_LARGEST_SHARE, _LARGEST = 0.02, 64
"""No cluster has more than this share of the features, or more than this many where that is less."""


class Links(NamedTuple):
    """Pairs of features, in any order; a pair may be there twice."""

    first_L: NDArray[np.int32]
    second_L: NDArray[np.int32]
    cosine_L: NDArray[np.float32]


class Clusters(NamedTuple):
    """Attributes:
    of_F: int32, the cluster of each feature, -1 for those that are in none. The largest cluster is 0.
    members_M: int32, cluster after cluster, ascending within each.
    offsets: int64 [C + 1]; cluster c owns ``members_M[offsets[c]:offsets[c + 1]]``.
    weakest_C: float32, the weakest link that holds each together.
    bar: every link of at least this cosine joins.
    """

    of_F: NDArray[np.int32]
    members_M: NDArray[np.int32]
    offsets: NDArray[np.int64]
    weakest_C: NDArray[np.float32]
    bar: float

    def __len__(self) -> int:
        return len(self.weakest_C)

    def members(self, cluster: int) -> list[int]:
        """Features of a cluster, ascending."""
        found: list[int] = self.members_M[self.offsets[cluster] : self.offsets[cluster + 1]].tolist()
        return found


def clusters(links: Links, num_features: int, least: float = 0.0) -> Clusters:
    """Join features by their links.

    Args:
        least: the bar is not below it.
    """
    order, bar = _strongest(links, least)
    features, ends = np.unique(np.stack([links.first_L[order], links.second_L[order]]), return_inverse=True)
    firsts, seconds = ends.reshape(2, -1).tolist()
    largest = max(_LARGEST, int(_LARGEST_SHARE * num_features))
    leader, size = list(range(len(features))), [1] * len(features)
    weakest = [0.0] * len(features)
    for one, other, cosine in zip(firsts, seconds, links.cosine_L[order].tolist(), strict=True):
        first, second = one, other
        while leader[first] != first:
            leader[first] = first = leader[leader[first]]
        while leader[second] != second:
            leader[second] = second = leader[leader[second]]
        if first == second:
            continue
        low, high = (first, second) if first < second else (second, first)
        joined = size[low] + size[high]
        if joined > largest:
            bar = _above(cosine)
            break
        leader[high], size[low], weakest[low] = low, joined, cosine
    leaders = np.array(leader, np.int64)
    while (leaders != leaders[leaders]).any():
        leaders = leaders[leaders]
    return _numbered(num_features, features, leaders, np.array(weakest, np.float32), bar)


def _strongest(links: Links, least: float) -> tuple[NDArray[np.int64], float]:
    """Links from the strongest down, and the bar that they all reach."""
    kept = np.flatnonzero(links.cosine_L >= np.float32(least))
    bar = least
    if len(kept) > MOST_LINKS:
        bar = float(np.partition(links.cosine_L[kept], len(kept) - MOST_LINKS)[len(kept) - MOST_LINKS])
        kept = kept[links.cosine_L[kept] > np.float32(bar)]
        bar = _above(bar)
    low, high = (np.minimum, np.maximum)
    a, b = links.first_L[kept], links.second_L[kept]
    return kept[np.lexsort((high(a, b), low(a, b), -links.cosine_L[kept]))], bar


def _numbered(
    num_features: int,
    features: NDArray[np.int32],
    leaders: NDArray[np.int64],
    weakest: NDArray[np.float32],
    bar: float,
) -> Clusters:
    """The clusters by size; of those as large the one with the smallest feature first."""
    sizes = np.bincount(leaders, minlength=len(features))
    order = np.argsort(-sizes, kind="stable")  # a leader is the smallest of its cluster
    order = order[sizes[order] > 1]
    place = np.full(len(features), -1, np.int32)
    place[order] = np.arange(len(order))
    of_F = np.full(num_features, -1, np.int32)
    of_F[features] = place[leaders]
    members_M = np.flatnonzero(of_F >= 0).astype(np.int32)
    members_M = members_M[np.argsort(of_F[members_M], kind="stable")]
    offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(sizes[order], dtype=np.int64)])
    return Clusters(of_F, members_M, offsets, weakest[order], bar)


def _above(cosine: float) -> float:
    """The next larger float32."""
    return float(np.nextafter(np.float32(cosine), np.float32(2)))
