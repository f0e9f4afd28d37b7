"""Selection in Triton. Oracle: all scores in float64, and torch.topk or a comparison on them."""

import pytest
import torch

from lexiscope.core.errors import InputError

pytest.importorskip("triton", reason="triton is not installed (the dev extra brings it on Linux x86-64)")
from lexiscope.saes.kernels.triton import launch, scores, select, shortlist

BF16, F32 = torch.bfloat16, torch.float32
T, D, F, K = 5, 21, 77, 5


def problem(device, rng, num_latents=F, dtype=torch.float32):
    shapes = (T, D), (num_latents, D), (num_latents,)
    return [torch.randn(*shape, generator=rng).to(device, dtype) for shape in shapes]


def all_scores(x_TD, W_FD, b_F):
    return torch.addmm(b_F.double(), x_TD.double(), W_FD.double().T)


def topk_of(scores_TF, k):
    values_TK, latents_TK = scores_TF.topk(min(k, scores_TF.shape[1]), dim=1)
    return torch.zeros_like(scores_TF).scatter(1, latents_TK, values_TK.relu())


def batch_topk_of(scores_TF, budget):
    values, places = scores_TF.relu().flatten().topk(budget)
    return torch.zeros_like(scores_TF).flatten().scatter(0, places, values).view_as(scores_TF)


def same(codes, expected_TF, tolerance=1e-5):
    assert torch.equal(codes.dense() != 0, expected_TF != 0)
    assert all(torch.equal(codes.row(t)[0].sort().values, codes.row(t)[0]) for t in range(codes.num_tokens))
    torch.testing.assert_close(codes.dense().double(), expected_TF, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("num_latents", "k", "dtype"), [(F, K, BF16), (F, K, F32), (200, 2, BF16), (33, 33, F32), (3, 7, BF16)]
)
def test_topk(device, rng, num_latents, k, dtype):
    """Odd sizes; samples and groups of several sizes; k of all latents and of more than there are."""
    x_TD, W_FD, b_F = problem(device, rng, num_latents)
    same(select.select_topk(x_TD, W_FD, b_F, k, shortlist=dtype), topk_of(all_scores(x_TD, W_FD, b_F), k))


@pytest.mark.parametrize(("floor", "dtype"), [(2.5, F32), (-30.0, BF16), ("each", BF16)])
def test_above(device, rng, floor, dtype, monkeypatch):
    """One floor for all, above and below zero; one for each; more spans than there is room for."""
    monkeypatch.setattr(select, "ABOVE_ROOM", 4)
    monkeypatch.setattr(shortlist, "CELLS", 24)
    x_TD, W_FD, b_F = problem(device, rng)
    floor = 3 * torch.rand(F, generator=rng).to(device) if floor == "each" else floor
    expected_TF = all_scores(x_TD, W_FD, b_F)
    codes = select.select_above(x_TD, W_FD, b_F, floor, shortlist=dtype)
    same(codes, torch.where(expected_TF > floor, expected_TF, 0))


@pytest.mark.parametrize(("k", "dtype"), [(0.3, BF16), (K, F32), (60, BF16), (100, F32)])
def test_batch_topk(device, rng, k, dtype, monkeypatch):
    """Budgets below one for each token, above the positive scores, and above all; tokens of very different size.

    Chunks of one tile and little room, so that the floor rises from chunk to chunk and rooms overflow.
    """
    monkeypatch.setattr(scores, "TILES", dict.fromkeys((2, 4), scores.Tile(16, 16, 16, warps=4, stages=2)))
    monkeypatch.setattr(shortlist, "LEAST_ROOM", 4)
    monkeypatch.setattr(shortlist, "ROOM_PER_K", 1)
    monkeypatch.setattr(shortlist, "CELLS", 1)
    x_TD, W_FD, b_F = problem(device, rng)
    x_TD = torch.randn(20, D, generator=rng).to(device) * torch.linspace(0.1, 3, 20, device=device)[:, None]
    expected_TF = batch_topk_of(all_scores(x_TD, W_FD, b_F), min(round(k * 20), 20 * F))
    same(select.select_batch_topk(x_TD, W_FD, b_F, k, shortlist=dtype), expected_TF)


def test_dtypes(device, rng):
    """bfloat16 and float64 as they come; values in the dtype of x."""
    for dtype, tolerance in ((torch.bfloat16, 1e-2), (torch.float64, 1e-12)):
        x_TD, W_FD, b_F = problem(device, rng, dtype=dtype)
        codes = select.select_topk(x_TD, W_FD, b_F, K)
        assert codes.values.dtype == dtype
        same(codes, topk_of(all_scores(x_TD, W_FD, b_F), K), tolerance)


def test_nothing_fires_and_no_tokens(device, rng):
    x_TD, W_FD, b_F = problem(device, rng)
    for tokens in (0, 2):
        few_TD = x_TD[:tokens]
        for codes in (
            select.select_topk(few_TD, W_FD, b_F - 1000, K),
            select.select_above(few_TD, W_FD, b_F, 1000.0),
            select.select_batch_topk(few_TD, W_FD, b_F - 1000, K),
            select.select_batch_topk(few_TD, W_FD, b_F, 0),
        ):
            assert (len(codes), codes.num_tokens, codes.num_latents) == (0, tokens, F)


def test_plain_torch_takes_scores_of_16_bit_operands_in_float32(device, rng, monkeypatch):
    """An attack: scores above 256 that differ by less than bfloat16 can say: a product in it would have ties."""
    monkeypatch.setattr(select, "ROUNDS", 0)
    x_TD, W_FD, b_F = problem(device, rng, dtype=torch.bfloat16)
    codes = select.select_topk(x_TD, W_FD, b_F + 300, K)
    same(codes, topk_of(all_scores(x_TD, W_FD, b_F + 300), K), 1e-2)


@pytest.mark.parametrize("rounds", [2, 1, 0], ids=["again", "plain torch after one round", "plain torch"])
def test_ties_on_every_latent(device, rng, monkeypatch, rounds):
    """Equal scores cannot be told apart, overflow every room, and go to the lower latents. Oracle: their definition."""
    monkeypatch.setattr(shortlist, "LEAST_ROOM", 2)
    monkeypatch.setattr(shortlist, "ROOM_PER_K", 1)
    monkeypatch.setattr(select, "ROUNDS", rounds)
    x_TD = torch.ones(T, D, device=device)
    W_FD = torch.ones(F, D, device=device)
    codes = select.select_topk(x_TD, W_FD, torch.ones(F, device=device), K)
    assert torch.equal(codes.latents.view(T, K), torch.arange(K, device=device).expand(T, K))
    assert (codes.values == D + 1).all()


def test_ties_in_a_batch(device, rng):
    """Oracle: the definition, lower tokens first."""
    x_TD, W_FD = torch.ones(T, D, device=device), torch.ones(F, D, device=device)
    codes = select.select_batch_topk(x_TD, W_FD, torch.ones(F, device=device), 2 * F / T)
    assert torch.equal(codes.counts(), torch.tensor([F, F, 0, 0, 0], device=device))


def test_overflow_is_put_right(device, rng, monkeypatch):
    """A floor of nothing and little room: the second round, with a better floor, is enough for some tokens."""
    monkeypatch.setattr(shortlist, "LEAST_ROOM", 16)
    monkeypatch.setattr(shortlist, "ROOM_PER_K", 1)
    monkeypatch.setattr(
        select, "sampled_maxima", lambda part, *_: torch.full((part.num_tokens, K), -1e9, device=device)
    )
    x_TD, W_FD, b_F = problem(device, rng, 300)
    same(select.select_topk(x_TD, W_FD, b_F, K), topk_of(all_scores(x_TD, W_FD, b_F), K))


def test_order_below_the_resolution_of_the_shortlist(device, rng):
    """An attack: the true order is in bits that rounding to bfloat16 takes away, where all weights are 1."""
    x_TD = (1 + torch.rand(T, D, generator=rng) * 2**-9).to(device)
    order_F = torch.randperm(F, generator=rng).to(device)
    W_FD = torch.ones(F, D, device=device)
    W_FD[:, 3] += order_F * 2**-14
    assert (W_FD.bfloat16() == 1).float().mean() > 0.99
    codes = select.select_topk(x_TD, W_FD, torch.zeros(F, device=device), K, shortlist=torch.bfloat16)
    expected = torch.arange(F, device=device)[order_F.argsort(descending=True)][:K].sort().values
    assert torch.equal(codes.latents.view(T, K), expected.expand(T, K))


@pytest.mark.filterwarnings("ignore:invalid value encountered:RuntimeWarning")
def test_numbers_that_are_not_finite_stay_with_their_token(device, rng):
    """Oracle: torch.topk, for which not-a-number is the largest; the other tokens do not notice."""
    x_TD, W_FD, b_F = problem(device, rng)
    clean = select.select_topk(x_TD, W_FD, b_F, K)
    x_TD[2, 4], x_TD[3, 0] = torch.nan, torch.inf
    codes = select.select_topk(x_TD, W_FD, b_F, K)
    assert codes.row(2)[1].isnan().all()
    assert len(codes.row(2)[1]) == K
    assert (codes.row(3)[1] == torch.inf).all()
    for token in (0, 1, 4):
        assert torch.equal(codes.row(token)[0], clean.row(token)[0])


def test_tensors_out_of_reach_are_refused(rng, monkeypatch):
    x_TD, W_FD, b_F = problem(torch.device("cpu"), rng)
    with pytest.raises(InputError, match="bfloat16 or float32"):
        select.select_topk(x_TD, W_FD, b_F, K, shortlist=torch.float8_e4m3fn)
    with pytest.raises(InputError, match="one device"):
        select.select_topk(x_TD, W_FD.to("meta"), b_F, K)
    monkeypatch.setattr(launch, "interpreted", lambda: False)
    with pytest.raises(InputError, match="use the stock or native kernels there, or set TRITON_INTERPRET=1"):
        select.select_topk(x_TD, W_FD, b_F, K)
