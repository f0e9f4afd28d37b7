"""Sparse products in Triton. Oracle: products of dense matrices in float64."""

import pytest
import torch

from lexiscope.core.codes import SparseCodes

pytest.importorskip("triton", reason="triton is not installed (the dev extra brings it on Linux x86-64)")
from lexiscope.saes.kernels.triton import gather, launch

TOLERANCE = {torch.float64: 1e-12, torch.float32: 1e-5, torch.bfloat16: 2e-2}
T, D, F = 11, 19, 13


@pytest.fixture
def dense_TF(rng):
    """Some entries; one token without any, one latent without any, one on every other token."""
    dense_TF = torch.randn(T, F, generator=rng) * (torch.rand(T, F, generator=rng) < 0.3)
    dense_TF[:, 4] = 1.5
    dense_TF[:, 7] = 0
    dense_TF[3] = 0
    return dense_TF


def products(dense_TF, dtype, device, rng):
    """The three products, by the kernels and by dense matrices."""
    codes = SparseCodes.from_dense(dense_TF.to(device, dtype))
    table_FD, left_TD = (torch.randn(rows, D, generator=rng).to(device, dtype) for rows in (F, T))
    entries = (codes.latents, codes.offsets)
    wide_TF, wide_FD, wide_TD = (tensor.double() for tensor in (codes.dense(), table_FD, left_TD))
    yield gather.weighted_rows(table_FD, *entries, codes.values), wide_TF @ wide_FD
    yield gather.row_dots(left_TD, table_FD, *entries), (wide_TD @ wide_FD.T)[wide_TF != 0]
    yield gather.weighted_columns(left_TD, *entries, codes.values, F), wide_TF.T @ wide_TD


@pytest.mark.parametrize("dtype", TOLERANCE, ids=str)
def test_products_of_sparse_matrices(dense_TF, dtype, device, rng):
    for ours, expected in products(dense_TF, dtype, device, rng):
        assert ours.dtype == dtype
        torch.testing.assert_close(ours.double(), expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


@pytest.mark.parametrize(("piece", "cells", "lanes", "programs"), [(3, 64, 4, 1), (4, 16, 2, 40)])
def test_where_work_is_cut_moves_nothing(dense_TF, device, rng, monkeypatch, piece, cells, lanes, programs):
    """Popular latents in pieces, rows in stretches of columns, entries of a row among programs."""
    monkeypatch.setattr(gather, "PIECE", piece)
    monkeypatch.setattr(gather, "CELLS", cells)
    monkeypatch.setattr(gather, "LANES", lanes)
    monkeypatch.setattr(launch, "PROGRAMS", programs)
    for ours, expected in products(dense_TF, torch.float64, device, rng):
        torch.testing.assert_close(ours, expected, rtol=1e-12, atol=1e-12)


def test_sums_have_a_fixed_order(dense_TF, device, rng, monkeypatch):
    """Oracle: the same call again, to the last bit, pieces and all."""
    monkeypatch.setattr(gather, "PIECE", 3)
    seed = rng.get_state()
    first = [ours for ours, _ in products(dense_TF, torch.float32, device, rng)]
    rng.set_state(seed)
    for before, (after, _) in zip(first, products(dense_TF, torch.float32, device, rng), strict=True):
        assert torch.equal(before, after)


@pytest.mark.parametrize("tokens", [0, 3])
def test_no_entries_at_all(device, tokens):
    """Oracle: the empty sum."""
    codes = SparseCodes.from_dense(torch.zeros(tokens, F, device=device))
    table_FD, left_TD = torch.ones(F, D, device=device), torch.ones(tokens, D, device=device)
    entries = (codes.latents, codes.offsets)
    assert torch.equal(gather.weighted_rows(table_FD, *entries, codes.values), torch.zeros_like(left_TD))
    assert torch.equal(gather.weighted_columns(left_TD, *entries, codes.values, F), torch.zeros_like(table_FD))
    assert gather.row_dots(left_TD, table_FD, *entries).shape == (0,)


def test_tables_that_are_not_contiguous(dense_TF, device, rng):
    codes = SparseCodes.from_dense(dense_TF.to(device))
    table_DF = torch.randn(D, F, generator=rng).to(device)
    ours = gather.weighted_rows(table_DF.T, codes.latents, codes.offsets, codes.values)
    torch.testing.assert_close(ours, codes.dense() @ table_DF.T, rtol=1e-5, atol=1e-5)
