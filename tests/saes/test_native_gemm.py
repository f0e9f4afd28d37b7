"""Products on AMX tiles. Oracle: torch in float64, to within the bound that gemm.cpp proves."""

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.saes.kernels.native import gemm, select

pytestmark = pytest.mark.skipif(not gemm.available(), reason="no AMX tiles, or no compiler that knows them")

SIZES = [1, 15, 17, 33, 100]


def bound(a, b, added=0.0):
    """How wrong the product may be, element by element."""
    depth = a.shape[1]
    total = a.abs() @ b.abs() + added
    flushed = depth * 2**-123 + 2**-124 * (a.abs().sum(1, keepdim=True) + b.abs().sum(0))
    return (40 + 7 * min(math.ceil(depth / 32), 16) + 2 * math.ceil(depth / 512)) * 2**-24 * total + flushed


def check(a, b, *, a_t=False, b_t=False, beta=0.0, plus=None):
    """a [M, K] and b [K, N] are stored transposed if told so."""
    exact_a, exact_b = a.double(), b.double()
    out = torch.randn(len(a), b.shape[1])
    if beta == 0 or plus is not None:
        out.fill_(math.nan)
    added = beta * (out if plus is None else plus).double() if beta else torch.zeros(())
    expected = exact_a @ exact_b + added
    stored_a, stored_b = (a.t().contiguous() if a_t else a), (b.t().contiguous() if b_t else b)
    gemm.matmul_into(out, stored_a, stored_b, a_t=a_t, b_t=b_t, beta=beta, plus=plus)
    wrong = (out.double() - expected).abs()
    assert (wrong <= bound(exact_a, exact_b, added.abs())).all()
    return out


@pytest.fixture(autouse=True)
def seed():
    torch.manual_seed(0)


@pytest.mark.parametrize("a_t", [False, True])
@pytest.mark.parametrize("b_t", [False, True])
@pytest.mark.parametrize("num_rows", SIZES)
def test_every_order_of_both_matrices_and_sizes_that_fill_no_tile(a_t, b_t, num_rows):
    for width in SIZES:
        for depth in SIZES:
            check(torch.randn(num_rows, depth), torch.randn(depth, width), a_t=a_t, b_t=b_t)


@pytest.mark.parametrize(("a_t", "b_t"), [(False, True), (False, False), (True, False)])
def test_several_blocks_of_rows_and_summands(a_t, b_t):
    """And no more wrong than a product in float32 is."""
    a, b = torch.randn(700, 1100), torch.randn(1100, 90)
    out, exact = check(a, b, a_t=a_t, b_t=b_t), a.double() @ b.double()
    assert (out - exact).square().mean() <= 2 * ((a @ b) - exact).square().mean()


@pytest.mark.parametrize("beta", [0.0, 1.0, -1.0])
@pytest.mark.parametrize("depth", [40, 600])
def test_something_is_added(beta, depth):
    a, b = torch.randn(50, depth), torch.randn(depth, 70)
    check(a, b, beta=beta)
    check(a, b, beta=beta, plus=torch.randn(50, 70))
    check(a, b, beta=beta, plus=torch.randn(70))


@pytest.mark.parametrize("turned", [False, True])
def test_products_with_one_are_exact(turned):
    """All bits of an entry survive being cut into three parts, in a and in b."""
    numbers = torch.randn(64, 64) * 2.0 ** torch.randint(-90, 90, (64, 64))
    stored = numbers.t().contiguous() if turned else numbers
    out, one = torch.empty(64, 64), torch.eye(64)
    gemm.matmul_into(out, stored, one, a_t=turned)
    assert torch.equal(out, numbers)
    gemm.matmul_into(out, one, stored, b_t=turned)
    assert torch.equal(out, numbers)


def test_terms_that_cancel():
    """[x, x (1 + 2^-23)] · [y, -y]: what is left is as small as a rounding error of each term."""
    x, y = torch.randn(40, 200), torch.randn(200, 30)
    check(torch.cat([x, x * (1 + 2**-23)], 1), torch.cat([y, -y]))


def test_rows_and_columns_of_any_scale():
    a = torch.randn(60, 80) * 2.0 ** torch.randint(-60, 60, (60, 1))
    b = torch.randn(80, 50) * 2.0 ** torch.randint(-60, 60, (1, 50))
    check(a, b)


def test_numbers_near_the_smallest():
    check(torch.randn(20, 40) * 2.0**-120, torch.randn(40, 20))
    check(torch.randn(20, 40) * 2.0**-70, torch.randn(40, 20) * 2.0**-70)


@pytest.mark.parametrize("bad", [math.inf, -math.inf, math.nan, 3.4028e38])
@pytest.mark.parametrize("turned", [False, True])
def test_what_is_not_finite_shows_in_its_row_alone(bad, turned):
    a, b = torch.randn(40, 50), torch.randn(50, 40)
    a[7, 33] = bad
    out = torch.empty(40, 40)
    gemm.matmul_into(out, a.t().contiguous() if turned else a, b, a_t=turned)
    others = torch.arange(40) != 7
    assert not out[7].isfinite().any()
    assert out[others].isfinite().all()


def test_every_nan_stays_one():
    """Also those whose bits would carry over if they were rounded."""
    bits = torch.tensor([0x7FFFFFFF, 0x7F800001, -1, 0x7FC00000 | 0xFFFF], dtype=torch.int64).to(torch.int32)
    out = torch.empty(4, 4)
    gemm.matmul_into(out, bits.view(torch.float32)[:, None].contiguous(), torch.ones(1, 4))
    assert out.isnan().all()


def test_the_number_of_threads_changes_no_bit():
    a, b = torch.randn(300, 600), torch.randn(600, 100)
    found, before = [], torch.get_num_threads()
    try:
        for threads in (1, 2, 3):
            torch.set_num_threads(threads)
            out = torch.empty(300, 100)
            gemm.matmul_into(out, a, b)
            found.append(out)
    finally:
        torch.set_num_threads(before)
    assert torch.equal(found[0], found[1])
    assert torch.equal(found[0], found[2])


def test_nothing_to_add_up():
    out = torch.ones(3, 5)
    gemm.matmul_into(out, torch.empty(3, 0), torch.empty(0, 5), beta=-1)
    assert torch.equal(out, -torch.ones(3, 5))
    gemm.matmul_into(torch.empty(0, 5), torch.empty(0, 4), torch.empty(4, 5))


def test_it_is_not_available_where_tiles_are_not():
    try:
        select.limit_shortlist("avx512-bf16")
        assert not gemm.available()
    finally:
        select.limit_shortlist(select.SHORTLISTS[-1])
    assert gemm.available()


@given(
    num_rows=st.integers(1, 80),
    width=st.integers(1, 80),
    depth=st.integers(1, 80),
    a_t=st.booleans(),
    b_t=st.booleans(),
    beta=st.sampled_from([0.0, 1.0, -1.0]),
    spread=st.integers(0, 40),
    seed=st.integers(0, 2**20),
)
@settings(max_examples=80, deadline=None)
def test_any_product(num_rows, width, depth, a_t, b_t, beta, spread, seed):
    """Entries of many sizes, from 2^-spread to 2^spread, some of them zero."""
    torch.manual_seed(seed)
    a, b = (
        torch.randn(shape) * 2.0 ** torch.randint(-spread, spread + 1, shape) * (torch.rand(shape) < 0.9)
        for shape in ((num_rows, depth), (depth, width))
    )
    check(a, b, a_t=a_t, b_t=b_t, beta=beta)
