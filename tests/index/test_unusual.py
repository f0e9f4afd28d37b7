"""What is unusual, and clusters as an index knows them. Oracles: medians of Python's own on one feature at a time, and
a walk along the neighbours that the index tells.
"""

from __future__ import annotations

import math
import statistics

import pytest

from lexiscope.index.feature import Filters


def numbers(feature):
    """As documented, of one feature."""
    return {
        "density": math.log(feature.firings),
        "peak": math.log(feature.max_activation / feature.mean_activation),
        "variety": math.log(feature.variety),
        "per_document": math.log(feature.firings / feature.documents),
        "effects_kurtosis": math.log1p(feature.effects.kurtosis),
        "nearest_cosine": feature.neighbours[0].cosine,
    }


@pytest.fixture(scope="module")
def deviations(built):
    """Feature → number → deviation."""
    of = {number: numbers(built.feature(number)) for number in built.live()}
    found = {number: {} for number in of}
    for trait in next(iter(of.values())):
        values = [one[trait] for one in of.values()]
        middle = statistics.median(values)
        spread = 1.4826 * statistics.median([abs(value - middle) for value in values])
        for number, one in of.items():
            found[number][trait] = (one[trait] - middle) / spread if spread else 0.0
    return found


def test_every_feature_is_told_how_far_out_it_is_and_by_which_number(built, deviations):
    found = built.oddities(range(built.num_features))
    assert set(found) == set(deviations)
    for number, by in deviations.items():
        assert found[number].unusual == pytest.approx(math.hypot(*by.values()), rel=2e-3)
        assert abs(found[number].deviation) == pytest.approx(max(map(abs, by.values())), rel=2e-3)
        assert found[number].deviation == pytest.approx(by[found[number].trait], rel=2e-3)


def test_lists_are_sorted_and_narrowed_by_it(built, deviations):
    listed = built.features("unusual", limit=1000, filters=Filters(dead=False)).features
    distances = [math.hypot(*deviations[row.feature].values()) for row in listed]
    assert distances == pytest.approx(sorted(distances, reverse=True), rel=1e-3)
    limit = statistics.median(distances) * 1.0001
    far = built.features(limit=1000, filters=Filters(unusual_from=limit)).features
    assert {row.feature for row in far} == {
        number for number, by in deviations.items() if math.hypot(*by.values()) >= limit
    }


@pytest.mark.parametrize("bar", [0.2, 0.4, 0.6])
def test_the_lonely_and_the_close_are_found(built, bar):
    nearest = {number: built.feature(number).neighbours[0].cosine for number in built.live()}
    alone = built.features(limit=1000, filters=Filters(nearest_cosine_to=bar, dead=False)).features
    close = built.features(limit=1000, filters=Filters(nearest_cosine_from=bar, dead=False)).features
    assert {row.feature for row in alone} == {number for number, cosine in nearest.items() if cosine <= bar}
    assert {row.feature for row in close} == {number for number, cosine in nearest.items() if cosine >= bar}


def test_clusters_of_an_index_are_walks_along_its_neighbours(built):
    found = built.clusters()
    beside = {number: set() for number in built.live()}
    for number, own in beside.items():
        for near in built.feature(number).neighbours:
            if near.cosine >= found.bar:
                own.add(near.feature)
                beside[near.feature].add(number)
    assert len(found)
    for cluster in range(len(found)):
        members = set(found.members(cluster))
        reached, waiting = set(), [min(members)]
        while waiting:
            one = waiting.pop()
            if one not in reached:
                reached.add(one)
                waiting += beside[one]
        assert reached == members
    assert sum(map(bool, beside.values())) == len(found.members_M)
    assert len(built.clusters(width=16).members_M) <= len(found.members_M)
