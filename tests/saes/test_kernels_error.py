"""The fused mean square error. Oracle: the formula in float64 under autograd."""

import pytest
import torch

from lexiscope.saes.kernels import backend
from lexiscope.saes.kernels.error import mean_square
from lexiscope.saes.kernels.native import library

PATHS = ["stock", *(["native"] if library.loaded().dll is not None else [])]


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (37, 64), (300, 301)])
@pytest.mark.parametrize("weight", [1.0, 0.25])
def test_value_and_gradients(path, shape, weight):
    rng = torch.Generator().manual_seed(0)
    ours = [torch.randn(*shape, generator=rng).requires_grad_() for _ in range(2)]
    oracle = [tensor.detach().double().requires_grad_() for tensor in ours]
    with backend.use(path):
        loss = mean_square(*ours)
        (weight * loss).backward()
    expected = (oracle[0] - oracle[1]).square().mean()
    (weight * expected).backward()
    torch.testing.assert_close(loss.double(), expected, rtol=1e-6, atol=0)
    for mine, theirs in zip(ours, oracle, strict=True):
        torch.testing.assert_close(mine.grad.double(), theirs.grad, rtol=1e-5, atol=1e-9)


@pytest.mark.parametrize("path", PATHS)
def test_two_backward_passes_add_up_and_a_broadcast_target_works(path):
    rng = torch.Generator().manual_seed(1)
    output_TD, target_D = torch.randn(6, 4, generator=rng), torch.randn(4, generator=rng)
    output_TD.requires_grad_()
    target_D.requires_grad_()
    with backend.use(path):
        loss = mean_square(output_TD, target_D)
        loss.backward(retain_graph=True)
        loss.backward()
    error_TD = (output_TD - target_D).detach()
    torch.testing.assert_close(output_TD.grad, 4 * error_TD / 24)
    torch.testing.assert_close(target_D.grad, -4 * error_TD.sum(0) / 24)


@pytest.mark.skipif("native" not in PATHS, reason="no native library")
def test_one_thread_and_three_agree_bit_for_bit():
    rng = torch.Generator().manual_seed(2)
    tensors = [torch.randn(400, 333, generator=rng) for _ in range(2)]
    before, losses = torch.get_num_threads(), []
    try:
        for threads in (1, 3):
            torch.set_num_threads(threads)
            with backend.use("native"):
                losses.append(mean_square(*tensors))
    finally:
        torch.set_num_threads(before)
    assert torch.equal(*losses)
