"""Small seeded tensors shared by the tests of this folder."""

import pytest
import torch


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


@pytest.fixture
def sample_TD(rng):
    """Activations with an offset and unequal variances, [400, 12]."""
    return torch.randn(400, 12, generator=rng) * torch.linspace(0.5, 3, 12) + torch.randn(12, generator=rng) * 4
