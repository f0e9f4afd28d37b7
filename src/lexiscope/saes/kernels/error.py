"""The mean square error, with its gradient found in the same pass. T tokens, D model width."""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

from lexiscope.core import memory
from lexiscope.saes.kernels import backend
from lexiscope.saes.kernels.native.library import F32, F64, REAL, SIZE, Function

_SQUARE_ERROR = Function("lx_square_error", F32, F32, F32, F64, SIZE, REAL)


def mean_square(output_TD: Tensor, target_TD: Tensor) -> Tensor:
    """Mean (output - target)², with gradients for both."""
    return cast(Tensor, _MeanSquare.apply(output_TD, target_TD))  # type: ignore[no-untyped-call]


class _MeanSquare(torch.autograd.Function):
    """Keeps 2 (output - target) / T D, which is the gradient if the mean is all there is to the loss."""

    @staticmethod
    def forward(ctx: Any, output_TD: Tensor, target_TD: Tensor) -> Tensor:
        count = output_TD.numel()
        if backend.path(output_TD, target_TD) == "native" and output_TD.shape == target_TD.shape and count:
            grad_TD, total = memory.empty(output_TD.shape), torch.empty((), dtype=torch.float64)
            _SQUARE_ERROR(output_TD.contiguous(), target_TD.contiguous(), grad_TD, total, count, 2 / count)
            mean = (total / count).to(output_TD.dtype)
        else:
            error_TD = _difference(output_TD, target_TD)
            mean = torch.linalg.vector_norm(error_TD, dim=-1).square().mean() / error_TD.shape[-1]
            grad_TD = error_TD.mul_(2 / max(1, error_TD.numel()))
        ctx.save_for_backward(grad_TD)
        ctx.shapes = output_TD.shape, target_TD.shape
        return mean

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        (grad_TD,) = ctx.saved_tensors
        if grad.device.type != "cpu" or float(grad) != 1:
            grad_TD = grad_TD * grad
        needs_output, needs_target = ctx.needs_input_grad
        return (
            grad_TD.sum_to_size(ctx.shapes[0]) if needs_output else None,
            -grad_TD.sum_to_size(ctx.shapes[1]) if needs_target else None,
        )


def _difference(output_TD: Tensor, target_TD: Tensor) -> Tensor:
    if output_TD.device.type != "cpu" or output_TD.shape != target_TD.shape or output_TD.dtype != target_TD.dtype:
        return output_TD - target_TD
    return torch.sub(output_TD, target_TD, out=memory.empty(output_TD.shape, output_TD.dtype))
