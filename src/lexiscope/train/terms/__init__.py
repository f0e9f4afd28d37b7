"""What a training adds to an architecture's own losses, or does after its steps: one file each, any number, any order.

The folder is the registry: ``terms = [{ name = "auxk", coefficient = 0.03 }]`` in a recipe selects by file name.
"""

from __future__ import annotations

import importlib
from functools import cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer

from lexiscope.core.config import read_named
from lexiscope.saes import SparseAutoencoder
from lexiscope.train.terms.term import Term, TermConfig


@cache
def terms() -> dict[str, type[Term]]:
    """Name → term, in order of name."""
    files = sorted(file.stem for file in Path(__file__).parent.glob("[a-z]*.py") if file.stem != "term")
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in files}
    return {name: next(t for t in _final(module)) for name, module in modules.items()}


def _final(module: Any) -> list[type[Term]]:
    members = vars(module).values()
    return [m for m in members if isinstance(m, type) and issubclass(m, Term) and m.__module__ == module.__name__]


def read_term(values: Any) -> TermConfig:
    """Settings of a term from its name, or from a table with its name in it.

    Raises:
        ValueError: no such term, an unknown key, or a value out of range.
    """
    if isinstance(values, TermConfig):
        return values
    return read_named(values, {name: term.config_type for name, term in terms().items()}, "term")


def name_term(config: TermConfig) -> dict[str, Any]:
    """What `read_term` reads."""
    name = next(name for name, term in terms().items() if term.config_type is type(config))
    return {"name": name, **config.model_dump(mode="json")}


AnyTerm = Annotated[TermConfig, BeforeValidator(read_term), PlainSerializer(name_term)]
"""Settings of any term, as a field."""


def make_term(config: TermConfig, sae: SparseAutoencoder) -> Term:
    """The term with these settings for this autoencoder.

    Raises:
        InputError: the two make no sense together; the message says why.
    """
    return next(term for term in terms().values() if term.config_type is type(config))(config, sae)
