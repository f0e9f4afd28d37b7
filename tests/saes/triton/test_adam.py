"""Adam in Triton. Oracles: the formulas of the paper in float64; the stock kernels of the same name."""

import pytest
import torch
from torch import nn

from lexiscope.core.errors import InputError
from lexiscope.saes.kernels import adam as stock
from lexiscope.saes.kernels import backend

pytest.importorskip("triton", reason="triton is not installed (the dev extra brings it on Linux x86-64)")
from lexiscope.saes.kernels.triton import adam, launch

RATES = {"lr": 1e-2, "beta_1": 0.9, "beta_2": 0.999, "eps": 1e-8}


def fresh(shape, dtype, device, rng, *, unit):
    weights = torch.randn(shape, generator=rng, dtype=torch.float64)
    return (nn.functional.normalize(weights, dim=-1) if unit else weights).to(device, dtype)


@pytest.mark.parametrize("unit", [True, False], ids=["unit rows", "free rows"])
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32], ids=str)
def test_steps_are_those_of_the_paper_on_the_projected_and_clipped_gradient(device, rng, dtype, unit):
    ours = fresh((6, 7), dtype, device, rng, unit=unit)
    moments = stock.fresh_moments(ours, 32)
    w = ours.double()
    m, v = torch.zeros_like(w), torch.zeros_like(w)
    for step in range(1, 4):
        grad = torch.randn(6, 7, generator=rng).to(device, dtype) * (torch.arange(6, device=device) != 2)[:, None]
        g = grad.double()
        if unit:
            g = g - (g * w).sum(1, keepdim=True) * w
        norm = g.norm()
        scale = (0.5 / norm).clamp(max=1)
        g = g * scale
        m, v = 0.9 * m + 0.1 * g, 0.999 * v + 0.001 * g * g
        w = w - 1e-2 * m / (1 - 0.9**step) / ((v / (1 - 0.999**step)).sqrt() + 1e-8)
        if unit:
            w = w / w.norm(dim=1, keepdim=True)
        look = adam.look(grad, ours if unit else None)
        adam.update(ours, grad, moments, stock.Rates(**RATES, step=step), scale, look.parallel_R)
        torch.testing.assert_close(look.square_norm.sqrt(), norm, rtol=1e-6, atol=0)
    tolerance = 1e-12 if dtype == torch.float64 else 1e-6
    torch.testing.assert_close(ours.double(), w, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(
    ("shape", "unit", "numbers"),
    [((2, 3, 5), True, 4), ((1500,), False, 2048), ((3, 700), False, 2048), ((1,), False, 1)],
)
def test_any_shape_is_what_the_stock_kernels_make_of_it(device, rng, monkeypatch, shape, unit, numbers):
    """Rows of the last dimension; vectors and scalars cut into rows, the last of which is not full."""
    monkeypatch.setattr(launch, "NUMBERS", numbers)
    ours = fresh(shape, torch.float64, device, rng, unit=unit)
    theirs = ours.clone()
    grads = torch.randn((2, *shape), generator=rng, dtype=torch.float64).to(device)
    moments, their_moments = (stock.fresh_moments(ours, 32) for _ in range(2))
    for step, grad in enumerate(grads, 1):
        rates = stock.Rates(**RATES, step=step)
        look = adam.look(grad, ours if unit else None)
        adam.update(ours, grad, moments, rates, None, look.parallel_R)
        their_look = stock.look(grad, theirs if unit else None)
        stock.update(theirs, grad, their_moments, rates, None, their_look.parallel_R)
        torch.testing.assert_close(look.square_norm, their_look.square_norm)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(moments, their_moments)


def test_a_row_of_zeros_stays(device):
    weights = torch.zeros(2, 3, device=device)
    look = adam.look(torch.zeros(2, 3, device=device), weights)
    rates = stock.Rates(**RATES, step=1)
    adam.update(weights, torch.zeros_like(weights), stock.fresh_moments(weights, 32), rates, None, look.parallel_R)
    assert torch.equal(weights, torch.zeros_like(weights))


def test_what_it_cannot_do_is_said(device, monkeypatch):
    monkeypatch.setattr(adam, "WIDEST_ROW", 1024)
    with pytest.raises(InputError, match="at most 1024 columns, not 1025; use the stock kernels"):
        adam.look(torch.zeros(2, 1025, device=device), torch.zeros(2, 1025, device=device))
    with pytest.raises(InputError, match="contiguous"):
        adam.look(torch.zeros(3, 2, device=device).T, None)


def test_rows_too_wide_for_a_program_are_left_to_stock(device, rng, monkeypatch):
    """Both passes, or the part along the row would be taken off twice. Oracle: the stock path."""
    monkeypatch.setattr(launch, "WIDEST_ROW", 8)
    results = []
    for path in ("triton", "stock"):
        weights = fresh((3, 9), torch.float64, device, torch.Generator().manual_seed(1), unit=True)
        grad, moments = torch.ones_like(weights), stock.fresh_moments(weights, 32)
        with backend.use(path):
            look = stock.look(grad, weights)
            stock.update(weights, grad, moments, stock.Rates(**RATES, step=1), None, look.parallel_R)
        results.append(weights)
    assert torch.equal(*results)
