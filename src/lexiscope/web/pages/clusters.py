"""Clusters: groups of features whose decoder directions are close, with the tokens that they have in common."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Annotated, Any, Literal

import numpy as np
from fastapi import Query

from lexiscope.index.directions.chance import closest_pair_by_chance
from lexiscope.index.feature import FeatureSummary, Real
from lexiscope.web.pages.common import AnyLibrary, DictionaryFacts, facts
from lexiscope.web.view import View

PATH = "/d/{name}/clusters"
TEMPLATE = "clusters.html"
_MEMBERS_SHOWN = 8
_MEMBERS_COUNTED = 200
_TOKENS_SHOWN = 5
Order = Literal["size", "weakest_link"]


class Cluster(View):
    """Features joined by links, directly or by others."""

    first: int
    """Its smallest feature, by which addresses name it."""
    size: int
    weakest_link: Real
    """The smallest cosine that is needed to hold it together."""
    tokens: list[str]
    """That most of its features often fire on."""
    members: list[FeatureSummary]
    """Those that fire most often."""


class ClustersView(View):
    dictionary: DictionaryFacts
    clusters: list[Cluster]
    matching: int
    """How many there are in all."""
    features: int
    """In any cluster."""
    live: int
    bar: Real
    """Features are linked by a cosine of at least this."""
    chance: Real | None
    """That no two random directions reach, but for a chance of 5 %; None where the width is not known."""
    labels: dict[int, str]
    sort: Order
    limit: int
    offset: int


def read(
    library: AnyLibrary,
    name: str,
    sort: Order = "size",
    limit: Annotated[int, Query(ge=1, le=100)] = 25,
    offset: Annotated[int, Query(ge=0, le=10**9)] = 0,
) -> ClustersView:
    found = library.dictionary(name)
    index, groups = found.index, found.clusters
    order = np.argsort(-groups.weakest_C, kind="stable") if sort == "weakest_link" else np.arange(len(groups))
    clusters = []
    for number in order[offset : offset + limit].tolist():
        members = groups.members(number)
        summaries = index.summaries(members[:_MEMBERS_COUNTED])
        common = Counter(token for one in summaries.values() for token in dict.fromkeys(one.tokens))
        most = sorted(summaries.values(), key=lambda one: -one.firings)
        clusters.append(
            Cluster(
                first=members[0],
                size=len(members),
                weakest_link=float(groups.weakest_C[number]),
                tokens=[token for token, count in common.most_common(_TOKENS_SHOWN) if count > 1],
                members=most[:_MEMBERS_SHOWN],
            )
        )
    live = int((index.firings_F > 0).sum())
    return ClustersView(
        dictionary=facts(found, library),
        clusters=clusters,
        matching=len(groups),
        features=len(groups.members_M),
        live=live,
        bar=groups.bar,
        chance=closest_pair_by_chance(live, found.width) if found.width else None,
        labels=found.notebook.labels([one.feature for cluster in clusters for one in cluster.members]),
        sort=sort,
        limit=limit,
        offset=offset,
    )


def rows(view: ClustersView) -> Iterator[dict[str, Any]]:
    """The clusters as a table to keep."""
    for cluster in view.clusters:
        yield {
            **cluster.model_dump(exclude={"members"}),
            "members": [one.feature for one in cluster.members],
        }
