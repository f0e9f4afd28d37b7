"""Strength: how much of a feature, in units that mean the same for every feature.

    8       activation, in the units of the dictionary
    2max    twice the largest activation of the feature in the indexed text
    1mean   its mean activation where it fires
    1q0.9   the activation that a tenth of its firings exceed

All but the first need an index of the dictionary (`Units`).
"""

from __future__ import annotations

import math
import re
from typing import Annotated, Any, Literal

import numpy as np
from pydantic import BaseModel, BeforeValidator, ConfigDict, PlainSerializer

from lexiscope.core.config import quoted
from lexiscope.core.errors import InputError
from lexiscope.index.feature_index import FeatureIndex

_NUMBER = r"[-+]?(?:\d+\.?\d*|\.\d+)(?:[eE][-+]?\d{1,3})?"
_SHARE = r"\d?\.?\d+(?:[eE]-\d{1,3})?"
_WRITTEN = re.compile(rf"(?P<times>{_NUMBER})\s*(?:(?P<unit>max|mean)|q(?P<quantile>{_SHARE}))?", re.ASCII)
Unit = Literal["activation", "max", "mean", "quantile"]


class Strength(BaseModel):
    """A number of units. Written as a number, or as text such as ``"2max"``."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
    times: float
    unit: Unit = "activation"
    quantile: float | None = None
    """0 to 1, where the unit is a quantile of the activations of its firings."""

    @classmethod
    def read(cls, written: Any) -> Strength:
        """From a number or text.

        Raises:
            ValueError: it is neither, or not finite.
        """
        if isinstance(written, Strength):
            return written
        if isinstance(written, int | float) and not isinstance(written, bool):
            if not math.isfinite(written):
                raise ValueError(f"strength {written} is not finite; give a number, or one with a unit such as 2max")
            return cls(times=float(written))
        found = _WRITTEN.fullmatch(written.strip()) if isinstance(written, str) else None
        if found is None:
            raise ValueError(f"{quoted(written)} is no strength; write a number, 2max, 1mean or 1q0.9")
        times, quantile = float(found["times"]), found["quantile"]
        if not math.isfinite(times):
            raise ValueError(f"strength {quoted(written)} is not finite; give a smaller number")
        if quantile is None:
            return cls(times=times, unit=found["unit"] or "activation")
        if float(quantile) > 1:
            raise ValueError(f"{quoted(written)}: a quantile lies between 0 and 1, as in 1q0.9")
        return cls(times=times, unit="quantile", quantile=float(quantile))

    def written(self) -> float | str:
        """What `read` reads."""
        if self.unit == "activation":
            return self.times
        times = repr(self.times).removesuffix(".0")
        return times + (f"q{self.quantile!r}" if self.unit == "quantile" else self.unit)

    def __str__(self) -> str:
        return str(self.written())


AnyStrength = Annotated[Strength, BeforeValidator(Strength.read), PlainSerializer(lambda given: given.written())]
"""A strength as a field."""


class Units:
    """What the units of strength are worth for each feature, from an index of its dictionary."""

    def __init__(self, index: FeatureIndex) -> None:
        self.index = index

    def activation(self, feature: int, strength: Strength) -> float:
        """A strength as an activation of this feature.

        Raises:
            InputError: there is no such feature, or it never fires in the indexed text.
        """
        if strength.unit == "activation":
            return strength.times
        summary = self.index.summaries([self._known(feature)])[feature]
        if summary.dead:
            raise InputError(
                f"feature {feature} never fires in the indexed text, so {strength} of it is no number; "
                "give its activation instead"
            )
        if strength.unit == "quantile":
            unit = float(np.quantile(self.index.firings(feature)[1], strength.quantile or 0.0))
        else:
            unit = summary.max_activation if strength.unit == "max" else summary.mean_activation
        return strength.times * unit

    def mean_over_tokens(self, feature: int) -> float:
        """Mean activation over all tokens of the indexed text, 0 where the feature is silent."""
        summary = self.index.summaries([self._known(feature)])[feature]
        return summary.density * summary.mean_activation

    def is_dead(self, feature: int) -> bool:
        """Whether it never fires in the indexed text."""
        return self.index.summaries([self._known(feature)])[feature].dead

    def _known(self, feature: int) -> int:
        self.index.check(feature)
        return feature


def in_activation(units: Units | None, feature: int, strength: Strength) -> float:
    """A strength as an activation of a feature; without an index, only one that is an activation already.

    Raises:
        InputError: there is no index, or the feature never fires in it.
    """
    if units is None:
        if strength.unit != "activation":
            raise InputError(f"what {strength} is, an index of this dictionary says; name one, or give a number")
        return strength.times
    return units.activation(feature, strength)


def mean_over_tokens(units: Units | None, feature: int) -> float:
    """Mean activation of a feature over all tokens of the indexed text.

    Raises:
        InputError: there is no index.
    """
    if units is None:
        raise InputError("ablating to the mean needs an index of this dictionary; name one, or ablate to zero")
    return units.mean_over_tokens(feature)
