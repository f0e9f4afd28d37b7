"""One page per file.

A page is a module with

- ``PATH``: its address; the JSON twin is at the same address with ``.json`` behind it,
- ``TEMPLATE``: the file in ``templates/`` that shows it,
- ``read(...)``: a function whose typed arguments come from the address and the query, and which gives a pydantic model,
- ``rows(view)``, where there is a table to keep: its rows, each a mapping or a model; the address ends in ``.csv``.

The app finds pages by their being in this folder.
"""

from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType


def pages() -> list[ModuleType]:
    """Every page, by name of its file."""
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    return [importlib.import_module(f"{__name__}.{name}") for name in names if name != "common"]
