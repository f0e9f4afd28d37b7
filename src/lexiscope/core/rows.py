"""Rows as tensors: a list of named tuples packed column by column, for a checkpoint.

A field holds numbers, text, or one-dimensional arrays of any lengths, the same kind in every row. Everything comes back
bit for bit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, TypeVar

import numpy as np
import torch
from torch import Tensor

Row = TypeVar("Row", bound=NamedTuple)


def pack(rows: Sequence[Row], prefix: str) -> dict[str, Tensor]:
    """Tensors with names that begin with ``prefix``; none if there are no rows."""
    tensors: dict[str, Tensor] = {}
    for field, values in zip(rows[0]._fields, zip(*rows, strict=True), strict=True) if rows else ():
        name = f"{prefix}{field}"
        first = values[0]
        if isinstance(first, str):
            tensors |= _pack_arrays(f"{name}.text", [np.frombuffer(text.encode(), np.uint8) for text in values])
        elif isinstance(first, np.ndarray):
            tensors |= _pack_arrays(f"{name}.array", values)
        else:
            tensors[name] = torch.tensor(values, dtype=torch.int64 if isinstance(first, int) else torch.float64)
    return tensors


def unpack(tensors: Mapping[str, Tensor], kind: type[Row], prefix: str) -> list[Row]:
    """The rows that were packed under this prefix."""
    columns: list[list[Any]] = []
    for field in kind._fields:
        name = f"{prefix}{field}"
        if name in tensors:
            columns.append(tensors[name].tolist())
        elif f"{name}.array.lengths" in tensors:
            columns.append(_unpack_arrays(tensors, f"{name}.array"))
        elif f"{name}.text.lengths" in tensors:
            columns.append([text.tobytes().decode() for text in _unpack_arrays(tensors, f"{name}.text")])
    return [kind(*values) for values in zip(*columns, strict=True)]


def _pack_arrays(name: str, arrays: Sequence[np.ndarray[Any, Any]]) -> dict[str, Tensor]:
    return {
        f"{name}.values": torch.from_numpy(np.concatenate(arrays)),
        f"{name}.lengths": torch.tensor([len(array) for array in arrays]),
    }


def _unpack_arrays(tensors: Mapping[str, Tensor], name: str) -> list[Any]:
    ends = tensors[f"{name}.lengths"].cumsum(0).tolist()
    return np.split(tensors[f"{name}.values"].numpy(), ends[:-1])
