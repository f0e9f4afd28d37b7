"""Turn: one feature that is turned, as an address says it.

    clamp:123:2max           feature 123 at twice its largest activation
    add:123:-1max            its direction added, against what it stands for
    scale:123:0.5            half of what it is
    cap:123:1max             the activation's projection on its direction, at most that
    patch:123:The old man    as on the last token of another prompt
    patch:all:The old man    all features as there
    ablate:123               silent

Strengths are written as in `lexiscope.steer.strength`. Clamping to 0 and adding 0 is a slider in its middle: off.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any, Literal, NamedTuple, get_args

from lexiscope.core.config import quoted
from lexiscope.core.errors import InputError
from lexiscope.steer.interventions import Ablate, Add, AnyIntervention, Cap, Clamp, Patch, Scale, read_intervention
from lexiscope.steer.strength import Strength
from lexiscope.steer.where import Where

MAX_TIMES = 1000.0
"""Beyond, activations are no numbers in the smaller types."""
MAX_SOURCE = 300
"""Characters of the prompt that a feature is patched from."""
MAX_WRITTEN = MAX_SOURCE + 60

Do = Literal["clamp", "add", "scale", "cap", "patch", "ablate"]
_ALL = "all"
_FEATURE, _TIMES = "[1-9][0-9]{0,8}", "-?[2-9][0-9]{0,2}(\\.[0-9]{1,6})?"
SHAPE = (
    f"^((clamp|add|cap):{_FEATURE}:{_TIMES}(max|mean)?|scale:{_FEATURE}:{_TIMES}|ablate:{_FEATURE}"
    f"|patch:({_FEATURE}|{_ALL}):[A-Za-z ]{{0,99}}[A-Za-z])$"
)
"""What is described to programs: less than what is read, which says better what is wrong."""
_WRITTEN = re.compile(r"(?P<do>[a-z]+):(?P<feature>\d{1,9}|all)(?::(?P<value>.*))?", re.ASCII | re.DOTALL)
_FORM = "write clamp:123:2max, add:123:1max, scale:123:0.5, cap:123:1max, patch:123:another prompt or ablate:123"
_VALUE = {"clamp": "to", "add": "by", "scale": "by", "cap": "to", "patch": "source"}
"""What interventions call it."""


class Turn(NamedTuple):
    """One feature that is turned, or all of them."""

    do: Do
    feature: int | None
    """None: all of them, which only patching does."""
    strength: Strength | None = None
    """None for ablate and patch; the factor for scale."""
    source: str = ""
    """The prompt whose last token is patched from."""

    @property
    def off(self) -> bool:
        """Whether it leaves everything as it is."""
        return self.strength is not None and self.strength.times == {"scale": 1, "cap": None}.get(self.do, 0)

    @property
    def name(self) -> str:
        return _ALL if self.feature is None else str(self.feature)

    def written(self) -> str:
        """What `read_turn` reads."""
        value = self.source if self.strength is None else str(self.strength).removesuffix(".0")
        return f"{self.do}:{self.name}" + (f":{value}" if value else "")

    def intervention(self, where: Where) -> AnyIntervention:
        """What it does, on some tokens."""
        given: dict[str, Any] = {"do": self.do, "tokens": where.tokens, "positions": where.positions}
        if self.feature is not None:
            given["features"] = self.feature
        if self.do == "patch":
            given |= {"source": self.source, "from_position": -1}
        elif self.strength is not None:
            given[_VALUE[self.do]] = self.strength.times if self.do == "scale" else self.strength
        return read_intervention(given, self.written())


def read_turn(written: str) -> Turn:
    """A feature that is turned, from an address.

    Raises:
        InputError: it can't be read; the message says what can.
    """
    found = _WRITTEN.fullmatch(written)
    if found is None or found["do"] not in get_args(Do):
        raise InputError(f"{quoted(written)} turns no feature; {_FORM}")
    do: Do = found["do"]  # type: ignore[assignment]  # one of them
    if found["feature"] == _ALL and do != "patch":
        raise InputError(f"{quoted(written)}: only patching takes all features at once, as in patch:all:another prompt")
    feature = None if found["feature"] == _ALL else int(found["feature"])
    if do == "patch":
        return Turn(do, feature, source=_read_source(found["value"] or "", written))
    if do == "ablate":
        if found["value"] is not None:
            raise InputError(f"{quoted(written)}: ablating has no strength; {_FORM}")
        return Turn(do, feature)
    try:
        strength = Strength.read(found["value"] or "")
    except ValueError as error:
        raise InputError(f"{quoted(written)}: {error}") from None
    if do == "scale" and strength.unit != "activation":
        raise InputError(f"{quoted(written)}: scaling has a plain factor, such as scale:123:0.5")
    if abs(strength.times) > MAX_TIMES:
        raise InputError(f"{quoted(written)} is too strong; stay between -{MAX_TIMES:g} and {MAX_TIMES:g}")
    return Turn(do, feature, strength)


def _read_source(source: str, written: str) -> str:
    if not source.strip():
        raise InputError(f"{quoted(written)}: there is no prompt to patch from; write patch:123:another prompt")
    if len(source) > MAX_SOURCE:
        raise InputError(f"a prompt to patch from has {len(source)} characters; give at most {MAX_SOURCE}")
    return source


def read_turns(written: Sequence[str]) -> list[Turn]:
    """Every feature that is turned, in order.

    Raises:
        InputError: as `read_turn`, or a feature is turned twice.
    """
    turns = [read_turn(one) for one in written]
    names = [turn.name for turn in turns]
    if repeated := sorted({name for name in names if names.count(name) > 1}):
        raise InputError(f"{named(repeated[0])} turned twice; turn each once")
    return turns


def named(name: str) -> str:
    """A feature, or all of them, at the beginning of a sentence."""
    return "all features are" if name == _ALL else f"feature {name} is"


def turns_of(given: Sequence[AnyIntervention]) -> tuple[list[Turn], Where] | None:
    """The same as turns, all on the same tokens; None where an address can't say it."""
    turns: list[Turn] = []
    where = Where(positions=given[0].positions, tokens=given[0].tokens) if given else Where()
    for one in given:
        found = _turns_of(one)
        if found is None or (one.positions, one.tokens) != (where.positions, where.tokens):
            return None
        turns += found
    names = [turn.name for turn in turns]
    return (turns, where) if len(set(names)) == len(names) else None


def _turns_of(one: AnyIntervention) -> list[Turn] | None:
    if one.share != 1 or one.special or one.rows is not None:
        return None
    match one:
        case Patch(source=str(source), from_position=-1) if source.strip() and len(source) <= MAX_SOURCE:
            return [Turn("patch", feature, source=source) for feature in one.features or (None,)]
        case Ablate(to="zero"):
            return [Turn("ablate", feature) for feature in one.features]
        case Scale():
            strength = Strength(times=one.by)
        case Clamp() | Cap():
            strength = one.to
        case Add():
            strength = one.by
        case _:
            return None
    if abs(strength.times) > MAX_TIMES:
        return None
    turns = [Turn(one.do, feature, strength) for feature in one.features]
    return None if any(turn.off and turn.do == "clamp" for turn in turns) else turns
