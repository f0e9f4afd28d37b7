"""What is trained on. Oracle: the properties that its documentation promises, counted."""

from __future__ import annotations

import torch

from lexiscope.bench.workload import MEAN_ACTIVE, RING, WORKLOADS, Workload


def test_batches_are_the_same_for_everybody(tiny: Workload) -> None:
    first, again = tiny.batches(), tiny.batches()
    assert len(first) == RING
    assert all(torch.equal(one, other) for one, other in zip(first, again, strict=True))
    assert not torch.equal(first[0], first[1])
    assert first[0].shape == (64, 32)
    assert not torch.equal(first[0], tiny.batches(seed=1)[0])


def test_activations_are_sparse_in_their_dictionary() -> None:
    """In its own directions, found again by the seed, a token has about as many entries as are said to fire."""
    workload = Workload("w", width=128, num_latents=256, k=8, tokens=512)
    rng = torch.Generator().manual_seed(0)
    directions_GD = torch.randn(256, 128, generator=rng)
    directions_GD /= directions_GD.norm(dim=1, keepdim=True)
    rate_G = torch.arange(1, 257).rsqrt()
    expected = float((MEAN_ACTIVE * rate_G / rate_G.sum()).clamp(max=0.5).sum())
    x_TD = workload.batches()[0]
    assert torch.isclose(x_TD.square().sum(1).mean(), torch.tensor(128.0), rtol=1e-4)
    fires = torch.rand((512, 256), generator=rng) < (MEAN_ACTIVE * rate_G / rate_G.sum()).clamp(max=0.5)
    assert abs(float(fires.sum(1).float().mean()) - expected) < 1
    basis = torch.linalg.svd(directions_GD[fires[0]], full_matrices=False).Vh
    outside = x_TD[0] - basis.t() @ (basis @ x_TD[0])
    assert outside.norm() < 0.1 * x_TD[0].norm()  # only the noise


def test_dead_latents_are_spread_over_the_dictionary() -> None:
    dead = WORKLOADS["A-dead"].dead_latents()
    assert len(dead) == len(dead.unique()) == 819
    assert dead.diff().min() >= 9
    assert dead.max() < 8192
    assert len(WORKLOADS["A"].dead_latents()) == 0


def test_prefixes_double() -> None:
    assert WORKLOADS["A"].prefixes == [512, 1024, 2048, 4096, 8192]


def test_the_configs_are_those_that_are_compared() -> None:
    a, b = WORKLOADS["A"], WORKLOADS["B"]
    assert (a.width, a.num_latents, a.k, a.tokens) == (512, 8192, 32, 4096)
    assert (b.width, b.num_latents, b.k, b.tokens) == (768, 24576, 32, 2048)
