"""Nested errors against dense autograd, one reconstruction per group, in float64."""

import pytest
import torch

from lexiscope.core.codes import SparseCodes
from lexiscope.saes import nested

T, D, F, G = 23, 6, 20, 4
WEIGHTS = (0.4, 0.0, 0.25, 0.35)


@pytest.fixture
def case(rng):
    """Codes with tokens on which nothing fires and groups that have no entry."""
    dense_TF = torch.rand(T, F, generator=rng, dtype=torch.float64) * (torch.rand(T, F, generator=rng) < 0.2)
    dense_TF[5] = 0
    codes = SparseCodes.from_dense(dense_TF)
    group_N = torch.randint(0, G, (len(codes),), generator=rng)
    W_FD, b_D, x_TD = (torch.randn(shape, generator=rng, dtype=torch.float64) for shape in ((F, D), (D,), (T, D)))
    return codes, group_N, W_FD, b_D, x_TD


def reference(values_N, codes, group_N, W_FD, b_D, x_TD):
    """Every reconstruction by itself, from a dense matrix of the entries that belong to it."""
    total = 0.0
    for group, weight in enumerate(WEIGHTS):
        dense_TF = torch.zeros(T, F, dtype=torch.float64).index_put(
            (codes.tokens(), codes.latents), values_N * (group_N <= group)
        )
        total = total + weight * (dense_TF @ W_FD + b_D - x_TD).square().mean()
    return total


@pytest.mark.parametrize("cells", [1, 5 * G * D, 2**24], ids=["a token", "five tokens", "all at once"])
def test_loss_and_gradients(case, cells, monkeypatch):
    """In blocks of one, five and all tokens, with slices of one and of all."""
    monkeypatch.setattr(nested, "BLOCK_CELLS", cells)
    monkeypatch.setattr(nested, "SLICE_CELLS", 2 * D if cells > 1 else 1)
    codes, group_N, W_FD, b_D, x_TD = case
    ours, theirs = [], []
    for found in (ours, theirs):
        found += [tensor.clone().requires_grad_() for tensor in (codes.values, W_FD, b_D)]
    learning = SparseCodes(codes.offsets, codes.latents, ours[0], F)
    loss = nested.nested_error(learning, group_N, WEIGHTS, ours[1], ours[2], x_TD)
    expected = reference(theirs[0], codes, group_N, theirs[1], theirs[2], x_TD)
    torch.testing.assert_close(loss, expected)
    for grad, true in zip(torch.autograd.grad(3 * loss, ours), torch.autograd.grad(3 * expected, theirs), strict=True):
        torch.testing.assert_close(grad, true)


def test_without_gradients_it_is_the_same_number(case):
    codes, group_N, W_FD, b_D, x_TD = case
    expected = reference(codes.values, codes, group_N, W_FD, b_D, x_TD)
    torch.testing.assert_close(nested.nested_error(codes, group_N, WEIGHTS, W_FD, b_D, x_TD), expected)


def test_codes_without_entries(case):
    """What is left is the bias."""
    _, _, W_FD, b_D, x_TD = case
    nothing = SparseCodes.from_dense(torch.zeros(T, F, dtype=torch.float64))
    b_D = b_D.requires_grad_()
    loss = nested.nested_error(nothing, nothing.latents, WEIGHTS, W_FD, b_D, x_TD)
    torch.testing.assert_close(loss, (b_D - x_TD).square().mean())
    torch.testing.assert_close(torch.autograd.grad(loss, b_D)[0], 2 * (b_D.detach() - x_TD).mean(0) / D)
