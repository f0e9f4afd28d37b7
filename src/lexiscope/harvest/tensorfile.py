"""One tensor per safetensors file: written row by row, read as a memory map.

A file begins with a header of fixed size, padded with spaces as the format allows, so the number of rows can be filled
in when the last one has been written: nothing is collected in memory first. The data begin at a multiple of 256 bytes.
"""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from lexiscope.core.errors import ArtifactError

_DTYPES = {"F32": torch.float32, "BF16": torch.bfloat16, "F16": torch.float16, "I32": torch.int32}
_NAMES = {dtype: name for name, dtype in _DTYPES.items()}
_DATA_OFFSET = 256
_MAX_HEADER_BYTES = 1 << 20


class TensorWriter:
    """Writes rows to one file. It is whole only after `close`, which fills in the header."""

    def __init__(self, path: Path, name: str, dtype: torch.dtype, row_shape: tuple[int, ...] = ()) -> None:
        self._name = name
        self._dtype = dtype
        self._row_shape = row_shape
        self._file = path.open("wb")
        self._file.write(b" " * _DATA_OFFSET)
        self.num_rows = 0

    def append(self, rows: Tensor) -> None:
        """Add rows [n, *row_shape] of the file's dtype, on the CPU."""
        assert rows.dtype == self._dtype
        assert rows.shape[1:] == self._row_shape
        # bfloat16 has no numpy twin: the bytes are written, whatever they mean.
        self._file.write(rows.contiguous().view(torch.uint8).numpy().data if len(rows) else b"")
        self.num_rows += len(rows)

    def close(self) -> None:
        shape = [self.num_rows, *self._row_shape]
        size = math.prod(shape) * self._dtype.itemsize
        entry = {"dtype": _NAMES[self._dtype], "shape": shape, "data_offsets": [0, size]}
        header = json.dumps({self._name: entry}, separators=(",", ":")).encode().ljust(_DATA_OFFSET - 8)
        assert len(header) == _DATA_OFFSET - 8
        self._file.seek(0)
        self._file.write(len(header).to_bytes(8, "little") + header)
        self._file.close()


def map_tensor(path: Path, name: str) -> Tensor:
    """The tensor of a file, memory-mapped: nothing is read until it is used, and writing to it never reaches the disk.

    Raises:
        ArtifactError: no such file, or not a whole safetensors file with this tensor.
    """
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            header_bytes = int.from_bytes(file.read(8), "little")
            # A damaged length reads a piece that is no JSON, never the whole file.
            entry = json.loads(file.read(min(header_bytes, _MAX_HEADER_BYTES)))[name]
        dtype, shape, begin = _checked(entry, size - 8 - header_bytes)
        bytes_of_data = np.memmap(path, np.uint8, "c", 8 + header_bytes + begin, math.prod(shape) * dtype.itemsize)
    except OSError as error:
        raise ArtifactError(f"{path} can't be read ({error.strerror}); harvest again") from None
    except (ValueError, OverflowError, KeyError, TypeError, RecursionError):
        raise ArtifactError(f"{path} is damaged: no whole tensor {name!r} in it; harvest again") from None
    return torch.from_numpy(bytes_of_data).view(dtype).view(shape)


def _checked(entry: dict[str, Any], data_bytes: int) -> tuple[torch.dtype, tuple[int, ...], int]:
    """Dtype, shape and start of a tensor whose bytes all lie in the file."""
    dtype = _DTYPES[entry["dtype"]]
    shape = tuple(int(length) for length in entry["shape"])
    begin, end = (int(offset) for offset in entry["data_offsets"])
    if min(shape, default=0) < 1 or begin < 0 or end > data_bytes or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError("its header does not fit its size")
    return dtype, shape, begin
