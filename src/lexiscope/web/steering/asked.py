"""Asked: what to write and which features to turn meanwhile, as an address or a body says it.

    turn=clamp:123:2max    feature 123 at twice its largest activation
    turn=add:123:-1max     its direction added, against what it stands for
    turn=scale:123:0.5     half of what it is
    turn=ablate:123        silent

Strengths are written as in `lexiscope.steer.strength`. Clamping to 0 and adding 0 is a slider in its middle: off.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal, NamedTuple, get_args

from fastapi import Query
from pydantic import BaseModel, ConfigDict, Field

from lexiscope.core.config import quoted
from lexiscope.core.errors import InputError
from lexiscope.steer.interventions import Ablate, Add, AnyIntervention, Clamp, Scale
from lexiscope.steer.strength import Strength, Units

MAX_CHARACTERS = 1000
MAX_NEW_TOKENS = 200
MAX_TURNED = 12
MAX_TIMES = 1000.0
"""Beyond, activations are no numbers in the smaller types."""
MAX_TEMPERATURE = 4.0
LEAST_TEMPERATURE = 0.01
"""Below, the likeliest token is as good as certain, and what logits are divided by too small."""

Do = Literal["clamp", "add", "scale", "ablate"]
Error = Literal["keep", "drop"]
_FEATURE, _TIMES = "[1-9][0-9]{0,8}", "-?[0-9]{1,3}(\\.[0-9]{1,6})?"
_SHAPE = f"^((clamp|add):{_FEATURE}:{_TIMES}(max|mean)?|scale:{_FEATURE}:{_TIMES}|ablate:{_FEATURE})$"
# What is described is nearly what is read, which says better what is wrong.
Written = Annotated[str, Field(max_length=60)]
Described = Annotated[str, Field(max_length=60, json_schema_extra={"pattern": _SHAPE})]
Turns = Annotated[list[Described], Field(max_length=MAX_TURNED)]
Temperature = Annotated[float, Field(ge=0, le=MAX_TEMPERATURE, allow_inf_nan=False)]
Seed = Annotated[int, Field(ge=0, lt=2**31)]
NewTokens = Annotated[int, Field(ge=1, le=MAX_NEW_TOKENS)]
QueryTurns = Annotated[list[Written], Query(max_length=MAX_TURNED)]
_WRITTEN = re.compile(r"(?P<do>[a-z]+):(?P<feature>\d{1,9})(?::(?P<strength>[^:]+))?", re.ASCII)
_FORM = "write clamp:123:2max, add:123:1max, scale:123:0.5 or ablate:123"


class Turn(NamedTuple):
    """One feature that is turned."""

    do: Do
    feature: int
    strength: Strength | None
    """None for ablate; the factor for scale."""

    @property
    def off(self) -> bool:
        """Whether it leaves everything as it is."""
        if self.strength is None:
            return False
        return self.strength.times == (1 if self.do == "scale" else 0)

    def after(self, f: float, units: Units) -> float:
        """What becomes of the feature where it had this activation."""
        if self.strength is None:
            return 0.0
        if self.do == "scale":
            return f * self.strength.times
        strength = units.activation(self.feature, self.strength)
        return f + strength if self.do == "add" else strength

    def intervention(self) -> AnyIntervention:
        if self.strength is None:
            return Ablate(features=self.feature)
        if self.do == "scale":
            return Scale(features=self.feature, by=self.strength.times)
        if self.do == "add":
            return Add(features=self.feature, by=self.strength)
        return Clamp(features=self.feature, to=self.strength)


class Asked(BaseModel):
    """What to write, twice: as the model does it, and with some features turned."""

    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    prompt: str = Field(max_length=MAX_CHARACTERS, json_schema_extra={"minLength": 1})
    turn: Turns = []
    """Such as ``clamp:123:2max``, ``add:123:-1max``, ``scale:123:0.5`` or ``ablate:123``."""
    temperature: Temperature = 0.0
    """0 takes the likeliest token each time, and so does anything below 0.01."""
    seed: Seed = 0
    """The same for both texts."""
    tokens: NewTokens = 40
    """New ones, at most."""
    error: Error = "keep"
    """Whether what the dictionary does not explain is kept, or dropped where features are turned."""


def read_turn(written: str) -> Turn:
    """A feature that is turned, from an address.

    Raises:
        InputError: it can't be read; the message says what can.
    """
    found = _WRITTEN.fullmatch(written)
    if found is None or found["do"] not in get_args(Do):
        raise InputError(f"{quoted(written)} turns no feature; {_FORM}")
    do: Do = found["do"]  # type: ignore[assignment]  # one of them
    if do == "ablate":
        if found["strength"] is not None:
            raise InputError(f"{quoted(written)}: ablating has no strength; {_FORM}")
        return Turn(do, int(found["feature"]), None)
    try:
        strength = Strength.read(found["strength"] or "")
    except ValueError as error:
        raise InputError(f"{quoted(written)}: {error}") from None
    if do == "scale" and strength.unit != "activation":
        raise InputError(f"{quoted(written)}: scaling has a plain factor, such as scale:123:0.5")
    if abs(strength.times) > MAX_TIMES:
        raise InputError(f"{quoted(written)} is too strong; stay between -{MAX_TIMES:g} and {MAX_TIMES:g}")
    return Turn(do, int(found["feature"]), strength)


def read_turns(written: list[str]) -> list[Turn]:
    """Every feature that is turned, in order.

    Raises:
        InputError: as `read_turn`, or a feature is turned twice.
    """
    turns = [read_turn(one) for one in written]
    numbers = [turn.feature for turn in turns]
    if repeated := {number for number in numbers if numbers.count(number) > 1}:
        raise InputError(f"feature {min(repeated)} is turned twice; turn each once")
    return turns
