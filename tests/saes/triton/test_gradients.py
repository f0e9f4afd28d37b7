"""Encoder and decoder through the Triton path, as an autoencoder uses them. Oracle: dense autograd in float64."""

import pytest
import torch

from lexiscope.saes.kernels import backend
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.kernels.encode import encode_topk

pytest.importorskip("triton", reason="triton is not installed (the dev extra brings it on Linux x86-64)")

T, D, F, K = 6, 9, 40, 3


def test_outputs_and_all_gradients_are_those_of_dense_autograd(device, rng):
    shapes = (T, D), (D,), (F, D), (F,), (F, D)
    tensors = [torch.randn(*shape, generator=rng, dtype=torch.float64).to(device).requires_grad_() for shape in shapes]
    x_TD, centre_D, W_enc_FD, b_enc_F, W_dec_FD = tensors
    target_TD = torch.randn(T, D, generator=rng, dtype=torch.float64).to(device)
    with backend.use("triton"):
        out_TD = decode_rows(encode_topk(x_TD, centre_D, W_enc_FD, b_enc_F, K), W_dec_FD)
        ours = torch.autograd.grad((out_TD - target_TD).square().sum(), tensors)

    values_TK, latents_TK = ((x_TD - centre_D) @ W_enc_FD.T + b_enc_F).topk(K, dim=1)
    expected_TD = torch.zeros(T, F, dtype=torch.float64, device=device).scatter(1, latents_TK, values_TK.relu())
    expected_TD = expected_TD @ W_dec_FD
    expected = torch.autograd.grad((expected_TD - target_TD).square().sum(), tensors)
    torch.testing.assert_close(out_TD, expected_TD, rtol=1e-10, atol=1e-10)
    for mine, theirs in zip(ours, expected, strict=True):
        torch.testing.assert_close(mine, theirs, rtol=1e-10, atol=1e-10)
