"""Trial: one goal on some prompts beside text that it is not about, and what vectors do to both.

The strength to recommend has the largest effect among those whose rise of perplexity off-target is surely within a
limit: the upper end of the interval, since a strength that is chosen for being just below it would be above as often as
not on other text. B prompts, D width, F features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.feature import Real, Record
from lexiscope.index.live.changes import Mean, bootstrap
from lexiscope.lm.model import LanguageModel
from lexiscope.steer.effects import controls
from lexiscope.steer.effects.controls import Control
from lexiscope.steer.effects.goals import Goal, Prompts
from lexiscope.steer.effects.intervals import Share, share_of
from lexiscope.steer.effects.selection import measure
from lexiscope.steer.effects.side_effects import OffTarget, Rise

LIMIT = 0.05
_REFINEMENTS = 3
Vectors = Callable[[int], Tensor]
"""From a number of contexts to what is added in each, [D] or [B, D]."""


class Material(NamedTuple):
    """Prompts to reach the goal on, and text that it is not about."""

    prompts: Prompts
    off_target: OffTarget


class Point(Record):
    """One dose in short."""

    strength: Real
    """In multiples of the feature's largest activation."""
    norm: Real
    """Length of what is added."""
    effect: Mean
    """Change of the goal."""
    moved: Share
    """Prompts on which the goal moved the way the dose should move it."""
    perplexity: Rise


class ControlPoint(Record):
    """What a control does instead."""

    control: Control
    norm: Real
    """0: nothing is added."""
    effect: Mean
    moved: Share
    perplexity: Rise | None
    """Off-target; None where nothing is added there."""
    advantage: Mean
    """Effect of the feature less that of the control, prompt by prompt, towards what the dose is for."""


class Recommendation(NamedTuple):
    """The strength to use, if any, and what it was chosen from."""

    strength: float | None
    points: list[Point]


class Trial:
    """A goal on some material: what vectors do there.

    Raises:
        InputError: a single prompt.
    """

    def __init__(self, model: LanguageModel, hook: HookPoint, goal: Goal, material: Material, seed: int = 0) -> None:
        self.model, self.hook, self.goal, self.seed = model, hook, goal, seed
        self.prompts, self.off_target = material
        self.clean_B = measure(model, hook, goal, self.prompts, None)
        self._known: dict[bytes, Tensor] = {}
        if len(self.clean_B) < 2:
            raise InputError("one prompt gives no interval; give at least two, and thirty for a share of any worth")

    @property
    def rows(self) -> int:
        return len(self.prompts.contexts.tokens_BC)

    def change(self, vectors: Tensor) -> Tensor:
        """Of the goal on every prompt. What was measured is not measured again: doses share many of their controls."""
        key = vectors.cpu().numpy().tobytes()
        if key not in self._known:
            self._known[key] = measure(self.model, self.hook, self.goal, self.prompts, vectors) - self.clean_B
        return self._known[key]

    def change_by_prefix(self, prefix: Sequence[int]) -> Tensor:
        """Of the goal by some tokens in front of every prompt, nothing steered."""
        key = repr(list(prefix)).encode()
        if key not in self._known:
            longer = controls.with_prefix(self.model, self.prompts, prefix)
            self._known[key] = measure(self.model, self.hook, self.goal, longer, None) - self.clean_B
        return self._known[key]

    def mean(self, change_B: Tensor) -> Mean:
        found = bootstrap(change_B.tolist(), self.seed)
        assert found is not None
        return found

    def point(self, vector_D: Tensor, strength: float) -> Point:
        """One dose, its side effects the perplexity alone."""
        change_B = self.change(strength * vector_D)
        return Point(
            strength=strength,
            norm=float(abs(strength) * vector_D.norm()),
            effect=self.mean(change_B),
            moved=share_of((change_B * strength > 0).tolist()),
            perplexity=self.off_target.rise(strength * vector_D),
        )

    def control(self, name: Control, vectors: Vectors, feature_B: Tensor, towards: float) -> ControlPoint:
        """A control beside the feature's changes on the same prompts.

        Args:
            towards: above 0 where the dose should raise the goal.
        """
        added = vectors(self.rows)
        change_B = self.change(added)
        return self._compared(
            name, change_B, feature_B, towards, _length(added), self.off_target.rise(vectors(self.off_target.rows))
        )

    def prompt_only(self, prefix: Sequence[int], feature_B: Tensor, towards: float) -> ControlPoint:
        """The control that steers nothing."""
        return self._compared("prompt only", self.change_by_prefix(prefix), feature_B, towards, 0.0, None)

    def _compared(
        self, name: Control, change_B: Tensor, feature_B: Tensor, towards: float, norm: float, rise: Rise | None
    ) -> ControlPoint:
        return ControlPoint(
            control=name,
            norm=norm,
            effect=self.mean(change_B),
            moved=share_of((change_B * towards > 0).tolist()),
            perplexity=rise,
            advantage=self.mean((feature_B - change_B) * (1 if towards > 0 else -1)),
        )


def recommend(trial: Trial, vector_D: Tensor, strengths: Sequence[float], limit: float = LIMIT) -> Recommendation:
    """Try doses on selection text, stronger ones while all are within the limit, and some at its edge.

    Only positive strengths are recommended, and only those whose effect is surely above 0.
    """
    points = {strength: trial.point(vector_D, strength) for strength in strengths}

    def within(strength: float) -> bool:
        return points[strength].perplexity.high <= limit

    for _ in range(_REFINEMENTS):
        positive = sorted(strength for strength in points if strength > 0)
        over = next((place for place, strength in enumerate(positive) if not within(strength)), None)
        if over is None:
            between = 2 * positive[-1]
        else:
            between = (positive[over - 1] * positive[over]) ** 0.5 if over else positive[0] / 2
        points[between] = trial.point(vector_D, between)
    effective = [
        point for strength, point in points.items() if strength > 0 and within(strength) and (point.effect.low or 0) > 0
    ]
    best = max(effective, key=lambda point: point.effect.mean, default=None)
    return Recommendation(best.strength if best else None, [points[strength] for strength in sorted(points)])


class Rivals(NamedTuple):
    """What the feature is compared with; left out what is not there."""

    other_directions_FD: Tensor | None = None
    """Of the other live features."""
    difference_D: Tensor | None = None
    """Difference in means, length 1, from selection text."""
    prefix: Sequence[int] = ()
    """Tokens that ask for what is wanted, or show it."""


def same_length(rivals: Rivals, vector_D: Tensor, seed: int) -> dict[Control, Vectors]:
    """The controls that add a vector as long as this one."""
    norm, width = float(vector_D.norm()), len(vector_D)
    found: dict[Control, Vectors] = {
        "noise": lambda rows: controls.noise(rows, width, norm, seed),
        "wrong sign": lambda _: -vector_D,
    }
    if (others_FD := rivals.other_directions_FD) is not None:
        every = range(len(others_FD))
        found["random feature"] = lambda rows: controls.random_features(others_FD, every, rows, norm, seed)
    if (difference_D := rivals.difference_D) is not None:
        found["difference in means"] = lambda _: norm * difference_D
    return found


def _length(vectors: Tensor) -> float:
    return float(vectors.norm(dim=-1).mean())
