"""What the gradient kernels note for Adam. Oracle: the pass over the gradient that it saves, and float64."""

import gc

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.core import memory
from lexiscope.core.codes import SparseCodes
from lexiscope.saes.kernels import adam, backend
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.kernels.encode import encode_topk
from lexiscope.saes.kernels.native import library, looks
from lexiscope.saes.kernels.native.library import SIZE, Function

pytestmark = pytest.mark.skipif(library.loaded().dll is None, reason=f"no native library: {library.loaded().reason}")
TUNE = Function("lx_tune_rows", SIZE, SIZE, SIZE, SIZE)


@pytest.fixture(autouse=True)
def native(monkeypatch):
    """Small tensors come from the pool too."""
    monkeypatch.setattr(memory, "LARGE_BYTES", 1)
    with backend.use("native"):
        yield
    TUNE(2**30, 2**15, 2**19, 6)


def unit(tensor):
    return torch.nn.Parameter(torch.nn.functional.normalize(tensor, dim=1))


def oracle(grad, rows=None):
    grad = grad.double()
    if rows is None:
        return grad.square().sum(), None
    along = (grad * rows.double()).sum(1)
    return (grad - along[:, None] * rows.double()).square().sum(), along


def assert_noted(grad, rows=None):
    noted = looks.recall(grad, rows)
    assert noted is not None
    for ours, theirs in zip(noted, oracle(grad, rows), strict=True):
        if theirs is not None:
            torch.testing.assert_close(ours.double(), theirs, rtol=1e-5, atol=1e-5)


@given(
    width=st.sampled_from([1, 2, 16, 33, 64, 150]),
    per_column=st.sampled_from([0, 2**20]),
    cache=st.sampled_from([2**8, 2**30]),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=60, deadline=None)
def test_notes_are_what_the_pass_would_find(width, per_column, cache, seed):
    TUNE(cache, 1, 2**19, per_column)
    rng = torch.Generator().manual_seed(seed)
    x_TD = torch.randn(40, width, generator=rng)
    W_enc_FD, W_dec_FD = unit(torch.randn(30, width, generator=rng)), unit(torch.randn(30, width, generator=rng))
    b_F = torch.nn.Parameter(torch.randn(30, generator=rng))
    decode_rows(encode_topk(x_TD, torch.zeros(width), W_enc_FD, b_F, 5), W_dec_FD).sub(x_TD).square().sum().backward()
    assert_noted(W_enc_FD.grad)
    assert_noted(W_dec_FD.grad, W_dec_FD)
    assert looks.recall(W_enc_FD.grad, W_enc_FD) is None  # nobody looked along its rows


def codes_of(rng):
    return SparseCodes.from_topk(torch.rand(20, 3, generator=rng).requires_grad_(), torch.arange(60).view(20, 3), 60)


def test_a_gradient_that_is_all_along_its_rows_leaves_next_to_nothing():
    """The difference of two sums of squares would be their rounding error; the exact rest is found instead."""
    rng = torch.Generator().manual_seed(0)
    W_FD = unit(torch.randn(60, 64, generator=rng))
    codes = codes_of(rng)
    weight_TD = torch.nn.functional.embedding(codes.latents.view(20, 3)[:, 0], W_FD.detach())
    codes = SparseCodes(codes.offsets, codes.latents, codes.values * torch.tensor([1.0, 0, 0] * 20), 60)
    (decode_rows(codes, W_FD) * weight_TD).sum().backward()
    rest, _ = looks.recall(W_FD.grad, W_FD)
    assert rest < 1e-12 * W_FD.grad.double().square().sum()


@pytest.mark.parametrize("change", ["scaled", "added to", "two terms", "rows moved", "gone"])
def test_what_has_changed_is_looked_at_again(change):
    rng = torch.Generator().manual_seed(1)
    W_FD = unit(torch.randn(60, 8, generator=rng))
    loss = decode_rows(codes_of(rng), W_FD).square().sum()
    if change == "two terms":
        loss = loss + W_FD.square().sum()
    loss.backward(retain_graph=True)
    if change == "scaled":
        W_FD.grad.mul_(2)
    if change == "added to":
        loss.backward()
    if change == "rows moved":
        with torch.no_grad():
            W_FD.mul_(1.5)
    if change == "gone":
        shape, W_FD.grad = W_FD.grad.shape, None
        gc.collect()
        W_FD.grad = memory.empty(shape).fill_(3)
    assert looks.recall(W_FD.grad, W_FD) is None
    grad = W_FD.grad.clone()
    found = adam.look(W_FD.grad, W_FD)
    torch.testing.assert_close(found.square_norm, oracle(grad, W_FD)[0], rtol=1e-5, atol=1e-5)
