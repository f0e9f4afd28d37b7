"""Metrics, one file each, named as in the scorecard. The folder is the registry."""

from __future__ import annotations

import importlib
import pkgutil
from typing import Any

from lexiscope.measure.metric import Metric


def names() -> list[str]:
    """Every metric in this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


def find(name: str) -> type[Metric[Any]]:
    """The class in the file of this name."""
    module = importlib.import_module(f"{__name__}.{name}")
    return next(
        item
        for item in vars(module).values()
        if isinstance(item, type) and issubclass(item, Metric) and item.__module__ == module.__name__
    )
