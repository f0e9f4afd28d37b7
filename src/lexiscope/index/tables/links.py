"""Links: pairs of features whose decoder directions are close, out of the lists of neighbours of an index."""

from __future__ import annotations

import numpy as np

from lexiscope.index.directions.chance import closest_pair_by_chance
from lexiscope.index.directions.clusters import MOST_LINKS, Clusters, Links, clusters
from lexiscope.index.tables.database import Database
from lexiscope.index.tables.listing import Listing

_ASK = """
SELECT feature, neighbour, cosine FROM (
  SELECT feature, unnest(neighbour_features) AS neighbour, unnest(neighbour_cosines) AS cosine
  FROM features WHERE NOT dead AND neighbour_cosines[1] >= {least}
) WHERE cosine >= {least}
"""


def links(database: Database, least: float) -> Links:
    """The pairs with at least this cosine."""
    found = database.cursor().execute(_ASK.format(least=float(least))).fetchnumpy()
    return Links(*(np.asarray(found[name]) for name in ("feature", "neighbour", "cosine")))


def clusters_of(database: Database, listing: Listing, width: int | None) -> Clusters:
    """Features joined by their links.

    Args:
        width: of the directions, for the cosine that chance gives; None: nobody knows it.
    """
    live = len(listing.live_L)
    least = closest_pair_by_chance(live, width) if width else 0.0
    nearest_L = listing.columns["nearest_cosine"][listing.live_L]
    if len(nearest_L) > MOST_LINKS:  # so many links are stronger for certain
        least = max(least, float(np.partition(nearest_L, len(nearest_L) - MOST_LINKS)[len(nearest_L) - MOST_LINKS]))
    return clusters(links(database, least), listing.num_features, least)
