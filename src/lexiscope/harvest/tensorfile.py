"""One tensor per safetensors file: written row by row, read as a memory map.

A file begins with a header of fixed size, padded with spaces as the format allows, so the number of rows can be filled
in when the last one has been written: nothing is collected in memory first. The data begin at a multiple of 256 bytes.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from lexiscope.core.disk import FileEntry
from lexiscope.core.errors import ArtifactError, DiskError
from lexiscope.core.tensors import DTYPES, NAMES

_DATA_OFFSET = 256
_MAX_HEADER_BYTES = 1 << 20


class Position(NamedTuple):
    """How far a file was written."""

    rows: int
    sha256: str
    """Of a header that says ``expected_rows``, and the rows."""


class TensorWriter:
    """Writes rows to one file, and hashes them on the way. It is whole only after `finish`.

    Args:
        expected_rows: if it ends with so many, nothing has to be read again for its hash.
        after: go on after this; what was written later is cut off.

    Raises:
        ArtifactError: what came before is not what was written.
    """

    def __init__(
        self,
        path: Path,
        name: str,
        dtype: torch.dtype,
        row_shape: tuple[int, ...] = (),
        *,
        expected_rows: int = 0,
        after: Position | None = None,
    ) -> None:
        self._path, self._name, self._dtype, self._row_shape = path, name, dtype, row_shape
        self._expected_rows = expected_rows
        self._row_bytes = math.prod(row_shape) * dtype.itemsize
        self._digest = hashlib.sha256(self._header(expected_rows))
        self.num_rows = 0 if after is None else after.rows
        if after is not None and not path.is_file():
            raise self._damaged()
        self._file = path.open("w+b" if after is None else "r+b")
        if after is None:
            self._file.write(self._header(expected_rows))
        else:
            self._go_on(after)

    def append(self, rows: Tensor) -> None:
        """Add rows [n, *row_shape] of the file's dtype, on the CPU."""
        assert rows.dtype == self._dtype
        assert rows.shape[1:] == self._row_shape
        if not len(rows):
            return
        # bfloat16 has no numpy twin: the bytes are written, whatever they mean.
        raw = rows.contiguous().view(torch.uint8).numpy().data
        self._digest.update(raw)
        self._file.write(raw)
        self.num_rows += len(rows)

    def position(self) -> Position:
        """Where it stands; what is before it is on the disk after this."""
        self._file.flush()
        os.fsync(self._file.fileno())
        return Position(self.num_rows, self._digest.hexdigest())

    def finish(self) -> FileEntry:
        """Make it whole. Returns its size and hash.

        Raises:
            DiskError: it does not read as it was written.
        """
        size = _DATA_OFFSET + self.num_rows * self._row_bytes
        if self.num_rows != self._expected_rows:
            self._file.flush()
            if self._read_hash(self._expected_rows) != self._digest.hexdigest():
                raise DiskError(f"{self._path} does not read as it was written; check the disk")
            self._file.seek(0)
            self._file.write(self._header(self.num_rows))
            self._file.flush()
            sha256 = self._read_hash(self.num_rows)
        else:
            sha256 = self._digest.hexdigest()
        self.close()
        return FileEntry(size, sha256)

    def close(self) -> None:
        self._file.close()

    def _header(self, rows: int) -> bytes:
        shape = [rows, *self._row_shape]
        entry = {"dtype": NAMES[self._dtype], "shape": shape, "data_offsets": [0, rows * self._row_bytes]}
        text = json.dumps({self._name: entry}, separators=(",", ":")).encode().ljust(_DATA_OFFSET - 8)
        assert len(text) == _DATA_OFFSET - 8
        return len(text).to_bytes(8, "little") + text

    def _read_hash(self, rows: int) -> str:
        """Of a header that says ``rows``, and the rows as they are on the disk."""
        digest = hashlib.sha256(self._header(rows))
        self._file.seek(_DATA_OFFSET)
        left = self.num_rows * self._row_bytes
        while left and (part := self._file.read(min(left, 1 << 22))):
            digest.update(part)
            left -= len(part)
        return digest.hexdigest()

    def _damaged(self) -> ArtifactError:
        return ArtifactError(f"{self._path} is missing or damaged, so the harvest can't go on; start it again")

    def _go_on(self, after: Position) -> None:
        if self._read_hash(self._expected_rows) != after.sha256:
            self._file.close()
            raise self._damaged()
        self._file.seek(_DATA_OFFSET)
        for start in range(0, after.rows * self._row_bytes, 1 << 22):
            self._digest.update(self._file.read(min(1 << 22, after.rows * self._row_bytes - start)))
        self._file.truncate()
        # A run that was killed while it finished the file may have left another number of rows there.
        self._file.seek(0)
        self._file.write(self._header(self._expected_rows))
        self._file.seek(0, os.SEEK_END)


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
    dtype = DTYPES[entry["dtype"]]
    shape = tuple(int(length) for length in entry["shape"])
    begin, end = (int(offset) for offset in entry["data_offsets"])
    if min(shape, default=0) < 1 or begin < 0 or end > data_bytes or end - begin != math.prod(shape) * dtype.itemsize:
        raise ValueError("its header does not fit its size")
    return dtype, shape, begin
