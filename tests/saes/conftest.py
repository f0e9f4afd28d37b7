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


@pytest.fixture
def same_terms_and_gradients():
    """Compares named loss terms with expected ones, each in value and in its gradient for every parameter."""

    def gradient(term, parameter):
        (grad,) = torch.autograd.grad(term, parameter, retain_graph=True, allow_unused=True)
        return torch.zeros_like(parameter) if grad is None else grad

    def compare(sae, terms, expected):
        assert set(terms) == set(expected)
        for name, term in terms.items():
            torch.testing.assert_close(term, expected[name], msg=lambda text, name=name: f"{name}: {text}")
            for which, parameter in sae.named_parameters():
                torch.testing.assert_close(
                    gradient(term, parameter),
                    gradient(expected[name], parameter),
                    msg=lambda text, name=name, which=which: f"gradient of {name} for {which}: {text}",
                )

    return compare
