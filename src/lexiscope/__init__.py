"""Lexiscope: a microscope for the dictionary of concepts inside a language model.

Importing this package is cheap: each name is loaded when it is first used.
"""

from __future__ import annotations

import importlib
from typing import Any

__version__ = "0.1.0"

_HOMES = {
    "ActivationStore": "lexiscope.harvest.store",
    "ActivationStream": "lexiscope.harvest.stream",
    "Corpus": "lexiscope.text.corpus",
    "FeatureIndex": "lexiscope.index.feature_index",
    "HookPoint": "lexiscope.core.hookpoint",
    "LanguageModel": "lexiscope.lm.model",
    "Scorecard": "lexiscope.measure.scorecard",
    "SparseAutoencoder": "lexiscope.saes.base",
    "SparseCodes": "lexiscope.core.codes",
}

__all__ = [
    "ActivationStore",
    "ActivationStream",
    "Corpus",
    "FeatureIndex",
    "HookPoint",
    "LanguageModel",
    "Scorecard",
    "SparseAutoencoder",
    "SparseCodes",
    "__version__",
]


def __getattr__(name: str) -> Any:
    if name in _HOMES:
        return getattr(importlib.import_module(_HOMES[name]), name)
    raise AttributeError(f"module 'lexiscope' has no attribute {name!r}")


def __dir__() -> list[str]:
    return __all__
