"""The two passes of `lexiscope.train.adam` over one parameter: look at the gradient, then update. R rows, D columns.

Parameters and gradients are contiguous and seen as [R, D], D being the last dimension.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core import memory
from lexiscope.saes.kernels import backend, eight_bit
from lexiscope.saes.kernels.native import adam as native

ELEMENTS_AT_ONCE = 2**18
"""Elements that stock operators update at a time: they stay in cache, and 8-bit moments of so many are in float32."""


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
    g_RD = _rows(grad)
    total = torch.zeros((), dtype=torch.float64, device=grad.device)
    parallel_R = None if unit_rows is None else grad.new_empty(len(g_RD))
    for rows in _pieces(g_RD, whole=grad.is_cuda):
        if unit_rows is not None and parallel_R is not None:
            unit_RD = _rows(unit_rows)[rows]
            parallel_R[rows] = torch.linalg.vecdot(g_RD[rows], unit_RD)
            g_RD[rows].addcmul_(parallel_R[rows, None], unit_RD, value=-1)
        total += torch.linalg.vector_norm(g_RD[rows], dim=1).double().square().sum()
    return Look(total, parallel_R)


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
    if scale is not None and not grad.is_cuda and not bool(scale < 1):
        scale = None
    p_RD, g_RD = _rows(parameter), _rows(grad)
    for rows in _pieces(p_RD, whole=grad.is_cuda and "first" in moments):
        if scale is not None:
            g_RD[rows].mul_(scale)
        if "first" in moments:
            first, second = (_rows(moments[name])[rows] for name in ("first", "second"))
            _fused(p_RD[rows], g_RD[rows], first, second, rates)
        else:
            _eight_bit(p_RD[rows], g_RD[rows], moments, rates, rows)
        if unit is not None:
            lengths = torch.linalg.vector_norm(p_RD[rows], dim=1, keepdim=True)
            p_RD[rows].div_(lengths.clamp_min_(torch.finfo(parameter.dtype).tiny))


def _pieces(tensor_RD: Tensor, *, whole: bool) -> Iterator[slice]:
    """As many rows at a time as stay in cache for all that is done to them."""
    size = len(tensor_RD) if whole else max(1, ELEMENTS_AT_ONCE // max(1, tensor_RD.shape[1]))
    for start in range(0, len(tensor_RD), max(1, size)):
        yield slice(start, min(start + size, len(tensor_RD)))


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


def _eight_bit(p_RD: Tensor, g_RD: Tensor, moments: dict[str, Tensor], rates: Rates, rows: slice) -> None:
    codes_1, scales_1, codes_2, scales_2 = (
        _rows(moments[name])[rows] for name in ("first_codes", "first_scales", "second_codes", "second_scales")
    )
    first = eight_bit.decode(codes_1, scales_1, second=False).to(p_RD.dtype)
    second = eight_bit.decode(codes_2, scales_2, second=True).to(p_RD.dtype)
    _fused(p_RD, g_RD, first, second, rates)
    for moment, codes, scales in ((first, codes_1, scales_1), (second, codes_2, scales_2)):
        new_codes, new_scales = eight_bit.encode(
            moment.float(), second=moment is second, first_row=rows.start, step=rates.step
        )
        codes.copy_(new_codes)
        scales.copy_(new_scales)


def _rows(tensor: Tensor) -> Tensor:
    return tensor.view(-1, tensor.shape[-1]) if tensor.ndim else tensor.view(1, 1)
