"""Sparse encoders and decoders, and the products they are made of, on every path that runs here.

Oracle: the same formulas written densely, with autograd for the gradients.
"""

import pytest
import torch

from lexiscope.core.codes import SparseCodes
from lexiscope.saes.kernels import backend, stock, stock_select
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.kernels.encode import encode_relu, encode_topk
from lexiscope.saes.kernels.native import library

T, D, F = 50, 8, 64


@pytest.fixture(params=["dense", "stock", "native"])
def path(request):
    if request.param == "native" and library.loaded().dll is None:
        pytest.skip(f"no native library: {library.loaded().reason}")
    with backend.use(request.param):
        yield request.param


def leaves(dtype, num_tokens=T, num_latents=F):
    """x, centre, W_enc, b_enc, W_dec, b_dec with gradients, and a weight for every output."""
    rng = torch.Generator().manual_seed(1)
    shapes = [(num_tokens, D), (D,), (num_latents, D), (num_latents,), (num_latents, D), (D,)]
    tensors = [torch.randn(*shape, generator=rng, dtype=dtype).requires_grad_() for shape in shapes]
    return tensors, torch.randn(num_tokens, D, generator=rng, dtype=dtype)


def dense_codes(x_TD, centre_D, W_FD, b_F, k):
    scores_TF = ((x_TD - centre_D) @ W_FD.T + b_F).relu()
    if k is None:
        return scores_TF
    values_TK, latents_TK = scores_TF.topk(k, dim=1)
    return torch.zeros_like(scores_TF).scatter(1, latents_TK, values_TK)


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
@pytest.mark.parametrize("k", [1, 3, 63, 64, None])
def test_codes_outputs_and_all_gradients_are_those_of_dense_autograd(path, dtype, k):
    tensors, weight_TD = leaves(dtype)
    *encoder, W_dec_FD, b_dec_D = tensors
    codes = encode_relu(*encoder) if k is None else encode_topk(*encoder, k)
    out_TD = decode_rows(codes, W_dec_FD, b_dec_D)
    (out_TD * weight_TD).sum().backward()
    ours = [tensor.grad.clone() for tensor in tensors]
    for tensor in tensors:
        tensor.grad = None
    reference_TF = dense_codes(*encoder, k)
    reference_TD = reference_TF @ W_dec_FD + b_dec_D
    (reference_TD * weight_TD).sum().backward()

    tolerance = {"rtol": 1e-10, "atol": 1e-10} if dtype == torch.float64 else {"rtol": 1e-4, "atol": 1e-4}
    torch.testing.assert_close(codes.dense(), reference_TF, **tolerance)
    torch.testing.assert_close(out_TD, reference_TD, **tolerance)
    for mine, tensor in zip(ours, tensors, strict=True):
        torch.testing.assert_close(mine, tensor.grad, **tolerance)


def test_only_the_gradients_asked_for_are_made(path):
    (x_TD, centre_D, W_enc_FD, b_enc_F, W_dec_FD, _), weight_TD = leaves(torch.float64)
    fixed = [tensor.detach() for tensor in (x_TD, centre_D, W_enc_FD, b_enc_F)]
    decode_rows(encode_topk(*fixed, 3), W_dec_FD).mul(weight_TD).sum().backward()
    decode_rows(encode_topk(*fixed[:3], b_enc_F, 3), W_dec_FD.detach()).mul(weight_TD).sum().backward()
    assert W_dec_FD.grad is not None
    assert b_enc_F.grad is not None
    assert x_TD.grad is None


@pytest.mark.parametrize("encode", [lambda *tensors: encode_topk(*tensors, 3), encode_relu])
@pytest.mark.parametrize("num_tokens", [0, 5])
def test_a_batch_on_which_nothing_fires_has_zero_output_and_gradients(path, encode, num_tokens):
    """Oracle: below zero ReLU is flat."""
    tensors, _ = leaves(torch.float32, num_tokens)
    *encoder, W_dec_FD, _ = tensors
    with torch.no_grad():
        encoder[3].fill_(-1000)
    codes = encode(*encoder)
    out_TD = decode_rows(codes, W_dec_FD)
    assert (len(codes), codes.num_tokens, out_TD.shape) == (0, num_tokens, (num_tokens, D))
    out_TD.sum().backward()
    assert all(tensor.grad.count_nonzero() == 0 for tensor in tensors[:-1])


@pytest.mark.parametrize(("num_latents", "k"), [(4096, 32), (4096, 200), (1000, 8), (256, 8)])
def test_topk_in_groups_is_topk(num_latents, k, rng):
    """Oracle: torch.topk over the whole row; widths that do and do not divide into groups."""
    scores_TF = torch.randn(20, num_latents, generator=rng)
    codes = stock_select._Largest(k).of_scores(scores_TF)
    expected_TK, latents_TK = scores_TF.topk(k, dim=1)
    expected_TF = torch.zeros_like(scores_TF).scatter_(1, latents_TK, expected_TK.relu())
    torch.testing.assert_close(codes.dense(), expected_TF, rtol=0, atol=0)


def test_equal_scores_give_k_different_latents():
    codes = stock_select._Largest(16).of_scores(torch.ones(3, 512))
    assert codes.counts().tolist() == [16] * 3
    assert codes.dense().sum() == 48


def test_block_size_moves_nothing(monkeypatch, rng):
    """Oracle: the whole batch at once. Scores of all tokens never exist together."""
    x_TD, W_FD, b_F = (torch.randn(*shape, generator=rng) for shape in ((37, D), (F, D), (F,)))
    whole = stock_select.select_topk(x_TD, W_FD, b_F, 5)
    largest = 0
    addmm = torch.addmm

    def watch(*args, **kwargs):
        nonlocal largest
        largest = max(largest, kwargs["out"].numel())
        return addmm(*args, **kwargs)

    monkeypatch.setattr(stock_select, "SCORES_PER_BLOCK", 4 * F)
    monkeypatch.setattr(torch, "addmm", watch)
    blocks = stock_select.select_topk(x_TD, W_FD, b_F, 5)
    assert largest == 4 * F
    torch.testing.assert_close(blocks.dense(), whole.dense())


@pytest.mark.parametrize("full_share", [0.0, 2.0], ids=["dense blocks", "sparse"])
@pytest.mark.parametrize("in_cache", [2, 10**6], ids=["two rows in cache", "all in cache"])
@pytest.mark.parametrize("zeros", [0, 0.6], ids=["all count", "most weigh nothing"])
def test_gather_products_and_transpose_against_dense_matrices(rng, monkeypatch, full_share, in_cache, zeros):
    monkeypatch.setattr(stock, "FULL_SHARE", full_share)
    monkeypatch.setattr(stock, "BLOCK_CELLS", 14)
    monkeypatch.setattr(stock, "WORTH_SORTING", 0)
    monkeypatch.setattr(stock, "ROWS_IN_CACHE", in_cache)
    monkeypatch.setattr(stock, "CELLS_IN_CACHE", in_cache * D)
    dense_TF = torch.randn(9, 7, generator=rng, dtype=torch.float64) * (torch.rand(9, 7, generator=rng) < 0.3)
    codes = SparseCodes.from_dense(dense_TF)
    places = dense_TF != 0
    codes.values[: round(zeros * len(codes))] = 0
    dense_TF = codes.dense()
    table_FD, left_TD = (torch.randn(rows, D, generator=rng, dtype=torch.float64) for rows in (7, 9))
    weighted_rows, row_dots, weighted_columns = stock.weighted_rows, stock.row_dots, stock.weighted_columns
    product = weighted_rows(table_FD, codes.latents, codes.offsets, codes.values)
    torch.testing.assert_close(product, dense_TF @ table_FD)
    dots = row_dots(left_TD, table_FD, codes.latents, codes.offsets)
    torch.testing.assert_close(dots, (left_TD @ table_FD.T)[places])
    torch.testing.assert_close(stock.many_dots_at(left_TD, table_FD, codes.tokens(), codes.latents), dots)
    turned_product = weighted_columns(left_TD, codes.latents, codes.offsets, codes.values, 7)
    torch.testing.assert_close(turned_product, dense_TF.T @ left_TD)
    tokens_N, order_N, columns = stock.transpose(codes.latents, codes.offsets, 7)
    turned = SparseCodes(columns, tokens_N, codes.values[order_N], 9)
    torch.testing.assert_close(turned.dense(), dense_TF.T)
