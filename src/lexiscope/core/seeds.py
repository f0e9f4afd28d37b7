"""Seeds: one number for a run, from which every random choice draws its own stream."""

from __future__ import annotations

import hashlib

import torch


def derive_seed(seed: int, *names: object) -> int:
    """A 63-bit seed for one purpose. The same (seed, names) give the same number on every machine."""
    digest = hashlib.sha256(repr((seed, *map(str, names))).encode()).digest()
    return int.from_bytes(digest[:8], "little") >> 1


def generator(seed: int, *names: object) -> torch.Generator:
    """A CPU generator of its own for one purpose; the global one is never touched."""
    return torch.Generator().manual_seed(derive_seed(seed, *names))
