"""Clusters and chance. Oracles: a walk over all pairs of a matrix of cosines, planted families, and random directions
drawn many times over.
"""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.index.directions.chance import closest_pair_by_chance, largest_by_chance, shuffled
from lexiscope.index.directions.clusters import Links, clusters
from lexiscope.index.directions.neighbours import neighbours
from lexiscope.saes.parts import random_directions


def links_of(directions_FD, keep):
    """As an index keeps them: the nearest of every feature."""
    found = neighbours(directions_FD, torch.ones(len(directions_FD), dtype=torch.bool), keep)
    first_L = np.repeat(np.arange(len(directions_FD), dtype=np.int32), found.features_FK.shape[1])
    second_L, cosine_L = found.features_FK.numpy().ravel().astype(np.int32), found.cosines_FK.numpy().ravel()
    return Links(first_L[second_L >= 0], second_L[second_L >= 0], cosine_L[second_L >= 0])


def walked(links, num_features, bar):
    """Components by walking from feature to feature, largest first."""
    beside = {feature: set() for feature in range(num_features)}
    for first, second, cosine in zip(*links, strict=True):
        if cosine >= bar:
            beside[int(first)].add(int(second))
            beside[int(second)].add(int(first))
    seen, found = set(), []
    for feature in range(num_features):
        waiting, group = [feature], set()
        while waiting:
            one = waiting.pop()
            if one not in seen:
                seen.add(one)
                group.add(one)
                waiting += beside[one]
        if len(group) > 1:
            found.append(sorted(group))
    return sorted(found, key=lambda group: (-len(group), group[0]))


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(2, 60), st.floats(-0.5, 0.95))
def test_clusters_are_what_can_be_walked_to(seed, keep, num_features, least):
    directions_FD = torch.randn(num_features, 5, generator=torch.Generator().manual_seed(seed))
    links = links_of(directions_FD, keep)
    found = clusters(links, num_features, least)
    assert found.bar == least  # so few features never make a cluster too large
    groups = walked(links, num_features, np.float32(least))
    assert [found.members(number) for number in range(len(found))] == groups
    for number, group in enumerate(groups):
        assert (found.of_F[group] == number).all()
        assert found.weakest_C[number] >= np.float32(least)
    assert (found.of_F >= 0).sum() == sum(map(len, groups))


def test_planted_families_are_found_and_the_rest_stays_alone():
    random = torch.Generator().manual_seed(3)
    directions_FD = random_directions(600, 64, seed=1)
    sizes = (12, 7, 7, 3)
    members = torch.randperm(600, generator=random)[: sum(sizes)].split(list(sizes))
    for centre_D, family in zip(random_directions(4, 64, seed=2), members, strict=True):
        directions_FD[family] = centre_D + 0.4 * random_directions(len(family), 64, seed=int(family[0]))
    found = clusters(links_of(directions_FD, 8), 600, closest_pair_by_chance(600, 64))
    planted = sorted((sorted(family.tolist()) for family in members), key=lambda family: (-len(family), family[0]))
    assert [found.members(number) for number in range(len(found))] == planted
    # A link is 1 / (1 + 0.4²) but for the chance of two noises.
    assert found.weakest_C.tolist() == pytest.approx([1 / 1.16] * 4, abs=0.06)


def test_links_that_run_all_through_raise_the_bar():
    """Oracle: the same clusters at the bar that is told, and one that is too large right below it."""
    directions_FD = random_directions(3000, 24, seed=5)
    links = links_of(directions_FD, 8)
    found = clusters(links, 3000, 0.2)
    assert found.bar > 0.5
    assert [found.members(number) for number in range(len(found))] == walked(links, 3000, np.float32(found.bar))
    below = np.nextafter(np.float32(found.bar), np.float32(0))
    assert len(walked(links, 3000, below)[0]) > 64 >= len(found.members(0))


def test_without_links_there_are_no_clusters():
    nothing = Links(np.empty(0, np.int32), np.empty(0, np.int32), np.empty(0, np.float32))
    found = clusters(nothing, 3)
    assert (len(found), found.of_F.tolist(), found.offsets.tolist()) == (0, [-1, -1, -1], [0])


@pytest.mark.parametrize("width", [8, 64])
def test_what_chance_gives_is_what_random_directions_do(width):
    """500 random dictionaries: about 5 % have a closer pair, and a random direction is closer to one in about 5 %."""
    bar, single = closest_pair_by_chance(40, width), largest_by_chance(40, width)
    pairs = lone = 0
    for seed in range(500):
        directions_FD = random_directions(41, width, seed=seed)
        cosines_FF = directions_FD @ directions_FD.T - 2 * torch.eye(41)
        pairs += bool((cosines_FF[:40, :40] > bar).any())
        lone += bool((cosines_FF[40, :40] > single).any())
    assert 10 <= pairs <= 42
    assert 10 <= lone <= 42


def test_narrow_directions_have_no_limit_of_chance():
    assert closest_pair_by_chance(100, 2) == 1


def test_a_shuffled_direction_has_the_same_coordinates():
    direction_D = torch.arange(10.0)
    found = shuffled(direction_D, seed=1, number=5)
    assert found.sort(dim=1).values.tolist() == [direction_D.tolist()] * 5
    assert len({tuple(row) for row in found.tolist()}) == 5
