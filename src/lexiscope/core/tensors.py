"""Many tensors in one safetensors file, written as they lie in memory: no second copy, hashed on the way."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from lexiscope.core.config import MOST_QUOTED
from lexiscope.core.disk import FileEntry
from lexiscope.core.errors import ArtifactError, is_out_of_memory, one_line

DTYPES = {
    "F64": torch.float64,
    "F32": torch.float32,
    "BF16": torch.bfloat16,
    "F16": torch.float16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}
"""Name in the format → dtype."""
NAMES = {dtype: name for name, dtype in DTYPES.items()}
_CHUNK_BYTES = 1 << 22


def write_tensors(path: Path, tensors: Mapping[str, Tensor]) -> FileEntry:
    """Write a safetensors file, wide numbers first so that all are aligned. Returns its size and hash.

    Raises:
        OSError: the disk is full, or failed.
    """
    order = sorted(tensors, key=lambda name: (-tensors[name].dtype.itemsize, name))
    header: dict[str, object] = {}
    end = 0
    for name in order:
        begin, end = end, end + tensors[name].nbytes
        header[name] = {
            "dtype": NAMES[tensors[name].dtype],
            "shape": list(tensors[name].shape),
            "data_offsets": [begin, end],
        }
    text = json.dumps(header, separators=(",", ":")).encode()
    text = text.ljust(-(-len(text) // 8) * 8)
    digest = hashlib.sha256()
    with path.open("wb") as file:
        start_of_file = len(text).to_bytes(8, "little") + text
        digest.update(start_of_file)
        file.write(start_of_file)
        for name in order:
            if not tensors[name].numel():
                continue
            flat = tensors[name].detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy()
            for start in range(0, len(flat), _CHUNK_BYTES):
                part = flat[start : start + _CHUNK_BYTES].data
                digest.update(part)
                file.write(part)
        return FileEntry(file.tell(), digest.hexdigest())


def read_tensors(path: Path) -> dict[str, Tensor]:
    """All tensors of a safetensors file.

    Raises:
        ArtifactError: it can't be read.
    """
    try:
        return dict(load_file(path))
    except (OSError, ValueError, RuntimeError, safetensors.SafetensorError) as error:
        if is_out_of_memory(error):
            raise
        why = one_line(str(error), MOST_QUOTED)
        raise ArtifactError(f"{path} can't be read ({why}); check the disk, or make it again") from None
