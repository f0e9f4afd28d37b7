"""Which neighbours are read to tell duplicates. Oracle: the Jaccard index of all pairs of sets of some numbers."""

from __future__ import annotations

import itertools

from lexiscope.index.directions.relations import LEAST_JACCARD
from lexiscope.web.pages.feature import _may_overlap


def test_only_what_can_not_be_a_duplicate_is_left_unread():
    for own, theirs in itertools.product(range(9), repeat=2):
        best = max(
            (both / (own + theirs - both) for both in range(min(own, theirs) + 1) if own + theirs > both), default=0
        )
        assert _may_overlap(own, theirs) == (best >= LEAST_JACCARD)
