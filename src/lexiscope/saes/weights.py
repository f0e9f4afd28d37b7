"""The file of weights of an autoencoder. F latents, D model width."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import safetensors
import torch
from torch import Tensor

from lexiscope.core.disk import FileEntry
from lexiscope.core.tensors import write_tensors

WEIGHTS = "sae.safetensors"
FLOATS = ("F16", "BF16", "F32", "F64")
"""Number formats of weights, as safetensors names them."""


def write(tensors: Mapping[str, Tensor], folder: Path, dtype: torch.dtype = torch.float32) -> FileEntry:
    """Matrices in ``dtype``, everything with one number per latent as it is. Returns size and hash of the file."""
    saved = {
        name: tensor.to(dtype) if tensor.ndim > 1 and tensor.is_floating_point() else tensor
        for name, tensor in tensors.items()
    }
    return write_tensors(folder / WEIGHTS, saved)


def check(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Raises RuntimeError: the file has other tensors."""
    with safetensors.safe_open(file, framework="pt") as saved:
        found = {name: saved.get_slice(name) for name in saved.keys()}  # noqa: SIM118  it is no mapping
        shapes = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in found.items()}
    if different := tensors.keys() ^ shapes.keys():
        raise RuntimeError(f"different tensors: {', '.join(sorted(different))}")
    for name, (shape, dtype) in shapes.items():
        if shape != tensors[name].shape:
            raise RuntimeError(f"{name} is {list(shape)}, not {list(tensors[name].shape)}")
        if dtype not in FLOATS:
            raise RuntimeError(f"{name} is {dtype}, not one of {', '.join(FLOATS)}")


def fill(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Copy a file's tensors, opening it for each: what has been read of an open file counts as memory.

    Raises:
        RuntimeError: one of them is not finite.
    """
    for name, tensor in tensors.items():
        with safetensors.safe_open(file, framework="pt") as saved:
            tensor.copy_(saved.get_tensor(name))
        if not bool(tensor.isfinite().all()):
            raise RuntimeError(f"{name} is not finite")
