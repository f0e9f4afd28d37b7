"""Config: the base of every group of settings. Frozen, typed, unknown keys refused, and it does nothing when made."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from datetime import date, time
from pathlib import Path
from typing import Any, Self, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError, model_validator

from lexiscope.core.errors import InputError, one_line

MOST_RECIPE_BYTES = 2**20
MOST_QUOTED = 200
"""Characters of a wrong value in a message."""
DEEPEST = 32
"""Tables and arrays inside one another."""


class Config(BaseModel):
    """Settings that live beside their owner. ``None`` means "choose for me", never 0 or -1."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=()
    )

    @model_validator(mode="after")
    def _within_64_bits(self) -> Self:
        """Text is taken for a number of any length; nothing that counts or draws could use it."""
        for name, value in self:
            for item in value if isinstance(value, tuple) else (value,):
                if isinstance(item, int) and not fits(item):
                    raise ValueError(f"{name} has more than 64 bits")
        return self

    @classmethod
    def read(cls, values: dict[str, Any], where: str) -> Self:
        """Check values from a file or the command line.

        Raises:
            InputError: an unknown key, a wrong type or a value out of range, with the key's name.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            raise InputError(f"{where}: {describe(error, cls)}") from None


AnyConfig = TypeVar("AnyConfig", bound=Config)


def describe(error: ValidationError, of: type[BaseModel] | None = None) -> str:
    """The first problem in one sentence, and how many more there are.

    Args:
        of: what was read, to say which keys it has where one is unknown.
    """
    problems = error.errors()
    first = problems[0]
    key = one_line(".".join(str(part) for part in first["loc"]), MOST_QUOTED) or "the settings"
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    if first["type"] == "extra_forbidden":
        known = "" if of is None or len(first["loc"]) > 1 else f"; there are {', '.join(of.model_fields) or 'none'}"
        return f"unknown key {key!r}{more}{known}"
    if first["type"] == "value_error":
        return f"{key}: {first['ctx']['error']}{more}"
    return f"{key}: {first['msg'].lower()}, got {quoted(first['input'])}{more}"


def read_named(values: Any, known: Mapping[str, type[AnyConfig]], kind: str) -> AnyConfig:
    """Settings of one of several kinds from its name, or from a table with its name in it.

    Raises:
        ValueError: no such name, an unknown key, or a value out of range.
    """
    if not isinstance(values, str | Mapping):
        raise ValueError(f"{quoted(values)} is neither the name of one nor a table with its name")  # noqa: TRY004
    values = {"name": values} if isinstance(values, str) else dict(values)
    name = values.pop("name", None)
    if name is None:
        raise ValueError(f"the {kind} has no name; there are {', '.join(known)}")
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"no {kind} is called {quoted(name)}; there are {', '.join(known)}")
    try:
        return known[name].model_validate(values)
    except ValidationError as error:
        raise ValueError(f"{name}: {describe(error, known[name])}") from None


def quoted(value: object) -> str:
    """A wrong value for a message: short, whatever it is."""
    return one_line(repr(value), MOST_QUOTED)


def read_recipe(path: Path) -> dict[str, Any]:
    """A TOML recipe as nested tables.

    Raises:
        InputError: no such file, or not TOML.
    """
    try:
        if not path.exists():
            raise InputError(f"no recipe at {path}; give the path of a .toml file")
        if not path.is_file():
            raise InputError(f"recipe {path} is no file; give the path of a .toml file")
        if path.stat().st_size > MOST_RECIPE_BYTES:
            raise InputError(f"recipe {path} has more than {MOST_RECIPE_BYTES:,} bytes; give the path of a .toml file")
        return parse_toml(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"recipe {path} can't be read: {error}") from None


def parse_toml(text: str) -> dict[str, Any]:
    """TOML as nested tables.

    Raises:
        ValueError: it is not TOML, has a date, an integer of more than 64 bits, or tables too deep in one another.
    """
    try:
        values = tomllib.loads(text)
    except RecursionError:
        raise ValueError("tables or arrays lie too deep in one another") from None
    _check_plain(values, 0)
    return values


def fits(value: int) -> bool:
    """Whether it has at most 64 bits, as TOML and everything that computes with it want it."""
    return -(2**63) <= value < 2**63


def _check_plain(value: Any, depth: int) -> None:
    if depth > DEEPEST:
        raise ValueError("tables or arrays lie too deep in one another")
    if isinstance(value, int) and not fits(value):
        raise ValueError("an integer has more than 64 bits")
    if isinstance(value, date | time):
        raise ValueError(f"{value} is a date or a time, which no setting is; put a name in quotes")  # noqa: TRY004
    for inner in value.values() if isinstance(value, dict) else value if isinstance(value, list) else ():
        _check_plain(inner, depth + 1)


def difference(key: str, asked: Any, found: Any) -> str | None:
    """The first place where two sets of settings differ, as a clause; None if they are the same."""
    if asked == found:
        return None
    if isinstance(asked, Mapping) and isinstance(found, Mapping):
        inner = (difference(f"{key}.{name}", value, found.get(name)) for name, value in asked.items())
        return next((clause for clause in inner if clause), None)
    return f"{key} is {quoted(found)} there, {quoted(asked)} was asked for"
