"""Config: the base of every group of settings. Frozen, typed, unknown keys refused, and it does nothing when made."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict, ValidationError

from lexiscope.core.errors import InputError


class Config(BaseModel):
    """Settings that live beside their owner. ``None`` means "choose for me", never 0 or -1."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=()
    )

    @classmethod
    def read(cls, values: dict[str, Any], where: str) -> Self:
        """Check values from a file or the command line.

        Raises:
            InputError: an unknown key, a wrong type or a value out of range, with the key's name.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InputError(f"{where}: {describe(error)}") from None


def describe(error: ValidationError) -> str:
    """The first problem in one sentence, and how many more there are."""
    problems = error.errors()
    first = problems[0]
    key = ".".join(str(part) for part in first["loc"]) or "the settings"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        return f"unknown key {key!r}{more}"
    if first["type"] == "value_error":
        return f"{key}: {first['ctx']['error']}{more}"
    return f"{key}: {first['msg'].lower()}, got {first['input']!r}{more}"


def read_recipe(path: Path) -> dict[str, Any]:
    """A TOML recipe as nested tables.

    Raises:
        InputError: no such file, or not TOML.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"no recipe at {path}; give the path of a .toml file") from None
    except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise InputError(f"recipe {path} can't be read: {error}") from None


def difference(key: str, asked: Any, found: Any) -> str | None:
    """The first place where two sets of settings differ, as a clause; None if they are the same."""
    if asked == found:
        return None
    if isinstance(asked, Mapping) and isinstance(found, Mapping):
        inner = (difference(f"{key}.{name}", value, found.get(name)) for name, value in asked.items())
        return next((clause for clause in inner if clause), None)
    return f"{key} is {found!r} there, {asked!r} was asked for"
