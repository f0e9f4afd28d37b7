"""Interventions: what can be done to features while a model runs. Plain values, the same in Python, TOML and the web.

    clamp   f ← to                          wherever it is for, whether the feature fires there or not
    scale   f ← by · f
    add     f ← f + by                      nothing has to be encoded; f may become negative
    ablate  f ← 0, a mean, or a draw        only where the feature fires
    cap     ⟨x, w⟩ / ‖w‖² ← at most to      the projection of the activation itself on the feature's direction w
    patch   f ← f of another prompt         named features, or all of them

f is the activation of one feature on one token. ``share`` says how much of the change is made: f + share · (new - f).
The model's activation x then becomes x + Σ Δf · w: what the dictionary does not explain stays, nothing is decoded, and
a token on which no f changes is not touched (`lexiscope.steer.editing`).

Interventions on the same feature follow one another in the order of the list, except that whole sets are patched first
and caps come last.
"""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Literal

from pydantic import BeforeValidator, Field, InstanceOf, ValidationError

from lexiscope.core.codes import SparseCodes
from lexiscope.core.config import describe, quoted
from lexiscope.core.errors import InputError
from lexiscope.steer.strength import AnyStrength
from lexiscope.steer.where import Where


def _read_features(given: Any) -> Any:
    given = (given,) if isinstance(given, int) and not isinstance(given, bool) else given
    if isinstance(given, list | tuple):
        if not given:
            raise ValueError("no feature is named; give one number or a list of them")
        if any(isinstance(feature, bool) or not isinstance(feature, int) for feature in given):
            raise ValueError(f"{quoted(given)} is no list of features; give their numbers")
        if len(set(given)) < len(given):
            raise ValueError(f"{quoted(given)} names a feature twice; name each once")
    return given


Features = Annotated[tuple[Annotated[int, Field(ge=0, lt=2**31)], ...], BeforeValidator(_read_features)]


Source = str | InstanceOf[SparseCodes]
"""A prompt, or the codes of one: a row for every token that the model reads, BOS too (`steer.applying.source`)."""


class _Intervention(Where):
    """What all of them have."""

    share: float = Field(1.0, ge=0, le=1)
    """How much of the change is made; 0 leaves every bit as it was."""

    def __init__(self, **values: Any) -> None:
        try:
            super().__init__(**values)
        except ValidationError as error:
            raise InputError(f"{type(self).__name__.lower()}: {describe(error)}") from None

    sets: ClassVar[bool] = False
    """Whether it says what f becomes, so that two of them for one feature and token contradict each other."""


class Clamp(_Intervention):
    """f ← to, on every token it is for."""

    do: Literal["clamp"] = "clamp"
    features: Features
    to: AnyStrength
    sets: ClassVar[bool] = True


class Scale(_Intervention):
    """f ← by · f: 1 changes nothing, 0 ablates, -1 turns it round."""

    do: Literal["scale"] = "scale"
    features: Features
    by: float


class Add(_Intervention):
    """f ← f + by: the feature's direction is added, whatever is there already."""

    do: Literal["add"] = "add"
    features: Features
    by: AnyStrength


class Ablate(_Intervention):
    """f ← ``to``, on the tokens where the feature fires; the others keep every bit."""

    do: Literal["ablate"] = "ablate"
    features: Features
    to: Literal["zero", "mean", "resample"] = "zero"
    """``mean``: of f over all tokens of the indexed text, silent ones too. ``resample``: f on a random token of
    ``source``, drawn for each feature, row and position by ``seed``, with or without a cache."""
    source: Source | None = None
    seed: int = 0
    sets: ClassVar[bool] = True

    def model_post_init(self, _: Any) -> None:
        if (self.to == "resample") != (self.source is not None):
            raise InputError("ablate: resampling needs a source, and nothing else does; give a prompt to draw from")


class Cap(_Intervention):
    """⟨x, w⟩ / ‖w‖² ← at most ``to``, where w is what one unit of the feature adds and x the activation itself.

    Several caps take their turns; where directions are not orthogonal a later one may lift what an earlier one cut.
    """

    do: Literal["cap"] = "cap"
    features: Features
    to: AnyStrength


class Patch(_Intervention):
    """f ← f on another prompt, at the same position or at one that is named."""

    do: Literal["patch"] = "patch"
    source: Source
    features: Features | None = None
    """None: all of them, and so the whole reconstruction."""
    from_position: int | None = None
    """The token of the source whose features are taken everywhere, -1 the last. None: each position its own."""
    tokens: Literal["all", "prompt", "generated"] = "prompt"
    sets: ClassVar[bool] = True


AnyIntervention = Clamp | Scale | Add | Ablate | Cap | Patch
KINDS: dict[str, type[AnyIntervention]] = {
    "clamp": Clamp,
    "scale": Scale,
    "add": Add,
    "ablate": Ablate,
    "cap": Cap,
    "patch": Patch,
}
"""Every kind of intervention by the name that a recipe gives it."""


def read_intervention(values: Any, where: str) -> AnyIntervention:
    """One intervention from a table; ``do`` says which kind.

    Raises:
        InputError: no such kind, an unknown key, or a value out of range; ``where`` says where.
    """
    kind = values.get("do") if isinstance(values, dict) else None
    if not isinstance(kind, str) or kind not in KINDS:
        raise InputError(f"{where}: there is no intervention {quoted(kind)}; do is one of {', '.join(KINDS)}")
    try:
        return KINDS[kind](**values)
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
