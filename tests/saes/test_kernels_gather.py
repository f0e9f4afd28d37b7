"""The sparse products of every path that runs here. Oracle: dense matrices in float64.

The native ones are also driven down each of their paths with little data: tiles, several threads, every set of
instructions, dot products in pieces.
"""

import contextlib
import itertools

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.kernels import backend, dense, gather, stock
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.kernels.encode import encode_topk
from lexiscope.saes.kernels.native import library, rows
from lexiscope.saes.kernels.native.library import SIZE, Function

HAS_NATIVE = library.loaded().dll is not None
needs_native = pytest.mark.skipif(not HAS_NATIVE, reason=f"no native library: {library.loaded().reason}")
PATHS = ["dense", "stock", *(["native"] if HAS_NATIVE else [])]
TUNE = Function("lx_tune_rows", SIZE, SIZE, SIZE, SIZE)


@contextlib.contextmanager
def threads(number):
    before = torch.get_num_threads()
    torch.set_num_threads(number)
    try:
        yield
    finally:
        torch.set_num_threads(before)


@contextlib.contextmanager
def tuned(cache, multiply_adds, entries, per_column):
    TUNE(cache, multiply_adds, entries, per_column)
    try:
        yield
    finally:
        TUNE(2**30, 2**15, 2**19, 6)


@contextlib.contextmanager
def instructions(name):
    library.limit_instructions(name)
    try:
        yield
    finally:
        library.limit_instructions(library.INSTRUCTION_SETS[-1])


@st.composite
def problems(draw):
    """Sparse codes of several kinds, and what they are multiplied with."""
    num_rows = draw(st.sampled_from([0, 1, 2, 17, 60]))
    num_columns = draw(st.sampled_from([1, 5, 33, 90]))
    width = draw(st.sampled_from([1, 7, 15, 16, 17, 64, 96, 150]))
    kind = draw(st.sampled_from(["thin", "full", "empty", "one column", "empty rows"]))
    rng = torch.Generator().manual_seed(draw(st.integers(0, 2**20)))
    fill = torch.rand(num_rows, num_columns, generator=rng)
    keep = fill < {"thin": 0.1, "full": 0.9, "empty": 0.0, "one column": 0.02, "empty rows": 0.2}[kind]
    if kind == "one column":
        keep[:, num_columns // 2] = True
    if kind == "empty rows":
        keep[::3] = False
        keep[num_rows // 2 :] = False
    values = torch.randn(num_rows, num_columns, generator=rng) * keep
    codes = SparseCodes.from_dense(values)
    tensors = [torch.randn(*shape, generator=rng) for shape in ((num_columns, width), (num_rows, width), (width,))]
    return codes, *tensors


def results(problem):
    codes, table_FD, left_TD, bias_D = problem
    where = (codes.latents, codes.offsets)
    return [
        gather.weighted_rows(table_FD, *where, codes.values),
        gather.weighted_rows(table_FD, *where, codes.values, bias_D),
        gather.row_dots(left_TD, table_FD, *where),
        gather.weighted_columns(left_TD, *where, codes.values, codes.num_latents),
        *gather.weighted_columns_and_dots(left_TD, *where, codes.values, table_FD),
        *gather.weighted_columns_and_sums(left_TD, *where, codes.values, codes.num_latents),
    ]


def expected(problem):
    codes, table_FD, left_TD, bias_D = problem
    sparse = codes.dense().double()
    product, columns = sparse @ table_FD.double(), sparse.T @ left_TD.double()
    dots = (left_TD.double() @ table_FD.double().T)[codes.tokens(), codes.latents]
    return [product, product + bias_D, dots, columns, columns, dots, columns, sparse.sum(0)]


def assert_right(problem):
    for ours, oracle in zip(results(problem), expected(problem), strict=True):
        assert ours.dtype == torch.float32
        torch.testing.assert_close(ours.double(), oracle, rtol=1e-5, atol=2e-5)


@pytest.mark.parametrize("path", PATHS)
@given(problem=problems())
@settings(max_examples=60, deadline=None)
def test_products_are_those_of_dense_matrices(path, problem):
    with backend.use(path):
        assert_right(problem)


@needs_native
@pytest.mark.parametrize("isa", library.INSTRUCTION_SETS)
@given(
    problem=problems(),
    cache=st.sampled_from([2**8, 2**12, 2**30]),
    entries=st.sampled_from([1, 50, 2**19]),
    per_column=st.sampled_from([0, 2**20]),
)
@settings(max_examples=60, deadline=None)
def test_native_products_down_every_path(isa, problem, cache, entries, per_column):
    """Tiles of all widths, threads for the smallest work, dot products in pieces; one thread and three, bit for bit."""
    tuning = tuned(cache, 1, entries, per_column)
    with backend.use("native"), instructions(isa), tuning, pytest.MonkeyPatch.context() as patch:
        patch.setattr(rows, "FULL_SHARE", 2.0)
        with threads(3):
            assert_right(problem)
            several = results(problem)
        with threads(1):
            alone = results(problem)
    assert all(torch.equal(ours, theirs) for ours, theirs in zip(several, alone, strict=True))


@needs_native
def test_native_lists_by_column_are_the_transposed_codes():
    rng = torch.Generator().manual_seed(0)
    codes = SparseCodes.from_dense(torch.randn(300, 200, generator=rng) * (torch.rand(300, 200, generator=rng) < 0.9))
    with threads(3):
        tokens_N, order_N, starts = rows.transpose(codes.latents, codes.offsets, 200)
    turned = SparseCodes(starts.long(), tokens_N.long(), codes.values[order_N.long()], 300)
    assert torch.equal(turned.dense(), codes.dense().T)
    assert all((tokens_N[a:b].diff() > 0).all() for a, b in itertools.pairwise(starts))


@pytest.mark.parametrize("path", ["stock", pytest.param("native", marks=needs_native)])
def test_one_batch_sorts_its_entries_once_and_another_batch_again(monkeypatch, path):
    """The gradients of decoder and encoder share the lists; changed indices do not."""
    sorts = []
    kernels = {"stock": stock, "native": rows}[path]
    transpose = kernels.transpose
    monkeypatch.setattr(kernels, "transpose", lambda *where: sorts.append(1) or transpose(*where))
    rng = torch.Generator().manual_seed(0)
    x_TD, centre_D, W_FD, b_F = (torch.randn(*shape, generator=rng) for shape in ((40, 8), (8,), (100, 8), (100,)))
    weights = [tensor.requires_grad_() for tensor in (centre_D, W_FD, b_F, W_FD.clone())]
    with backend.use(path):
        for batch in (1, 2):
            codes = encode_topk(x_TD, *weights[:3], 4)
            decode_rows(codes, weights[3]).square().sum().backward()
            assert len(sorts) == batch
        gather.weighted_columns(x_TD, codes.latents, codes.offsets, codes.values.detach(), 100)
        codes.latents.copy_(codes.latents.flip(0))
        turned_FD = gather.weighted_columns(x_TD, codes.latents, codes.offsets, codes.values.detach(), 100)
        assert len(sorts) == 3
    oracle_FD = dense.weighted_columns(x_TD, codes.latents, codes.offsets, codes.values.detach(), 100)
    torch.testing.assert_close(turned_FD, oracle_FD)


@needs_native
def test_numbers_that_are_not_finite_stay_visible():
    """A NaN or an infinity in a row that is used reaches the output; one in a row that is not does not."""
    table_FD = torch.ones(40, 70)
    table_FD[3, 69], table_FD[5, 0], table_FD[7] = torch.nan, torch.inf, torch.nan
    codes = SparseCodes(torch.tensor([0, 2, 3, 4]), torch.tensor([1, 3, 5, 2]), torch.ones(4), 40)
    with backend.use("native"):
        out_TD = gather.weighted_rows(table_FD, codes.latents, codes.offsets, codes.values)
    assert out_TD[0, 69].isnan()
    assert out_TD[1, 0] == torch.inf
    assert out_TD.isfinite().sum() == out_TD.numel() - 2
