"""The matrix product of ``gemm.cpp``: to the rounding of float32, faster than products in float32 on tiles."""

from __future__ import annotations

from torch import Tensor

from lexiscope.saes.kernels.native import library
from lexiscope.saes.kernels.native.library import F32, REAL, SIZE, Function

_GEMM = Function("lx_gemm", F32, F32.or_none(), F32, F32, *[SIZE] * 6, REAL)
_HAS_GEMM = Function("lx_has_gemm", returns=SIZE)


def available() -> bool:
    """Whether this processor and the compiler know AMX tiles of bfloat16."""
    return library.loaded().dll is not None and bool(_HAS_GEMM())


def matmul_into(
    out: Tensor,
    a: Tensor,
    b: Tensor,
    *,
    a_t: bool = False,
    b_t: bool = False,
    beta: float = 0.0,
    plus: Tensor | None = None,
) -> None:
    """``out = a b + beta plus``, with a or b transposed if told so.

    ``plus`` is ``out`` if not given, and may be a row that is added to every row.
    """
    (num_rows, depth), (b_depth, width) = a.shape[:: -1 if a_t else 1], b.shape[:: -1 if b_t else 1]
    plus = out if plus is None else plus
    assert depth == b_depth, f"a has {depth} columns, b {b_depth} rows"
    assert out.shape == (num_rows, width), f"out is {tuple(out.shape)}, not {(num_rows, width)}"
    assert plus.shape in (out.shape, out.shape[1:]), f"plus is {tuple(plus.shape)}, out {tuple(out.shape)}"
    plus_stride = width if plus.ndim == 2 else 0
    _GEMM(out, plus, a, b, num_rows, width, depth, int(a_t), int(b_t), plus_stride, beta)
