"""The number formats in which activations are stored."""

from __future__ import annotations

from typing import Literal

import torch

StoredDtype = Literal["float32", "bfloat16", "float16"]

DTYPES: dict[StoredDtype, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
"""bfloat16 is the default: half the bytes of float32 and its range; float16 overflows on massive activations."""
