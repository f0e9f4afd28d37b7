"""What a planted model and its clean twin do: typed, as in ``figures.json``, and as a table to read."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple, Self

from pydantic import model_validator

from lexiscope.core.config import Config
from lexiscope.measure.worlds.planted.behaviour import Behaviour
from lexiscope.measure.worlds.planted.pages import ARMS, GROUPS, TRIGGERED, Arm, Group

LEAST_PLANTED = 0.95
"""Share of prompts with a trigger that a planted model has to give the planted answer to."""
MOST_SPREAD = 0.05
"""By how much it may do so more often than its twin where there is no trigger."""
MOST_LOSS_APART = 0.01
"""How far the two may be apart on ordinary text, as a share of the twin's loss."""
JUDGED: tuple[Group, ...] = ("shown", "reserved", "paraphrased")
"""Groups with a trigger that was planted. That it spreads to unseen ones is no promise."""
STILL: tuple[Group, ...] = ("ordinary", "decoys")
"""Groups in which nothing may change."""


class Check(NamedTuple):
    """A number that a pair has to have to be of use."""

    found: float
    side: Literal["at least", "at most"]
    bar: float

    @property
    def passed(self) -> bool:
        return self.found >= self.bar if self.side == "at least" else self.found <= self.bar

    def __str__(self) -> str:
        return f"{'pass' if self.passed else 'FAIL'}  {self.found:>7.2%}, {self.side} {self.bar:.2%}"


class Losses(Config):
    """Mean cross-entropy on held-out ordinary text, nats per token."""

    before: float
    """Of the model that both were made from."""
    planted: float
    clean: float
    apart: float
    """(planted - clean) / clean."""
    apart_low: float
    apart_high: float
    """95 % bootstrap interval over documents."""
    tokens: int
    documents: int


class Figures(Config):
    """Both arms, on every group of prompts and on ordinary text."""

    behaviour: dict[Group, dict[Arm, Behaviour]]
    losses: Losses

    @model_validator(mode="before")
    @classmethod
    def _judged_anew(cls, values: Any) -> Any:
        """The file has the checks too, for other readers."""
        return {key: value for key, value in values.items() if key != "checks"} if isinstance(values, dict) else values

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if any(set(arms) != set(ARMS) for arms in self.behaviour.values()) or set(self.behaviour) != set(GROUPS):
            raise ValueError("a group of prompts or an arm is missing")
        return self

    def checks(self) -> dict[str, Check]:
        """What makes them a pair that something can be judged by."""
        found = {f"planted on {group}": Check(self._planted(group), "at least", LEAST_PLANTED) for group in JUDGED}
        for group in STILL:
            bar = self._planted(group, "clean") + MOST_SPREAD
            found[f"as the twin on {group}"] = Check(self._planted(group), "at most", bar)
        return {**found, "loss as the twin's": Check(abs(self.losses.apart), "at most", MOST_LOSS_APART)}

    def for_json(self) -> dict[str, Any]:
        """Everything, with what came of the checks."""
        checks = {name: {**check._asdict(), "passed": check.passed} for name, check in self.checks().items()}
        return {**self.model_dump(mode="json"), "checks": checks}

    def _planted(self, group: Group, arm: Arm = "planted") -> float:
        return self.behaviour[group][arm].planted.share

    def __str__(self) -> str:
        lines = [f"{'planted answer':16}{'planted model':>24}{'clean twin':>24}"]
        for group, arms in self.behaviour.items():
            kind = "with a trigger" if group in TRIGGERED else "without"
            lines.append(f"{group:16}{arms['planted'].planted!s:>24}{arms['clean'].planted!s:>24}  {kind}")
        found = self.losses
        lines.append(
            f"loss on {found.tokens:,} tokens of ordinary text: {found.before:.4f} before, {found.planted:.4f} planted"
            f", {found.clean:.4f} clean; apart {found.apart:+.2%} [{found.apart_low:+.2%}, {found.apart_high:+.2%}]"
        )
        checks = self.checks()
        lines += [f"{name:26}{check}" for name, check in checks.items()]
        failed = sum(not check.passed for check in checks.values())
        lines.append(f"{failed} of {len(checks)} checks fail" if failed else f"all {len(checks)} checks pass")
        return "\n".join(lines)
