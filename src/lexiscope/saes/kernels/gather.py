"""Two ways to meet rows of a table through compressed sparse rows. All sparse products are made of these.

X rows of a table, R output rows, D columns, N entries. Row r owns the entries ``offsets_R1[r]:offsets_R1[r + 1]``.
"""

from __future__ import annotations

import torch
from torch import Tensor


def weighted_rows(table_XD: Tensor, indices_N: Tensor, offsets_R1: Tensor, weights_N: Tensor) -> Tensor:
    """Sparse times dense: out[r] = Σ weights[n] · table[indices[n]] over the entries n of row r. Shape [R, D]."""
    return torch.nn.functional.embedding_bag(
        indices_N, table_XD, offsets_R1, mode="sum", per_sample_weights=weights_N, include_last_offset=True
    )


def row_dots(left_RD: Tensor, table_XD: Tensor, indices_N: Tensor, offsets_R1: Tensor) -> Tensor:
    """Dense times dense where the pattern has entries: out[n] = ⟨left[r], table[indices[n]]⟩ for entry n of row r."""
    rows_N = torch.repeat_interleave(offsets_R1.diff(), output_size=len(indices_N))
    dots_N: Tensor = torch.ops.aten._embedding_bag_per_sample_weights_backward(  # noqa: SLF001  no public name
        left_RD, table_XD, indices_N, offsets_R1[:-1], rows_N, 0
    )
    return dots_N


def transpose(indices_N: Tensor, offsets_R1: Tensor, num_columns: int) -> tuple[Tensor, Tensor, Tensor]:
    """The same entries ordered by column, as (rows_N, order_N, offsets of columns).

    ``order_N`` takes values in the old order to the new one; rows ascend within a column, so sums have a fixed order.
    """
    sorted_N, order_N = indices_N.to(torch.int32).sort(stable=True)  # int32: a radix sort of half the traffic
    rows_N = torch.repeat_interleave(offsets_R1.diff(), output_size=len(indices_N))[order_N]
    edges = torch.arange(num_columns + 1, dtype=torch.int32, device=indices_N.device)
    return rows_N, order_N, torch.searchsorted(sorted_N, edges)
