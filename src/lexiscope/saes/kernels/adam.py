"""The two passes of `lexiscope.train.adam` over one parameter: look at the gradient, then update. R rows, D columns.

Parameters and gradients are contiguous and seen as [R, D], D being the last dimension.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core import memory
from lexiscope.saes.kernels import backend, eight_bit
from lexiscope.saes.kernels.native import adam as native

ELEMENTS_AT_ONCE = 2**17
"""Elements that the 8-bit path holds in float32 at a time."""


class Look(NamedTuple):
    """What the first pass finds."""

    square_norm: Tensor
    """Σ g², float64 scalar, of the gradient without its part along unit rows."""
    parallel_R: Tensor | None
    """⟨g, w⟩ of every row, where rows are kept at length 1."""


class Rates(NamedTuple):
    lr: float
    beta_1: float
    beta_2: float
    eps: float
    step: int
    """1 at the first update."""


def fresh_moments(parameter: Tensor, state_bits: int) -> dict[str, Tensor]:
    """State of a parameter before its first step."""
    if state_bits == 8 and parameter.ndim > 1:
        rows, width = _rows(parameter).shape
        scales = parameter.new_zeros(rows, eight_bit.num_blocks(width), dtype=torch.float32)
        lead = parameter.shape[:-1]
        return {
            "first_codes": _zeros(parameter, torch.uint8),
            "first_scales": scales.view(*lead, -1),
            "second_codes": _zeros(parameter, torch.uint8),
            "second_scales": scales.clone().view(*lead, -1),
        }
    return {name: _zeros(parameter, parameter.dtype) for name in ("first", "second")}


def _zeros(like: Tensor, dtype: torch.dtype) -> Tensor:
    return memory.lasting(like.shape, dtype) if like.device.type == "cpu" else torch.zeros_like(like, dtype=dtype)


def look(grad: Tensor, unit_rows: Tensor | None) -> Look:
    """The first pass. ``unit_rows``: the parameter, if its rows have length 1. The gradient may be changed to match."""
    match _path(grad) if unit_rows is None else _path(grad, unit_rows):
        case "native":
            return Look(*native.look(grad, unit_rows))
        case "triton":
            from lexiscope.saes.kernels.triton import adam as triton

            return Look(*triton.look(grad, unit_rows))
    if unit_rows is None:
        return Look(_square_norm(grad), None)
    parallel_R = torch.linalg.vecdot(_rows(grad), _rows(unit_rows))
    _rows(grad).addcmul_(parallel_R[:, None], _rows(unit_rows), value=-1)
    return Look(_square_norm(grad), parallel_R)


def update(
    parameter: Tensor, grad: Tensor, moments: dict[str, Tensor], rates: Rates, scale: Tensor | None, unit: Tensor | None
) -> None:
    """The second pass, in place: ``scale`` times the gradient updates the moments, they the parameter.

    ``unit`` is what `look` found along unit rows: then rows end with length 1. The gradient may be used up.
    """
    match _path(parameter, grad):
        case "native":
            native.update(parameter, grad, moments, rates, scale, unit)
            return
        case "triton":
            if "first" in moments:
                from lexiscope.saes.kernels.triton import adam as triton

                triton.update(parameter, grad, moments, rates, scale, unit)
                return
            if unit is not None:  # its look left the gradient as it was
                _rows(grad).sub_(unit[:, None].to(grad.dtype) * _rows(parameter))
    if scale is not None and (grad.is_cuda or bool(scale < 1)):
        grad.mul_(scale)
    if "first" in moments:
        _fused(parameter, grad, moments["first"], moments["second"], rates)
    else:
        _eight_bit(parameter, grad, moments, rates)
    if unit is not None:
        rows_RD = _rows(parameter)
        rows_RD.div_(rows_RD.norm(dim=1, keepdim=True).clamp_min(torch.finfo(parameter.dtype).tiny))


def _path(*tensors: Tensor) -> str:
    """What does not lie in one piece is left to torch, as are rows that no program of Triton's could hold."""
    path = backend.path(*tensors) if all(tensor.is_contiguous() for tensor in tensors) else "stock"
    if path == "triton":
        from lexiscope.saes.kernels.triton.launch import WIDEST_ROW

        if any(tensor.ndim and tensor.shape[-1] > WIDEST_ROW for tensor in tensors):
            return "stock"
    return path


def _fused(parameter: Tensor, grad: Tensor, first: Tensor, second: Tensor, rates: Rates) -> None:
    """What torch.optim.Adam(fused=True) calls."""
    steps = [torch.tensor(float(rates.step), device=parameter.device)]
    torch._fused_adam_(
        [parameter],
        [grad],
        [first],
        [second],
        [],
        steps,
        lr=rates.lr,
        beta1=rates.beta_1,
        beta2=rates.beta_2,
        weight_decay=0.0,
        eps=rates.eps,
        amsgrad=False,
        maximize=False,
    )


def _eight_bit(parameter: Tensor, grad: Tensor, moments: dict[str, Tensor], rates: Rates) -> None:
    p_RD, g_RD = _rows(parameter), _rows(grad)
    codes_1, scales_1, codes_2, scales_2 = (
        _rows(moments[name]) for name in ("first_codes", "first_scales", "second_codes", "second_scales")
    )
    size = max(1, ELEMENTS_AT_ONCE // p_RD.shape[1])
    for start in range(0, len(p_RD), size):
        rows = slice(start, start + size)
        first = eight_bit.decode(codes_1[rows], scales_1[rows], second=False).to(p_RD.dtype)
        second = eight_bit.decode(codes_2[rows], scales_2[rows], second=True).to(p_RD.dtype)
        _fused(p_RD[rows], g_RD[rows], first, second, rates)
        for moment, codes, scales in ((first, codes_1, scales_1), (second, codes_2, scales_2)):
            codes[rows], scales[rows] = eight_bit.encode(
                moment.float(), second=moment is second, first_row=start, step=rates.step
            )


def _square_norm(grad: Tensor) -> Tensor:
    norm: Tensor = torch.linalg.vector_norm(grad)
    return norm.double().square()


def _rows(tensor: Tensor) -> Tensor:
    return tensor.view(-1, tensor.shape[-1]) if tensor.ndim else tensor.view(1, 1)
