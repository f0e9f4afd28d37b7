"""Selection on every path and instruction set of this machine against dense scores in float64.

What "the same to fp32 rounding" means: a sum of D products and a bias in float32 is off by at most
(D + 4) u (|x| |w| + |b|), u = 2^-24, in any order. Values have to be that close, and of two latents whose exact scores
differ by no more than both errors either may be selected.
"""

import contextlib

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.kernels import backend, select, stock_select, stock_shortlist
from lexiscope.saes.kernels.native import library
from lexiscope.saes.kernels.native import select as native
from lexiscope.saes.kernels.select import float32_only, select_above, select_batch_topk, select_positive, select_topk

HAS_NATIVE = library.loaded().dll is not None
needs_native = pytest.mark.skipif(not HAS_NATIVE, reason="no C++ compiler")
PATHS = ["dense", "stock", "stock-bf16"]
if HAS_NATIVE:
    PATHS += native.SHORTLISTS[: native.SHORTLISTS.index(native.shortlist()) + 1]
NATIVE_PATHS = PATHS[3:]


@contextlib.contextmanager
def use(path):
    """A stock path, or the native one with no better shortlist than this."""
    if path in ("dense", "stock"):
        with backend.use(path), float32_only():
            yield
        return
    if path == "stock-bf16":
        with backend.use("stock"), always_shorten():
            yield
        return
    native.limit_shortlist(path)
    try:
        with backend.use("native"):
            yield
    finally:
        native.limit_shortlist(native.SHORTLISTS[-1])


@contextlib.contextmanager
def always_shorten(longest_list=1.0):
    """Stock operators shorten on any machine, at any size, however long the list."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(stock_shortlist, "LEAST", (1, 1, 1))
        patch.setattr(stock_shortlist, "has_fast_bfloat16", lambda: True)
        patch.setattr(stock_shortlist, "BOUNDS_PER_BLOCK", 1)
        patch.setattr(stock_select, "LONGEST_LIST", longest_list)
        yield


def tensors(rng, num_tokens=60, width=8, num_latents=64, dtype=torch.float32):
    shapes = (num_tokens, width), (num_latents, width), (num_latents,)
    return [torch.randn(*shape, generator=rng).to(dtype) for shape in shapes]


def exact(x_TD, W_FD, b_F):
    """Scores in float64, and how far off they may be in float32."""
    x_TD, W_FD, b_F = (tensor.double() for tensor in (x_TD, W_FD, b_F))
    size_TF = x_TD.norm(dim=1)[:, None] * W_FD.norm(dim=1) + b_F.abs()
    return x_TD @ W_FD.T + b_F, (x_TD.shape[1] + 4) * 2.0**-24 * size_TF + 1e-37


def check_values(codes, scores_TF, error_TF):
    tokens = codes.tokens()
    assert (codes.values.double() - scores_TF[tokens, codes.latents]).abs().le(error_TF[tokens, codes.latents]).all()
    places = tokens * codes.num_latents + codes.latents
    assert len(places.unique()) == len(places)


def check_largest(codes, scores_TF, error_TF, k):
    """The k largest positive ones of every row, up to rounding."""
    check_values(codes, scores_TF, error_TF)
    chosen_TF = torch.zeros(scores_TF.shape, dtype=torch.bool)
    chosen_TF[codes.tokens(), codes.latents] = True
    assert (codes.values > 0).all()
    assert (codes.counts() <= k).all()
    left_out = (scores_TF - error_TF).masked_fill(chosen_TF, -torch.inf).amax(1)
    weakest = (scores_TF + error_TF).masked_fill(~chosen_TF, torch.inf).amin(1)
    full = codes.counts() == min(k, scores_TF.shape[1])
    assert torch.where(full, left_out <= weakest, left_out <= 0).all()


def same(one, other):
    """Bit for bit, where what is no number counts as itself."""
    return (
        torch.equal(one.offsets, other.offsets)
        and torch.equal(one.latents, other.latents)
        and torch.equal(one.values.view(torch.int32), other.values.view(torch.int32))
    )


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("num_tokens", [0, 1, 60, 130])
def test_what_is_above_a_floor(rng, num_tokens, path):
    """Oracle: the comparison, dense. A negative floor lets negative scores through."""
    x_TD, W_FD, b_F = tensors(rng, num_tokens, width=24, num_latents=96)
    dense_TF = x_TD @ W_FD.T + b_F
    floor_F = torch.linspace(-1, 3, 96)
    with use(path):
        for codes, floor in (
            (select_above(x_TD, W_FD, b_F, floor_F), floor_F),
            (select_above(x_TD, W_FD, b_F, -0.5), -0.5),
            (select_positive(x_TD, W_FD, b_F), 0),
        ):
            torch.testing.assert_close(codes.dense(), dense_TF * (dense_TF > floor), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize(("num_tokens", "k"), [(0, 4), (1, 4), (60, 0.02), (60, 3.3), (60, 64), (700, 2), (700, 40)])
@pytest.mark.parametrize("spread", [0.0, 2.0], ids=["even", "uneven"])
def test_the_largest_of_the_batch(rng, monkeypatch, path, num_tokens, k, spread):
    """Oracle: torch.topk of the flattened dense scores. Uneven batches put nearly all entries on a few tokens."""
    monkeypatch.setattr(stock_select, "SCORES_PER_BLOCK", 64 * 100)
    x_TD, W_FD, b_F = tensors(rng, num_tokens, width=20)
    x_TD *= torch.exp(spread * torch.randn(num_tokens, 1, generator=rng))
    dense_TF = (x_TD @ W_FD.T + b_F).relu()
    values, chosen = dense_TF.flatten().topk(round(k * num_tokens))
    expected = torch.zeros_like(dense_TF).flatten().index_put_((chosen,), values).view_as(dense_TF)
    with use(path):
        codes = select_batch_topk(x_TD, W_FD, b_F, k)
    torch.testing.assert_close(codes.dense(), expected, rtol=1e-5, atol=1e-4)


def test_a_wrong_guess_of_the_floor_is_found_out(rng, monkeypatch):
    """Oracle: the same call with an honest guess."""
    x_TD, W_FD, b_F = tensors(rng)
    with backend.use("stock"):
        honest = select_batch_topk(x_TD, W_FD, b_F, 5)
        monkeypatch.setattr(stock_select, "_guessed_floor", lambda *_: 1e9)
        torch.testing.assert_close(select_batch_topk(x_TD, W_FD, b_F, 5).dense(), honest.dense())


# ---- everything that could fool a shortlist ------------------------------------------------------------------------


def hard_tensors(seed, num_tokens, width, num_latents, *tricks):
    rng = torch.Generator().manual_seed(seed)
    x_TD, W_FD, b_F = tensors(rng, num_tokens, width, num_latents)
    W_FD /= width**0.5
    b_F *= 0.1
    for trick in tricks:
        match trick:
            case "near ties":  # all within less than bfloat16 resolves
                W_FD[:] = W_FD[0] * (1 + 1e-4 * torch.randn(num_latents, 1, generator=rng))
                b_F[:] = 0
            case "copies":
                half = num_latents // 2
                W_FD[-half:], b_F[-half:] = W_FD[:half], b_F[:half]
            case "all equal":
                W_FD[:], b_F[:] = W_FD[0].clone(), b_F[0].clone()
            case "one huge latent":
                W_FD[num_latents // 3] *= 1e6
            case "unequal norms":
                W_FD *= torch.exp(3 * torch.randn(num_latents, 1, generator=rng))
                x_TD *= torch.exp(3 * torch.randn(num_tokens, 1, generator=rng))
            case "an outlier dimension":
                x_TD[:, width // 2] += 300
            case "rounded down":  # every product is off in the same direction, half the latents against the others
                x_TD[:] = (1 + 0.49 * 2.0**-7) * x_TD.abs().log2().round().exp2()
                sign_F = (torch.rand(num_latents, 1, generator=rng) < 0.5).float()
                W_FD[:] = W_FD.abs().log2().round().exp2() * (1 + (0.49 - 0.48 * sign_F) * 2.0**-7)
            case (
                "rounded apart"
            ):  # half the latents lose all they can, the others gain it and were behind by almost both
                sign_D, gains_F = (
                    torch.randn(width, generator=rng).sign(),
                    torch.randn(num_latents, generator=rng).sign(),
                )
                x_TD[:] = sign_D
                W_FD[:] = (1 + torch.rand(width, generator=rng)).bfloat16().float()
                W_FD += 0.49 * 2.0**-7 * gains_F[:, None] * sign_D
                b_F[:] = 2 + 0.001 * torch.rand(num_latents, generator=rng)
                b_F -= 0.85 * 0.49 * 2.0**-7 * width * gains_F
            case "tiny":
                x_TD *= 1e-19
                W_FD *= 1e-19
                b_F *= 1e-38
            case "denormal":
                x_TD *= 1e-40
                b_F *= 1e-40
            case "large":
                x_TD *= 1e17
                W_FD *= 1e17
            case "too large":
                x_TD[::5] *= 1e19
                W_FD[::7] *= 1e18
            case "big biases":
                b_F[:] = 1e6 * torch.randn(num_latents, generator=rng).round()
            case "nothing fires":
                b_F -= 1e3
            case "bfloat16 already":
                x_TD, W_FD = x_TD.bfloat16().float(), W_FD.bfloat16().float()
            case "few tokens have it all":
                x_TD[num_tokens // 2 :] *= 100
    return x_TD, W_FD, b_F


TRICKS = (
    "near ties|copies|all equal|one huge latent|unequal norms|an outlier dimension|rounded down|rounded apart|tiny|"
    "denormal|large|too large|big biases|nothing fires|bfloat16 already|few tokens have it all"
).split("|")


@pytest.mark.parametrize("trick", TRICKS)
@pytest.mark.parametrize("path", PATHS)
def test_the_k_largest_whatever_the_numbers_are(path, trick):
    """Oracle: float64."""
    for k, num_latents, width in ((1, 64, 16), (32, 1100, 70)):
        x_TD, W_FD, b_F = hard_tensors(0, 70, width, num_latents, trick)
        with use(path):
            codes = select_topk(x_TD, W_FD, b_F, k)
        check_largest(codes, *exact(x_TD, W_FD, b_F), k)


HARD_CASES = {
    "seed": st.integers(0, 10**6),
    "tricks": st.lists(st.sampled_from(TRICKS), max_size=2),
    "num_tokens": st.integers(64, 130),
    "width": st.integers(1, 100),
    "num_latents": st.integers(64, 1600),
    "k": st.integers(1, 40),
}


@given(**HARD_CASES)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_stock_bounds_hold(seed, tricks, num_tokens, width, num_latents, k):
    """Oracle: scores in float64, which lie between U - 2 E and U, U being known up to its rounding to bfloat16."""
    x_TD, W_FD, b_F = hard_tensors(seed, num_tokens, width, num_latents, *tricks)
    shortlist = stock_shortlist.Shortlist(W_FD, b_F, b_F / k)
    if not shortlist.is_usable:
        return
    bounds = shortlist.bounds(x_TD)
    usable_T = bounds.usable_T
    U_TF = bounds.keys_TF[usable_T, :num_latents].view(torch.bfloat16).double()
    scores_TF, error_TF = exact(x_TD[usable_T], W_FD, b_F)
    scores_TF -= (b_F / k).double()
    assert (scores_TF <= U_TF + U_TF.abs() * 2.0**-8 + 1e-37).all()
    assert (scores_TF + error_TF >= U_TF - U_TF.abs() * 2.0**-8 - 2 * bounds.error_T[usable_T, None].double()).all()


@pytest.mark.parametrize("longest_list", [1.0, 0.1])
@given(**HARD_CASES)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_shortlist_of_stock_operators_misses_nothing(longest_list, seed, tricks, num_tokens, width, num_latents, k):
    """Oracle: float64. At 0.1 many tokens have lists too long, and are scored as a whole."""
    x_TD, W_FD, b_F = hard_tensors(seed, num_tokens, width, num_latents, *tricks)
    scores_TF, error_TF = exact(x_TD, W_FD, b_F)
    assume(float(scores_TF.abs().max()) < 1e38)
    floor_F = scores_TF.float().quantile(0.98, dim=0)
    with backend.use("stock"), always_shorten(longest_list):
        check_largest(select_topk(x_TD, W_FD, b_F, k), scores_TF, error_TF, k)
        for floor in (floor_F, 0.0, float(floor_F.median())):
            above = select_above(x_TD, W_FD, b_F, floor)
            check_values(above, scores_TF, error_TF)
            found_TF = torch.zeros(scores_TF.shape, dtype=torch.bool)
            found_TF[above.tokens(), above.latents] = True
            assert (found_TF | (scores_TF - error_TF <= floor)).all()
            assert (~found_TF | (scores_TF + error_TF >= floor)).all()
        batch = select_batch_topk(x_TD, W_FD, b_F, k + 0.5)
    one_row = SparseCodes(
        batch.offsets[[0, -1]], batch.tokens() * num_latents + batch.latents, batch.values, num_tokens * num_latents
    )
    check_largest(one_row, scores_TF.view(1, -1), error_TF.view(1, -1), round((k + 0.5) * num_tokens))


@pytest.mark.parametrize("why", ["small", "no fast bfloat16", "float64", "asked"])
def test_stock_operators_shorten_only_where_it_pays(rng, monkeypatch, why):
    x_TD, W_FD, b_F = tensors(rng, 300, 64, 1024)
    monkeypatch.setattr(stock_shortlist, "has_fast_bfloat16", lambda: why != "no fast bfloat16")
    asked = []
    monkeypatch.setattr(stock_select, "Shortlist", lambda *args: asked.append(args) or stock_shortlist.Shortlist(*args))
    with backend.use("stock"):
        select_topk(x_TD, W_FD, b_F, 4)
        assert bool(asked) == (why != "no fast bfloat16")
        asked.clear()
        if why == "small":
            x_TD = x_TD[:100]
        if why == "float64":
            x_TD, W_FD, b_F = x_TD.double(), W_FD.double(), b_F.double()
        with float32_only() if why == "asked" else contextlib.nullcontext():
            select_topk(x_TD, W_FD, b_F, 4)
    assert not asked


@needs_native
@given(**HARD_CASES)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_a_shortlist_changes_no_bit(seed, tricks, num_tokens, width, num_latents, k):
    """Oracle: the same selection from float32 scores of every latent, itself compared with float64 above."""
    x_TD, W_FD, b_F = hard_tensors(seed, num_tokens, width, num_latents, *tricks)
    floor_F = exact(x_TD, W_FD, b_F)[0].float().quantile(0.98, dim=0)
    calls = (
        lambda: select_topk(x_TD, W_FD, b_F, k),
        lambda: select_above(x_TD, W_FD, b_F, floor_F),
        lambda: select_batch_topk(x_TD, W_FD, b_F, k + 0.5),
    )
    with backend.use("native"), float32_only():
        expected = [call() for call in calls]
    for path in NATIVE_PATHS:
        with use(path):
            for call, codes in zip(calls, expected, strict=True):
                assert same(call(), codes), path


@needs_native
def test_a_token_gets_the_same_bits_alone_in_a_batch_and_on_any_number_of_threads(rng):
    x_TD, W_FD, b_F = tensors(rng, 300, 40, 1500)
    threads = torch.get_num_threads()
    with backend.use("native"):
        batch = select_topk(x_TD, W_FD, b_F, 9)
        for token in (0, 7, 299):
            latents, values = batch.row(token)
            alone = select_topk(x_TD[token : token + 1], W_FD, b_F, 9)
            assert torch.equal(alone.latents, latents)
            assert torch.equal(alone.values, values)
        try:
            for number in (1, 2, 5):
                torch.set_num_threads(number)
                assert same(select_topk(x_TD, W_FD, b_F, 9), batch)
        finally:
            torch.set_num_threads(threads)


@needs_native
@pytest.mark.parametrize("instructions", ["portable", "avx2"])
@pytest.mark.parametrize(("num_latents", "width", "k"), [(5, 3, 2), (700, 37, 20), (64, 64, 64)])
def test_other_instruction_sets_select_the_same(rng, instructions, num_latents, width, k):
    """Oracle: float64."""
    x_TD, W_FD, b_F = tensors(rng, 37, width, num_latents)
    library.limit_instructions(instructions)
    try:
        with backend.use("native"):
            largest, above = select_topk(x_TD, W_FD, b_F, k), select_above(x_TD, W_FD, b_F, 0.5)
    finally:
        library.limit_instructions(library.INSTRUCTION_SETS[-1])
    scores_TF, error_TF = exact(x_TD, W_FD, b_F)
    check_largest(largest, scores_TF, error_TF, k)
    check_values(above, scores_TF, error_TF)
    assert len(above) == (scores_TF > 0.5).sum()


@pytest.mark.parametrize("path", PATHS)
def test_numbers_that_are_none_stay_where_they_are(rng, path):
    """A token that is not finite selects nothing above a floor, and the others what they always select."""
    x_TD, W_FD, b_F = tensors(rng, 80, 20, 300)
    with use(path):
        clean = select_above(x_TD, W_FD, b_F, 3.0), select_topk(x_TD, W_FD, b_F, 4)
        x_TD[5, 3] = torch.nan
        found = select_above(x_TD, W_FD, b_F, 3.0), select_topk(x_TD, W_FD, b_F, 4)
        W_FD[7, 2] = torch.nan
        latents_of_others = select_above(x_TD, W_FD, b_F, 3.0).latents
    assert found[0].counts()[5] == 0
    for before, after in zip(clean, found, strict=True):
        for token in (0, 4, 6, 79):
            assert torch.equal(before.row(token)[0], after.row(token)[0])
    assert 7 not in latents_of_others
    assert len(latents_of_others) > 0


@needs_native
def test_no_matrix_of_scores_is_kept(rng):
    """More entries than expected are still found: lists get wider."""
    x_TD, W_FD, b_F = tensors(rng, 100, 16, 3000)
    with backend.use("native"):
        codes = select_above(x_TD, W_FD, b_F, -100.0)
    assert len(codes) == 100 * 3000
    torch.testing.assert_close(codes.dense(), x_TD @ W_FD.T + b_F, rtol=1e-5, atol=1e-5)


def test_float32_only_ends_with_its_block():
    with float32_only():
        assert not select._may_shorten
    assert select._may_shorten
