"""Neighbours. Oracles: the whole matrix of cosines in float64, and directions planted beside one another."""

from __future__ import annotations

from unittest.mock import patch

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.index.directions.neighbours import neighbours
from lexiscope.saes.kernels import backend


def brute(directions_FD, live_F, keep):
    unit_FD = torch.nn.functional.normalize(directions_FD.double(), dim=1)
    cosines_FF = unit_FD @ unit_FD.T
    cosines_FF[:, ~live_F] = -torch.inf
    cosines_FF.fill_diagonal_(-torch.inf)
    return cosines_FF, cosines_FF.topk(min(keep, len(cosines_FF))).values


@pytest.mark.parametrize("few", [0, 1000])
@settings(deadline=None)
@given(
    st.integers(1, 60), st.integers(1, 12), st.integers(1, 9), st.sampled_from([0.0, 0.4, 1.0]), st.integers(0, 2**31)
)
def test_neighbours_are_the_largest_of_all_cosines(few, num_features, width, keep, dead, seed):
    random = torch.Generator().manual_seed(seed)
    directions_FD = torch.randn(num_features, width, generator=random)
    live_F = torch.rand(num_features, generator=random) >= dead
    cosines_FF, expected_FK = brute(directions_FD, live_F, keep)
    with patch("lexiscope.index.directions.neighbours._FEW_ROWS", few):
        found = neighbours(directions_FD, live_F, keep)
    assert torch.allclose(found.cosines_FK.double(), expected_FK, atol=1e-5)
    known = found.features_FK >= 0
    assert torch.equal(known, expected_FK.isfinite())
    rows = torch.arange(num_features)[:, None].expand_as(known)
    assert torch.allclose(cosines_FF[rows[known], found.features_FK[known]], expected_FK[known], atol=1e-5)


@pytest.mark.parametrize("path", ["dense", "stock"])
def test_every_kernel_path_finds_the_same(path):
    directions_FD = torch.randn(300, 24, generator=torch.Generator().manual_seed(0))
    live_F = torch.arange(300) % 7 != 0
    fastest = neighbours(directions_FD, live_F, 5)
    with backend.use(path):
        found = neighbours(directions_FD, live_F, 5)
    assert torch.equal(found.features_FK, fastest.features_FK)
    assert torch.allclose(found.cosines_FK, fastest.cosines_FK, atol=1e-6)


def test_parts_and_lengths_do_not_matter(monkeypatch):
    directions_FD = torch.randn(200, 16, generator=torch.Generator().manual_seed(1))
    live_F = torch.ones(200, dtype=torch.bool)
    whole = neighbours(directions_FD, live_F, 4)
    monkeypatch.setattr("lexiscope.index.directions.neighbours._ROWS_AT_ONCE", 37)
    scaled_FD = directions_FD * torch.rand(200, 1, generator=torch.Generator().manual_seed(2)).add(0.1)
    assert torch.equal(neighbours(scaled_FD, live_F, 4).features_FK, whole.features_FK)
    some = neighbours(directions_FD, live_F, 4, rows_N=torch.tensor([7, 3]))
    assert torch.equal(some.features_FK, whole.features_FK[[7, 3]])


def test_directions_planted_beside_another_are_its_neighbours():
    """Known truth: families around a common direction."""
    random = torch.Generator().manual_seed(3)
    directions_FD = torch.randn(150, 64, generator=random).repeat_interleave(10, 0)
    directions_FD += 0.2 * torch.randn(1500, 64, generator=random)
    found = neighbours(directions_FD, torch.ones(1500, dtype=torch.bool), 9)
    assert torch.equal(found.features_FK // 10, torch.arange(1500)[:, None].expand(-1, 9) // 10)


def test_more_duplicates_than_places_still_leave_oneself_out():
    directions_FD = torch.ones(30, 8)
    found = neighbours(directions_FD, torch.ones(30, dtype=torch.bool), 3)
    assert not bool((found.features_FK == torch.arange(30)[:, None]).any())
    assert bool((found.features_FK >= 0).all())
