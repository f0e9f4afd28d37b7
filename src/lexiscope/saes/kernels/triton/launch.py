"""Where kernels may run, and the few numbers that every launch needs."""

from __future__ import annotations

import torch
import triton  # type: ignore[import-untyped,import-not-found,unused-ignore]
from torch import Tensor

from lexiscope.core.errors import InputError

WIDEST_ROW = 16_384
"""Columns that one program may hold in registers: four rows of fp32 are then 128 registers of each of 512 threads."""

NUMBERS = 2048
"""Of a row-wise program, where rows are shorter than that."""
PROGRAMS = 2048
"""Enough to fill a device: 15 for each of 132 multiprocessors."""


def interpreted() -> bool:
    """Whether kernels run in Triton's interpreter (TRITON_INTERPRET=1 before the first import of triton)."""
    return bool(triton.knobs.runtime.interpret)


def check(*tensors: Tensor) -> None:
    """Refuse tensors that no kernel here can reach.

    Raises:
        InputError: they are not all on the current CUDA device, and Triton does not interpret.
    """
    devices = {str(tensor.device) for tensor in tensors}
    if len(devices) > 1:
        raise InputError(
            f"triton kernels were given tensors on {' and '.join(sorted(devices))}; put them on one device"
        )
    if interpreted():
        return
    device = tensors[0].device
    if device.type != "cuda":
        raise InputError(
            f"triton kernels can't reach tensors on {device}; use the stock or native kernels there, or set "
            "TRITON_INTERPRET=1 to run them slowly in Triton's interpreter"
        )
    if device.index != torch.cuda.current_device():
        raise InputError(
            f"triton launches on cuda:{torch.cuda.current_device()}; call torch.cuda.set_device('{device}')"
        )


def power_of_two(size: int) -> int:
    """The smallest power of two that is not below ``size``; at least 1."""
    return 1 << max(0, size - 1).bit_length()


def rows_for(block: int) -> int:
    """How many rows of ``block`` columns one program takes: short rows share one."""
    return max(1, NUMBERS // block)


def warps_for(elements: int) -> int:
    """Warps of a program that holds so many numbers: 16 of them in each thread, within 1 to 16 warps."""
    return max(1, min(16, elements // 512))


def warps_across(columns: int, dtype: torch.dtype) -> int:
    """Warps for which one load of 16 bytes in every thread covers a row: sums over rows then stay in the thread."""
    return max(1, min(16, columns * dtype.itemsize // 512))


def wide_type(dtype: torch.dtype) -> torch.dtype:
    """In what sums are taken: float64 for float64, otherwise float32."""
    return torch.float64 if dtype == torch.float64 else torch.float32
