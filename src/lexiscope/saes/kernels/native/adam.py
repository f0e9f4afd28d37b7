"""Adam's two passes in C++: see ``adam.cpp``. Arguments as in `lexiscope.saes.kernels.adam`."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lexiscope.saes.kernels.native import looks
from lexiscope.saes.kernels.native.library import F32, F64, REAL, SIZE, U8, Function

if TYPE_CHECKING:
    from lexiscope.saes.kernels.adam import Rates

_RATES = (REAL,) * 6
_LOOK = Function("lx_adam_look", F32, F32.or_none(), F32.or_none(), F64, SIZE, SIZE)
_UPDATE = Function("lx_adam_update", F32, F32, F32, F32, F32.or_none(), SIZE, SIZE, *_RATES)
_UPDATE_8 = Function("lx_adam_update_8", F32, F32, U8, F32, U8, F32, F32.or_none(), SIZE, SIZE, *_RATES, SIZE, SIZE)


def look(grad: Tensor, unit_rows: Tensor | None) -> tuple[Tensor, Tensor | None]:
    """Σ g², float64, and ⟨g, w⟩ of every row where rows have length 1. The gradient stays as it is."""
    if (known := looks.recall(grad, unit_rows)) is not None:
        return known
    rows, width = _shape(grad)
    square_norm = torch.empty((), dtype=torch.float64)
    parallel_R = None if unit_rows is None else torch.empty(rows)
    _LOOK(grad, unit_rows, parallel_R, square_norm, rows, width)
    return square_norm, parallel_R


def update(
    parameter: Tensor,
    grad: Tensor,
    moments: Mapping[str, Tensor],
    rates: Rates,
    scale: Tensor | None,
    unit: Tensor | None,
) -> None:
    rows, width = _shape(parameter)
    numbers = (
        1.0 if scale is None else float(scale),
        rates.lr / (1 - rates.beta_1**rates.step),
        rates.beta_1,
        rates.beta_2,
        rates.eps,
        (1 - rates.beta_2**rates.step) ** 0.5,
    )
    if "first" in moments:
        _UPDATE(parameter, grad, moments["first"], moments["second"], unit, rows, width, *numbers)
        return
    names = ("first_codes", "first_scales", "second_codes", "second_scales")
    salts = ((rates.step * 0x9E3779B9) & 0xFFFFFFFF, ((rates.step + (1 << 20)) * 0x9E3779B9) & 0xFFFFFFFF)
    _UPDATE_8(parameter, grad, *(moments[name] for name in names), unit, rows, width, *numbers, *salts)


def _shape(tensor: Tensor) -> tuple[int, int]:
    width = tensor.shape[-1] if tensor.ndim else 1
    return (tensor.numel() // width if width else 0), width
