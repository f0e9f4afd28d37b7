"""A recipe of interventions: the same list in TOML and in Python.

    error = "keep"

    [[edit]]
    do = "clamp"
    features = [123]
    to = "2max"
    tokens = "generated"

Keys are those of `lexiscope.steer.interventions`, and unknown ones are refused.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from lexiscope.core.codes import SparseCodes
from lexiscope.core.config import quoted, read_recipe
from lexiscope.core.errors import InputError
from lexiscope.steer.applying.editor import ErrorTerm
from lexiscope.steer.interventions import Ablate, AnyIntervention, Patch, read_intervention

FIRST = ("do", "features")
"""Keys that are written before the others."""


class Recipe(NamedTuple):
    """Interventions, and what becomes of what the dictionary does not explain."""

    edits: tuple[AnyIntervention, ...]
    error: ErrorTerm = "keep"

    @classmethod
    def read(cls, path: Path) -> Recipe:
        """From a TOML file.

        Raises:
            InputError: it can't be read, or an intervention in it is none.
        """
        return cls.of(read_recipe(path), f"recipe {path}")

    @classmethod
    def of(cls, values: Mapping[str, Any], where: str) -> Recipe:
        """From tables, as TOML or JSON gives them.

        Raises:
            InputError: an unknown key, or an intervention that is none.
        """
        if unknown := set(values) - {"edit", "error"}:
            raise InputError(f"{where}: unknown key {quoted(min(unknown))}; there are error and [[edit]]")
        edits, error = values.get("edit", []), values.get("error", "keep")
        if error not in ("keep", "drop"):
            raise InputError(f"{where}: error is {quoted(error)}; say keep or drop")
        if not isinstance(edits, list):
            raise InputError(f"{where}: edit is no list of tables; write [[edit]] before each")
        read = tuple(read_intervention(edit, f"{where}, edit {number}") for number, edit in enumerate(edits, 1))
        return cls(read, error)

    def values(self) -> dict[str, Any]:
        """What `of` reads; what is as it usually is, is left out.

        Raises:
            InputError: an intervention takes codes that have no prompt.
        """
        return {"error": self.error, "edit": [_values(edit) for edit in self.edits]}

    def toml(self) -> str:
        """What `read` reads."""
        values = self.values()
        tables = [
            "\n".join(["[[edit]]", *(f"{key} = {_toml(value)}" for key, value in edit.items())])
            for edit in values["edit"]
        ]
        return "\n\n".join([f"error = {_toml(values['error'])}", *tables]) + "\n"


def _values(edit: AnyIntervention) -> dict[str, Any]:
    if isinstance(edit, Ablate | Patch) and isinstance(edit.source, SparseCodes):
        raise InputError("codes can't be written into a recipe; give the prompt that they come from")
    said = edit.model_dump(mode="json", exclude_defaults=True) | {"do": edit.do}
    return {key: said[key] for key in (*FIRST, *said) if key in said}


def _toml(value: str | float | Sequence[int]) -> str:
    """Strings of JSON are strings of TOML, but for one control character."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
