"""Asked: what to write and what is changed meanwhile, as an address or a body says it.

    turn=clamp:123:2max    a feature that is turned (`turns`); several
    edit=demo/edits/kind   a kept edit, applied before them (`kept`)
    on=generated           on which tokens features are turned: all, prompt, generated
    positions=-4:          at which of them, as a slice or a list such as 0,3,-1

What a kept edit does, it does where it says itself.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from lexiscope.core.config import quoted
from lexiscope.core.errors import InputError
from lexiscope.steer.where import Where
from lexiscope.web.steering.turns import MAX_WRITTEN, SHAPE

MAX_CHARACTERS = 1000
MAX_NEW_TOKENS = 200
MAX_TURNED = 12
MAX_POSITIONS = 100
"""Characters, for a list of them."""
MAX_NAME = 300
MAX_TEMPERATURE = 4.0
LEAST_TEMPERATURE = 0.01
"""Below, the likeliest token is as good as certain, and what logits are divided by too small."""

Error = Literal["keep", "drop"]
On = Literal["all", "prompt", "generated"]
# What is described is less than what is read, which says better what is wrong.
_WHERE = "^((-?[0-9]{1,4})?:(-?[0-9]{1,4})?|(-1|[0-9]{1,4})(,(-1|[0-9]{1,4})){0,9})?$"
Written = Annotated[str, Field(max_length=MAX_WRITTEN)]
Described = Annotated[str, Field(max_length=MAX_WRITTEN, json_schema_extra={"pattern": SHAPE})]
Turns = Annotated[list[Described], Field(max_length=MAX_TURNED)]
Positions = Annotated[str, Field(max_length=MAX_POSITIONS, json_schema_extra={"pattern": _WHERE})]
EditName = Annotated[str, Field(max_length=MAX_NAME)]
Temperature = Annotated[float, Field(ge=0, le=MAX_TEMPERATURE, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
NewTokens = Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS)]
QueryTurns = Annotated[list[Written], Query(max_length=MAX_TURNED)]
_LIST = re.compile(r"\s*-?\d{1,9}\s*(,\s*-?\d{1,9}\s*)*", re.ASCII)


class Changes(BaseModel):
    """What is changed while a model writes."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    turn: Turns = []
    """Such as ``clamp:123:2max``, ``add:123:-1max``, ``scale:123:0.5``, ``cap:123:1max``, ``patch:123:another prompt``,
    ``patch:all:another prompt`` or ``ablate:123``."""
    on: On = "all"
    """On which tokens features are turned."""
    positions: Positions = ""
    """At which of them, such as ``-4:`` or ``0,3,-1``: from 0, or back from the end of the prompt. Empty: at all."""
    edit: EditName = ""
    """A kept edit of the folder, applied before the features are turned."""
    error: Error | None = None
    """Whether what the dictionary does not explain is kept, or dropped where features are turned. None: as the edit
    says, or else kept."""


class Asked(Changes):
    """What to write, twice: as the model does it, and with changes."""

    prompt: str = Field(max_length=MAX_CHARACTERS, json_schema_extra={"minLength": 1})
    temperature: Temperature = 0.0
    """0 takes the likeliest token each time, and so does anything below 0.01."""
    seed: Seed = 0
    """The same for both texts."""
    tokens: NewTokens = 40
    """New ones, at most."""


def read_where(on: On, positions: str) -> Where:
    """The tokens on which features are turned.

    Raises:
        InputError: the positions can't be read.
    """
    if not positions.strip():
        return Where(tokens=on)
    if _LIST.fullmatch(positions):
        return Where(tokens=on, positions=tuple(int(part) for part in positions.split(",")))
    try:
        return Where(tokens=on, positions=positions)
    except ValueError:
        raise InputError(
            f"positions {quoted(positions)} are neither a slice such as -4: nor a list such as 0,3,-1"
        ) from None


def written_positions(where: Where) -> str:
    """What `read_where` reads."""
    if isinstance(where.positions, tuple):
        return ",".join(map(str, where.positions))
    return where.positions or ""
