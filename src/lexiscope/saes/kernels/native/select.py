"""The selection of ``select.cpp``. T tokens, D model width, F latents, N selected."""

from __future__ import annotations

import torch
from torch import Tensor

from lexiscope.core import memory
from lexiscope.core.codes import SparseCodes
from lexiscope.saes.kernels.native import library
from lexiscope.saes.kernels.native.byte_copy import ByteCopy
from lexiscope.saes.kernels.native.library import F32, I32, I64, SIZE, U8, Function

_SELECT = Function("lx_select", F32, F32, F32, F32.or_none(), *[SIZE] * 6, returns=SIZE)
_FEW = Function("lx_select_few", F32, F32, F32, F32.or_none(), *[SIZE] * 4, U8, F32, I64, I64, F32, SIZE, returns=SIZE)
_READ = Function("lx_select_read", F32, F32, F32, *[SIZE] * 4, U8, F32, I32, SIZE, F32)
_OFFSETS = Function("lx_select_offsets", SIZE, I64, returns=SIZE)
_TAKE = Function("lx_select_take", SIZE, I64, I64, F32)
_SHORTLIST = Function("lx_select_shortlist", SIZE, returns=SIZE)

ROOM = 256
"""Latents of a token above their floors, at first."""
SHORTLISTS = ("none", "avx512-bf16", "amx-bf16")


def select_topk(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, k: int, *, may_shorten: bool = True) -> SparseCodes:
    return _select(x_TD, W_FD, b_F, None, k, 0, may_shorten)


def select_above(
    x_TD: Tensor, W_FD: Tensor, b_F: Tensor, floor_F: Tensor | float, *, may_shorten: bool = True
) -> SparseCodes:
    return _select(x_TD, W_FD, b_F, _floors(floor_F, len(W_FD)), 0, 0, may_shorten)


def select_batch_topk(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, k: float, *, may_shorten: bool = True) -> SparseCodes:
    return _select(x_TD, W_FD, b_F, None, 0, round(k * len(x_TD)), may_shorten)


def select_few(
    x_TD: Tensor, W_FD: Tensor, b_F: Tensor, floor_F: Tensor | float | None, k: int, copy: ByteCopy
) -> SparseCodes:
    """`select_above`, or without a floor `select_topk`, for a few tokens."""
    x_TD, b_F = x_TD.contiguous(), b_F.contiguous()
    (num_tokens, width), num_latents = x_TD.shape, W_FD.shape[0]
    floors_F = None if floor_F is None else _floors(floor_F, num_latents)
    room = num_tokens * (k if floor_F is None else ROOM)
    offsets = torch.empty(num_tokens + 1, dtype=torch.int64)
    while True:
        latents_N, values_N = torch.empty(room, dtype=torch.int64), torch.empty(room)
        count = _FEW(
            *(x_TD, W_FD, b_F, floors_F, num_tokens, width, num_latents, k, copy.codes, copy.sizes),
            *(offsets, latents_N, values_N, room),
        )
        if count < room:
            latents_N, values_N = latents_N[:count], values_N[:count]
        if count <= room:
            return SparseCodes(offsets, latents_N, values_N, num_latents)
        room = count


def read_topk(x_TD: Tensor, W_FD: Tensor, b_F: Tensor, k: int, copy: ByteCopy, wanted_J: Tensor) -> Tensor:
    """Of some latents, int32 [J]: their scores where `select_topk` selects them, else 0. [T, J]."""
    x_TD, b_F = x_TD.contiguous(), b_F.contiguous()
    (num_tokens, width), num_latents = x_TD.shape, len(W_FD)
    out_TJ = torch.empty(num_tokens, len(wanted_J))
    _READ(x_TD, W_FD, b_F, num_tokens, width, num_latents, k, copy.codes, copy.sizes, wanted_J, len(wanted_J), out_TJ)
    return out_TJ


def shortlist() -> str:
    """How the processor makes a shortlist, one of `SHORTLISTS`."""
    return SHORTLISTS[_SHORTLIST(len(SHORTLISTS))] if library.loaded().dll is not None else SHORTLISTS[0]


def limit_shortlist(name: str) -> None:
    """Use no better shortlist than this, in the whole process; for tests. The last one is the usual state."""
    _SHORTLIST(SHORTLISTS.index(name))


def _select(
    x_TD: Tensor, W_FD: Tensor, b_F: Tensor, floor_F: Tensor | None, k: int, budget: int, may_shorten: bool
) -> SparseCodes:
    x_TD, W_FD, b_F = x_TD.detach().contiguous(), W_FD.detach().contiguous(), b_F.detach().contiguous()
    (num_tokens, width), num_latents = x_TD.shape, len(W_FD)
    found = _SELECT(x_TD, W_FD, b_F, floor_F, num_tokens, width, num_latents, k, budget, int(may_shorten))
    offsets = torch.empty(num_tokens + 1, dtype=torch.int64)
    count = _OFFSETS(found, offsets)
    latents_N, values_N = memory.empty((count,), torch.int64), memory.empty((count,))
    _TAKE(found, offsets, latents_N, values_N)
    return SparseCodes(offsets, latents_N, values_N, num_latents)


def _floors(floor_F: Tensor | float, num_latents: int) -> Tensor:
    return torch.as_tensor(floor_F, dtype=torch.float32).expand(num_latents).contiguous()
