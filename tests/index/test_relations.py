"""Relations of features. Oracles: pairs counted one by one, and a small world in which it is known who absorbs whom."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.index.directions.neighbours import neighbours
from lexiscope.index.directions.relations import (
    Pairs,
    _as_few,
    absorption_candidates,
    absorption_suspects,
    close_pairs,
    duplicates,
    groups,
    hole,
)

GENERAL, ABSORBING, HARMLESS, SIBLING, PURE = range(5)


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 12), st.integers(2, 20))
def test_close_pairs_are_all_pairs_above_the_bar(seed, keep, num_features):
    random = torch.Generator().manual_seed(seed)
    directions_FD = torch.randn(num_features, 3, generator=random)
    beside = neighbours(directions_FD, torch.ones(num_features, dtype=torch.bool), num_features)
    pairs = close_pairs(beside, 0.5)
    unit_FD = torch.nn.functional.normalize(directions_FD, dim=1)
    expected = {
        (one, other)
        for one, other in itertools.combinations(range(num_features), 2)
        if float(unit_FD[one] @ unit_FD[other]) > 0.5
    }
    assert list(zip(pairs.first_P.tolist(), pairs.second_P.tolist(), strict=True)) == sorted(expected)
    some = close_pairs(neighbours(directions_FD, torch.ones(num_features, dtype=torch.bool), keep), 0.5)
    assert set(zip(some.first_P.tolist(), some.second_P.tolist(), strict=True)) <= expected


def test_duplicates_fire_together():
    pairs = Pairs(torch.tensor([0, 0, 1]), torch.tensor([1, 2, 2]), torch.tensor([0.99, 0.95, 0.92]))
    found = duplicates(pairs, torch.tensor([80, 90, 10]), torch.tensor([100, 100, 90]))
    assert [(item.first, item.second) for item in found] == [(0, 2), (0, 1)]
    assert found[0].jaccard == pytest.approx(90 / 100)
    assert found[1].jaccard == pytest.approx(80 / 120, rel=1e-5)
    assert groups([(4, 2), (7, 8), (2, 9)]) == [[2, 4, 9], [7, 8]]
    assert groups([]) == []


class Planted:
    """Tokens 0-9 start with S and the general feature fires on them, except where another took its place."""

    def __init__(self):
        random = np.random.default_rng(0)
        self.tokens_T = random.integers(0, 40, 20_000)
        starts_with_s = self.tokens_T < 10
        half = random.random(20_000) < 0.5
        token = self.tokens_T
        self.fires = {
            ABSORBING: (token == 3) & half,
            HARMLESS: (token == 5) & half,
            SIBLING: (token == 20) & half,
            PURE: token == 7,
        }
        self.fires[GENERAL] = starts_with_s & ~self.fires[ABSORBING] & ~self.fires[PURE] & (random.random(20_000) < 0.9)
        self.rows = {feature: np.flatnonzero(fires) for feature, fires in self.fires.items()}
        axes = torch.eye(8)
        self.directions_FD = torch.stack([axes[0], axes[1] + axes[0], axes[2] + axes[0], axes[3], axes[4] + axes[0]])
        self.density_F = torch.tensor([self.fires[feature].mean() for feature in range(5)])
        self.means_F = torch.ones(5)

    def suspects(self, denser=2.0):
        beside = neighbours(self.directions_FD, torch.ones(5, dtype=torch.bool), 4)
        found = absorption_candidates(self.directions_FD, beside, self.density_F, self.means_F, denser=denser)
        pairs = list(zip(found.absorbing_P.tolist(), found.absorbed_P.tolist(), strict=True))
        return pairs, absorption_suspects(found, [hole(self.rows[a], self.rows[b], self.tokens_T) for a, b in pairs])


def test_the_feature_that_took_the_place_of_another_is_suspected():
    """Known truth: one of three that write along the general direction silences it; one has no tokens to compare."""
    pairs, suspects = Planted().suspects()
    assert {(ABSORBING, GENERAL), (HARMLESS, GENERAL), (PURE, GENERAL)} <= set(pairs)
    assert not any(SIBLING in pair for pair in pairs)
    [suspect] = suspects
    assert (suspect.absorbing, suspect.absorbed) == (ABSORBING, GENERAL)
    assert suspect.together == 0
    assert suspect.expected == pytest.approx(0.9, abs=0.05)
    assert suspect.cosine == pytest.approx(1 / math.sqrt(2), rel=1e-4)
    assert suspect.supplied == pytest.approx(1)


def test_what_is_supplied_goes_by_how_strongly_the_features_fire():
    world = Planted()
    world.means_F = torch.tensor([10.0, 1.0, 1.0, 1.0, 1.0])
    pairs, suspects = world.suspects()
    assert not any(GENERAL in pair for pair in pairs)
    assert suspects == []


def test_holes_are_counted_row_by_row():
    """Oracle: a loop over the text."""
    world = Planted()
    found = hole(world.rows[HARMLESS], world.rows[GENERAL], world.tokens_T)
    seen = {True: [0, 0], False: [0, 0]}
    for token, one, other in zip(world.tokens_T, world.fires[HARMLESS], world.fires[GENERAL], strict=True):
        if token == 5:
            seen[bool(one)][0] += 1
            seen[bool(one)][1] += other
    assert (found.firings, found.together) == tuple(seen[True])
    assert found.expected == pytest.approx(seen[False][1] / seen[False][0])
    assert hole(world.rows[PURE], world.rows[GENERAL], world.tokens_T).expected is None


@settings(deadline=None)
@given(st.integers(1, 30), st.floats(0.05, 0.95), st.data())
def test_the_bound_is_above_the_binomial_tail(trials, rate, data):
    count = data.draw(st.integers(0, trials))
    tail = sum(math.comb(trials, k) * rate**k * (1 - rate) ** (trials - k) for k in range(count + 1))
    assert _as_few(count, trials, rate) >= tail - 1e-12


def test_nothing_is_suspected_of_nothing():
    beside = neighbours(torch.eye(3), torch.ones(3, dtype=torch.bool), 2)
    found = absorption_candidates(torch.eye(3), beside, torch.tensor([0.1, 0.2, 0.0]), torch.ones(3))
    assert [len(column) for column in found] == [0, 0, 0, 0]
    assert absorption_suspects(found, []) == []
    assert [len(column) for column in close_pairs(beside)] == [0, 0, 0]
