"""Selection against dense scores in float64, which every function here must agree with to fp32 rounding."""

import pytest
import torch

from lexiscope.saes.kernels import select
from lexiscope.saes.kernels.select import select_above, select_batch_topk, select_positive


def tensors(rng, num_tokens=60, width=8, num_latents=64, dtype=torch.float32):
    shapes = (num_tokens, width), (num_latents, width), (num_latents,)
    return [torch.randn(*shape, generator=rng).to(dtype) for shape in shapes]


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("num_tokens", [0, 1, 60])
def test_what_is_above_a_floor(rng, num_tokens, dtype):
    """Oracle: the comparison, dense. A negative floor lets negative scores through."""
    x_TD, W_FD, b_F = tensors(rng, num_tokens, dtype=dtype)
    dense_TF = x_TD @ W_FD.T + b_F
    floor_F = torch.linspace(-1, 3, 64, dtype=dtype)
    for codes, floor in (
        (select_above(x_TD, W_FD, b_F, floor_F), floor_F),
        (select_above(x_TD, W_FD, b_F, -0.5), -0.5),
        (select_positive(x_TD, W_FD, b_F), 0),
    ):
        torch.testing.assert_close(codes.dense(), dense_TF * (dense_TF > floor))


@pytest.mark.parametrize(("num_tokens", "k"), [(0, 4), (1, 4), (60, 0.02), (60, 3.3), (60, 64), (700, 2), (700, 40)])
@pytest.mark.parametrize("spread", [0.0, 2.0], ids=["even", "uneven"])
def test_the_largest_of_the_batch(rng, monkeypatch, num_tokens, k, spread):
    """Oracle: torch.topk of the flattened dense scores. Uneven batches put nearly all entries on a few tokens."""
    monkeypatch.setattr(select, "SCORES_PER_BLOCK", 64 * 100)
    x_TD, W_FD, b_F = tensors(rng, num_tokens)
    x_TD *= torch.exp(spread * torch.randn(num_tokens, 1, generator=rng))
    dense_TF = (x_TD @ W_FD.T + b_F).relu()
    values, chosen = dense_TF.flatten().topk(round(k * num_tokens))
    expected = torch.zeros_like(dense_TF).flatten().index_put_((chosen,), values).view_as(dense_TF)
    torch.testing.assert_close(select_batch_topk(x_TD, W_FD, b_F, k).dense(), expected)


def test_a_wrong_guess_of_the_floor_is_found_out(rng, monkeypatch):
    """Oracle: the same call with an honest guess."""
    x_TD, W_FD, b_F = tensors(rng)
    honest = select_batch_topk(x_TD, W_FD, b_F, 5)
    monkeypatch.setattr(select, "_guessed_floor", lambda *_: 1e9)
    torch.testing.assert_close(select_batch_topk(x_TD, W_FD, b_F, 5).dense(), honest.dense())
