"""Sparse autoencoders, one file per architecture, and the baselines behind the same interface.

``saes.topk.Config(k=32)`` are settings, `create` makes an autoencoder from settings and a sample of activations, `load`
opens a saved one, `architectures` lists what there is.
"""

from __future__ import annotations

from types import ModuleType

from lexiscope.saes.base import Batch, SparseAutoencoder, TrainingState
from lexiscope.saes.registry import architectures, create, load, read_config

__all__ = ["Batch", "SparseAutoencoder", "TrainingState", "architectures", "create", "load", "read_config"]


def __getattr__(name: str) -> ModuleType:
    """``saes.<architecture>`` is the module of that architecture."""
    if not name.startswith("_") and name in architectures():
        return architectures()[name]
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
