"""A copy of the weights in bytes leaves out no latent. Oracle: the selection without it, bit for bit."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope import saes
from lexiscope.core.codes import SparseCodes
from lexiscope.saes.kernels import backend, kept
from lexiscope.saes.kernels.kept import WORTH_A_COPY, Kept
from lexiscope.saes.kernels.native import byte_copy, library
from lexiscope.saes.kernels.native import select as native
from lexiscope.saes.kernels.select import float32_only, read_topk, select_above, select_topk
from lexiscope.saes.parts import columns

HAS_COPY = byte_copy.serves(torch.zeros(1, 1))
needs_copy = pytest.mark.skipif(not HAS_COPY, reason="no native kernels, or a processor without AVX512-VNNI")


def same(one, other):
    """Bit for bit, where what is no number counts as itself."""
    return (
        torch.equal(one.offsets, other.offsets)
        and torch.equal(one.latents, other.latents)
        and torch.equal(one.values.view(torch.int32), other.values.view(torch.int32))
    )


def tensors(rng, num_tokens, width, num_latents):
    return [torch.randn(*shape, generator=rng) for shape in ((num_tokens, width), (num_latents, width), (num_latents,))]


def check(x_TD, W_FD, b_F, k):
    """Every selection with a copy, and every latent read for itself."""
    copy = byte_copy.copy_of(W_FD)
    largest = native.select_topk(x_TD, W_FD, b_F, k)
    assert same(native.select_few(x_TD, W_FD, b_F, None, k, copy), largest)
    for floor in (0.0, -0.5, torch.linspace(-1, 3, len(W_FD))):
        plain = native.select_above(x_TD, W_FD, b_F, floor)
        assert same(native.select_few(x_TD, W_FD, b_F, floor, 0, copy), plain)
    wanted_J = torch.arange(len(W_FD), dtype=torch.int32).flip(0)
    read_TJ = native.read_topk(x_TD, W_FD, b_F, k, copy, wanted_J)
    assert torch.equal(read_TJ.flip(1).view(torch.int32), largest.dense().view(torch.int32))


@needs_copy
@settings(max_examples=60, deadline=None)
@given(
    seed=st.integers(0, 2**16),
    num_tokens=st.integers(0, 5),
    width=st.integers(1, 70),
    num_latents=st.integers(1, 200),
    k=st.integers(1, 40),
    sizes=st.tuples(*[st.sampled_from([1e-25, 1e-3, 1.0, 1e3, 1e25])] * 3),
)
def test_sizes_and_scales_of_all_kinds(seed, num_tokens, width, num_latents, k, sizes):
    rng = torch.Generator().manual_seed(seed)
    x_TD, W_FD, b_F = (
        tensor * size for tensor, size in zip(tensors(rng, num_tokens, width, num_latents), sizes, strict=True)
    )
    check(x_TD, W_FD, b_F, k)


@needs_copy
@pytest.mark.parametrize("odd", [float("nan"), float("inf"), -float("inf"), 3e38, 1e-42, 0.0])
@pytest.mark.parametrize("where", ["x", "W", "b"])
def test_numbers_that_have_no_bound(rng, odd, where):
    """In one token, one latent or one bias, and in a whole row of each."""
    x_TD, W_FD, b_F = tensors(rng, 4, 20, 150)
    for place in ((2, 5), 2) if where != "b" else (2, slice(40, 60)):
        changed = {"x": x_TD.clone(), "W": W_FD.clone(), "b": b_F.clone()}
        changed[where][place] = odd
        check(*changed.values(), 7)


@needs_copy
def test_scores_that_rounding_cannot_tell_apart(rng):
    """Latents that differ by the last bit of one entry, and equal ones, of which the first count."""
    x_TD, row_D = torch.randn(3, 64, generator=rng).abs(), torch.randn(64, generator=rng).abs()
    W_FD = row_D.repeat(300, 1)
    W_FD[::3] = torch.nextafter(W_FD[::3], torch.tensor(torch.inf))
    W_FD[1::3, 7] = torch.nextafter(W_FD[1::3, 7], torch.tensor(0.0))
    check(x_TD, W_FD, torch.zeros(300), 50)


@needs_copy
def test_one_dimension_that_outweighs_the_others(rng):
    x_TD, W_FD, b_F = tensors(rng, 5, 100, 500)
    x_TD[:, 17] *= 1000
    W_FD[:, 17] /= 100
    check(x_TD, W_FD, b_F, 20)


@needs_copy
def test_threads_share_what_is_large(rng):
    """Where tokens, latents and width make much work, several threads bound and choose."""
    x_TD, W_FD, b_F = tensors(rng, 6, 256, 3000)
    threads = torch.get_num_threads()
    torch.set_num_threads(3)
    try:
        check(x_TD, W_FD, b_F, 40)
    finally:
        torch.set_num_threads(threads)


@needs_copy
def test_it_is_made_once_it_pays_and_let_go_when_weights_change(rng):
    """Oracle: the selection from the weights as they are at that moment."""
    x_TD, W_FD, b_F = tensors(rng, 1, 24, 300)
    weights = Kept(W_FD)
    for call in range(1, 2 * WORTH_A_COPY):
        assert (weights.copy_for(x_TD) is not None) == (call >= WORTH_A_COPY)
    other_FD = W_FD.clone()

    def encode(x_TD):
        assert kept.copy_at_hand(W_FD) is not None
        assert kept.copy_at_hand(other_FD) is None
        assert same(select_topk(x_TD, W_FD, b_F, 8), native.select_topk(x_TD, W_FD, b_F, 8))
        assert same(select_above(x_TD, other_FD, b_F, 0.3), native.select_above(x_TD, other_FD, b_F, 0.3))
        W_FD.neg_()
        assert kept.copy_at_hand(W_FD) is None
        return select_topk(x_TD, W_FD, b_F, 8)

    assert same(weights.encode(x_TD, encode), native.select_topk(x_TD, W_FD, b_F, 8))
    assert weights.copy_for(x_TD) is None
    for _ in range(WORTH_A_COPY):
        copy = weights.copy_for(x_TD)
    assert same(native.select_few(x_TD, W_FD, b_F, None, 8, copy), native.select_topk(x_TD, W_FD, b_F, 8))


def test_where_it_is_of_no_use(rng):
    """Many tokens, other precision, other kernels, lesser processors, and where somebody wants none."""
    x_TD, W_FD, b_F = tensors(rng, 1, 24, 300)
    weights, wanted_J = Kept(W_FD), torch.tensor([3], dtype=torch.int32)
    for _ in range(WORTH_A_COPY):
        weights.copy_for(x_TD)
    assert (weights.copy_for(x_TD) is not None) == HAS_COPY
    assert weights.copy_for(x_TD.expand(byte_copy.MOST_TOKENS + 1, -1)) is None
    assert weights.copy_for(x_TD.double()) is None
    with backend.use("stock"):
        assert weights.copy_for(x_TD) is None
    with float32_only():
        assert read_topk(x_TD, W_FD, b_F, 8, wanted_J, weights) is None
    for other_FD in (W_FD.double(), W_FD.T, W_FD.to("meta")):
        assert not Kept(other_FD).serves(x_TD)
    if library.loaded().dll is not None:
        library.limit_instructions("avx2")
        try:
            assert not Kept(W_FD).serves(x_TD)
        finally:
            library.limit_instructions(library.INSTRUCTION_SETS[-1])


@pytest.mark.parametrize("path", ["stock", "native"])
@pytest.mark.parametrize("few", [1, 3])
def test_features_are_read_as_they_are_encoded(rng, path, few):
    """Oracle: their columns of the dense codes, from the first call to the last; the same bits where there is a copy.

    Among them are features that fire often, seldom, and never.
    """
    if path == "native" and library.loaded().dll is None:
        pytest.skip("no C++ compiler")
    sample_TD = torch.randn(400, 24, generator=rng) * torch.linspace(0.3, 2, 24)
    sae = saes.create(saes.topk.Config(num_latents=600, k=9), sample_TD)
    with torch.no_grad():
        sae.b_enc_F.uniform_(-1, 0.5, generator=rng)
        sae.b_enc_F[7] = -100
    often = sae.encode(sample_TD).firings().argsort(descending=True)
    chosen = [*often[:3].tolist(), 7, *often[200:206].tolist()]
    with backend.use(path):
        read, expected_TJ = sae.reader(chosen), sae.encode(sample_TD).dense()[:, chosen]
        found_TJ = torch.cat([read(part_TD) for part_TD in sample_TD.split(few)])
    assert (expected_TJ != 0).any()
    torch.testing.assert_close(found_TJ, expected_TJ)
    if path == "native" and HAS_COPY:
        assert torch.equal(found_TJ, expected_TJ)


@pytest.mark.parametrize("num_tokens", [0, 1, 3])
@pytest.mark.parametrize("latents", [[], [5], [9, 0, 5]])
def test_columns_of_codes(rng, num_tokens, latents):
    """Oracle: the dense matrix."""
    dense_TF = torch.randn(num_tokens, 12, generator=rng).relu_()
    dense_TF[:, 9] = 2
    codes = SparseCodes.from_dense(dense_TF)
    assert torch.equal(columns(codes, latents), dense_TF[:, latents])
