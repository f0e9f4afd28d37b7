"""What an ablation changes: typed values, and means over examples with their intervals. B examples, R resamples."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal

import torch

from lexiscope.core.seeds import derive_seed
from lexiscope.index.feature import Real, Record

RESAMPLES = 2000
Part = Literal["feature", "other_feature", "direction"]
PARTS: tuple[Part, ...] = ("feature", "other_feature", "direction")
"""What is taken out: the feature's contribution, or one of the controls."""


class ProbabilityChange(Record):
    """A token that may come next, and its probability before and after the ablation."""

    token: int
    piece: str
    before: Real
    after: Real


class Change(Record):
    """What one ablation does to the predictions of one example. None: there is no such token."""

    kl: Real
    """KL(as it is ‖ ablated) of the next-token distribution at the focus, nats."""
    kl_after: Real | None
    """Mean of the same over the tokens after the focus."""
    loss: Real | None
    """By how much the loss on the token after the focus rises, nats."""
    loss_after: Real | None
    """Mean of the same over later tokens."""


class AblatedExample(Record):
    """One example, the feature ablated."""

    pieces: list[str]
    focus: int
    activation: Real
    """At the focus, in this window: 0 where it does not fire here, for want of earlier text."""
    fires_on: int
    """Tokens of the window on which it fires."""
    norm_share: Real
    """Length of what is taken out at the focus over the length of the activation there."""
    at_focus: Change
    everywhere: Change
    raised: list[ProbabilityChange]
    """Next tokens at the focus that became likelier by the ablation there, most first."""
    lowered: list[ProbabilityChange]


class Mean(Record):
    """A mean over examples with its 95 % bootstrap interval over them; None where there are fewer than two."""

    mean: Real
    low: Real | None
    high: Real | None
    examples: int


class MeanChange(Record):
    """`Change`, averaged over the examples in which the feature fires at the focus."""

    kl: Mean
    kl_after: Mean | None
    loss: Mean | None
    loss_after: Mean | None


class Compared(Record):
    """A feature's ablation beside its controls, which take out as much."""

    feature: MeanChange
    other_feature: MeanChange
    """Another feature's direction, drawn anew for every example."""
    direction: MeanChange
    """A random direction, drawn anew for every example."""
    excess: Mean
    """KL of the feature less that of the random direction, example by example."""


class Ablation(Record):
    """What taking a feature out of its examples does."""

    feature: int
    examples: list[AblatedExample]
    fired: int
    """Examples in which the feature fires at the focus: the ones that are averaged."""
    at_focus: Compared | None
    """None where it fires in no example."""
    everywhere: Compared | None
    raised: list[ProbabilityChange]
    """Next tokens whose mean probability over those examples rises most by the ablation at the focus."""
    lowered: list[ProbabilityChange]


def compare(changes: Mapping[Part, Sequence[Change]], seed: int) -> Compared | None:
    """Means over the same examples for the feature and its controls; None without examples."""
    own, direction = changes["feature"], changes["direction"]
    if not own:
        return None

    def mean(values: Sequence[float | None]) -> Mean | None:
        return bootstrap([value for value in values if value is not None], seed)

    def means(of: Sequence[Change]) -> MeanChange:
        kl = mean([change.kl for change in of])
        assert kl is not None
        return MeanChange(
            kl=kl,
            kl_after=mean([change.kl_after for change in of]),
            loss=mean([change.loss for change in of]),
            loss_after=mean([change.loss_after for change in of]),
        )

    excess = mean([change.kl - beside.kl for change, beside in zip(own, direction, strict=True)])
    assert excess is not None
    return Compared(
        feature=means(own), other_feature=means(changes["other_feature"]), direction=means(direction), excess=excess
    )


def bootstrap(values: Sequence[float], seed: int) -> Mean | None:
    """Mean of some values, and between which 95 % of the means of resamples of them lie; None without any."""
    if not values:
        return None
    values_B = torch.tensor(values, dtype=torch.float64)
    if len(values) < 2:
        return Mean(mean=float(values_B.mean()), low=None, high=None, examples=1)
    random = torch.Generator().manual_seed(derive_seed(seed, "bootstrap"))
    drawn_RB = torch.randint(len(values), (RESAMPLES, len(values)), generator=random)
    low, high = values_B[drawn_RB].mean(1).quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Mean(mean=float(values_B.mean()), low=low, high=high, examples=len(values))
