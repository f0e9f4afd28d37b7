"""What selection rests on: measured rounding, the bound of a score's error, the k-th largest of a row.

Oracles: float64, and operands for which the bound is met exactly; sorting.
"""

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

pytest.importorskip("triton", reason="triton is not installed (the dev extra brings it on Linux x86-64)")
from lexiscope.saes.kernels.triton import launch, prune, rank, shortlist
from lexiscope.saes.kernels.triton.rounding import round_rows
from lexiscope.saes.kernels.triton.scores import SPAN, group_maxima

T, D, F = 6, 40, 50


def test_rounding_is_measured_from_above(device, rng, monkeypatch):
    monkeypatch.setattr(launch, "NUMBERS", 64)  # several programs
    rows_RD = (torch.randn(7, D, generator=rng) * 10.0 ** torch.linspace(-18, 18, 7)[:, None]).to(device)
    rows_RD[3] = rows_RD[3].bfloat16()
    rounded = round_rows(rows_RD, torch.bfloat16)
    torch.testing.assert_close(rounded.rows.float(), rows_RD, rtol=2**-7, atol=0)  # the interpreter cuts bits off
    for measured_R, difference_RD in (
        (rounded.length_R, rows_RD.double()),
        (rounded.slack_R, rows_RD.double() - rounded.rows.double()),
    ):
        true_R = difference_RD.norm(dim=1)
        assert (measured_R.double() >= true_R).all()
        torch.testing.assert_close(measured_R.double(), true_R, rtol=1e-6, atol=0)
    assert rounded.slack_R[3] == 0
    same = round_rows(rows_RD, torch.float32)
    assert same.rows.data_ptr() == rows_RD.data_ptr()
    assert (same.slack_R == 0).all()


def spread(*shape, rng):
    return torch.randn(*shape, generator=rng) * 10.0 ** (6 * torch.rand(*shape, generator=rng) - 3)


def operands(name, rng):
    """x and W. "too low" and "too high" is what scores are: numbers lie midway between two of bfloat16, and rounding to
    even, like cutting off, takes all of them towards zero.
    """
    midway = 1 + 2**-8
    match name:
        case "normal":
            return torch.randn(T, D, generator=rng), torch.randn(F, D, generator=rng)
        case "wide range":
            return spread(T, D, rng=rng), spread(F, D, rng=rng)
        case "x too low":
            return torch.full((T, D), midway), torch.ones(F, D)
        case "x too high":
            return torch.full((T, D), -midway), torch.ones(F, D)
        case "W too low":
            return torch.ones(T, D), torch.full((F, D), midway)
        case "W too high":
            return torch.ones(T, D), torch.full((F, D), -midway)
        case _:
            raise AssertionError(name)


def places(codes, tokens, latents, device):
    kept_TF = torch.zeros(tokens, latents, dtype=torch.bool, device=device)
    kept_TF[codes.tokens(), codes.latents] = True
    return kept_TF


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
@pytest.mark.parametrize("name", ["normal", "wide range", "x too low", "x too high", "W too low", "W too high"])
def test_exact_scores_lie_within_the_bounds(device, rng, name, dtype):
    """The attack: the last four meet Cauchy's inequality with equality, so a bound any smaller would fail here."""
    x_TD, W_FD = (tensor.to(device) for tensor in operands(name, rng))
    b_F = (torch.randn(F, generator=rng) + 2 * D).to(device)
    problem, exact = shortlist.prepare(x_TD, W_FD, b_F, dtype)
    true_TF = torch.addmm(b_F.double(), x_TD.double(), W_FD.double().T)
    lower_TF = group_maxima(problem, F, 1)[:, :F]
    assert (lower_TF.double() <= true_TF).all()

    lowest_T = torch.full((T,), -torch.inf, device=device)
    (codes,) = shortlist.candidates(problem, lowest_T, torch.full((F,), -torch.inf, device=device), F)
    assert len(codes) == T * F
    again_N = exact.scores(codes)
    lower_N, upper_N = shortlist.bounds(problem, codes.tokens(), codes.latents, codes.values)
    assert (lower_N <= again_N).all()
    assert (again_N <= upper_N).all()
    assert (upper_N.double() >= true_TF.flatten()).all()
    if "too" in name and dtype == torch.bfloat16:
        used_N = (true_TF.flatten() - codes.values).abs() / (upper_N - codes.values)
        assert (used_N > 0.98).all()

    slots = shortlist.write_with_room(problem, lowest_T, torch.full((F,), -torch.inf, device=device), F)
    best_N = torch.full_like(slots.scores_NS[:, 0], torch.inf)
    padded_TF = torch.nn.functional.pad(again_N.view(T, F), (0, -F % SPAN), value=-torch.inf)
    best_TS = padded_TF.view(T, -1, SPAN).amax(2)
    for token, (begin, count) in enumerate(zip(slots.begins_T.tolist(), slots.counts_T.tolist(), strict=True)):
        best_N[begin : begin + count] = best_TS[token, slots.spans_N[begin : begin + count].long()]
    assert (prune.lower_bounds(problem, slots) <= best_N).all()

    for place in (1, F // 2):  # an exact score is the floor: equality must be let in, alone in its span too
        floor_T = again_N.view(T, F).sort(dim=1, descending=True).values[:, place - 1]
        wanted_TF = again_N.view(T, F) >= floor_T[:, None]
        (above,) = shortlist.candidates(problem, floor_T, torch.full((F,), -torch.inf, device=device), F)
        assert places(above, T, F, device)[wanted_TF].all()
        kept = prune.drop_below(problem, slots, floor_T)
        for token, (begin, count) in enumerate(zip(kept.begins_T.tolist(), kept.counts_T.tolist(), strict=True)):
            row = set(kept.latents_N[begin : begin + count].tolist())
            assert row >= {f for f in wanted_TF[token].nonzero().flatten().tolist() if true_TF[token, f] > 0}


@pytest.mark.parametrize("factor", [1.0, 1e-4], ids=["cancels", "dominates"])
def test_a_float64_bias_that_float32_cannot_hold_is_within_the_bounds(device, rng, factor):
    """An attack: scores are judged with a float32 bias, which is off by more than the exact scores differ by."""
    x_TD = torch.ones(T, D, dtype=torch.float64, device=device)
    W_FD = torch.full((F, D), -(2.0**20) / D * factor, dtype=torch.float64, device=device)
    b_F = 2.0**20 + torch.rand(F, generator=rng, dtype=torch.float64).to(device) / 100
    assert (b_F.float() == 2**20).all()
    problem, exact = shortlist.prepare(x_TD, W_FD, b_F, torch.float32)
    lowest_T, lowest_F = (torch.full((size,), -torch.inf, device=device) for size in (T, F))
    (codes,) = shortlist.candidates(problem, lowest_T, lowest_F, F)
    lower_N, upper_N = shortlist.bounds(problem, codes.tokens(), codes.latents, codes.values)
    true_N = exact.scores(codes)
    assert (lower_N <= true_N).all()
    assert (true_N <= upper_N).all()


numbers = st.one_of(
    st.floats(width=32, allow_nan=False),
    st.sampled_from([0.0, -0.0, 1.0, -1.0, np.inf, -np.inf, 1e-45, -1e-45, 3.4e38]),
)


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.lists(numbers, min_size=9, max_size=9), min_size=1, max_size=3), k=st.integers(1, 9))
def test_kth_largest_is_that_of_sorting(device, rows, k):
    rows_TC = torch.tensor(rows, device=device)
    ours_T = rank.kth_largest(rows_TC, k)
    assert torch.equal(ours_T, rows_TC.sort(dim=1, descending=True).values[:, k - 1])
    assert (rank.kth_largest(rows_TC, 10) == -torch.inf).all()


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    values=st.lists(st.sampled_from([-2.0, 0.0, 1.0, 1.5, 3.0, np.inf, np.nan]), min_size=7, max_size=7),
    count=st.integers(0, 7),
    k=st.integers(1, 8),
    dtype=st.sampled_from([torch.float32, torch.float64]),
)
def test_choose_is_a_stable_sort(device, values, count, k, dtype):
    """Oracle: sorted() by falling value and rising label, not-a-number first."""
    labels = [12, 3, 9, 0, 7, 5, 30]
    positive = [(v, n) for v, n in list(zip(values, labels, strict=True))[:count] if not v <= 0]
    best = sorted(
        positive, key=lambda pair: (-pair[0] if pair[0] == pair[0] else -np.inf, pair[0] == pair[0], pair[1])
    )[:k]
    best = sorted(best, key=lambda pair: pair[1])
    ours, their_labels = rank.choose(
        torch.tensor([values], dtype=dtype, device=device),
        torch.tensor([labels], dtype=torch.int32, device=device),
        torch.tensor([count], dtype=torch.int32, device=device),
        k,
        99,
    )
    missing = k - len(best)
    assert their_labels[0].tolist() == [n for _, n in best] + [99] * missing
    np.testing.assert_array_equal(ours[0].cpu(), [v for v, _ in best] + [0.0] * missing)
