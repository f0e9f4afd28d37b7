"""Seeded generators of text whose structure is known exactly. One file each; the folder is the registry.

A generator is a module with ``page(rng)``: one page of text, drawn from the random numbers it is given. `pages` turns
it into an endless stream that is the same for the same seed on every machine.
"""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import random
from collections.abc import Iterator

from lexiscope.core.errors import InputError
from lexiscope.core.seeds import derive_seed


def names() -> list[str]:
    """Every generator in this folder."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def pages(name: str, seed: int) -> Iterator[str]:
    """An endless stream of pages. Page n depends on (name, seed, n) alone.

    Raises:
        InputError: no generator has this name.
    """
    if name not in names():
        raise InputError(f"no generator is called {name!r}; there are {', '.join(names())}")
    module = importlib.import_module(f"{__name__}.{name}")
    return (module.page(random.Random(derive_seed(seed, name, number))) for number in itertools.count())
