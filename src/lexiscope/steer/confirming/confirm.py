"""Confirmation: whether a feature causes what it is said to stand for, by patching it between pairs of prompts.

Each pair is a prompt in which the hypothesis says that the feature matters, another one in which it does not, and what
the model should write after each. The logit difference is that of the first token of the two answers. Then the
feature's activations of one prompt are put into the other, nothing else,

    x → x + (f of the other prompt - f) · w

and the logit difference is read again: put in where it was missing, taken away where it was there. The share is how
much of the way from one prompt to the other the feature alone goes, Σ moved / Σ (difference of the clean prompts), a
ratio of sums over pairs. Two controls change as much at the same places: another feature's direction, a random one,
drawn anew for every pair. Their effects have either sign, so that their mean is about 0 and beating it means nothing:
of any one direction it is as likely as not. A feature has to go further than such directions go, whichever way:

    beyond = mean of what the feature moves - 2 · √(mean of what the control moves, squared)

Prompts of as many tokens are patched position by position; where lengths differ, the last token alone. The pairs must
not be those on which the feature was chosen. B pairs, C tokens, R resamples.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.seeds import derive_seed
from lexiscope.index.feature import Real, Record
from lexiscope.index.live.contexts import Places
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.confirming.pairs import Pair, check_pairs
from lexiscope.steer.confirming.patching import Patching

NOTHING = 0.05
"""Of the way. A cause surely goes further, both ways; what surely goes less far is none."""
_CHANCE = 2.0
"""So many root mean squares, of either sign, one direction in forty exceeds by chance."""
_RESAMPLES = 2000
Verdict = Literal["cause", "no cause", "undecided"]


class Moved(Record):
    """By how much a patch moves the logit difference towards the other prompt's, over pairs."""

    logits: Real
    """Mean."""
    logits_low: Real
    logits_high: Real
    """95 % bootstrap interval over pairs."""
    share: Real
    """Of the way from one clean prompt to the other."""
    share_low: Real
    share_high: Real


class Direction(Record):
    """Patching one way: the feature, its controls, and what it does beyond the reach of the stronger of them."""

    feature: Moved
    other_feature: Moved
    direction: Moved
    beyond: Moved


class Confirmation(Record):
    """What a patching experiment found."""

    feature: int
    hypothesis: str
    pairs: int
    differ: int
    """Pairs on which the feature's activation is not the same in both prompts: only there can a patch do anything."""
    by_position: bool
    """Patched at every position; False: at the last token alone."""
    clean: Real
    """Mean logit difference of answer and other answer after the prompt."""
    clean_other: Real
    """The same after the other prompt."""
    put_in: Direction
    """The feature's activations of the prompt, in the other prompt."""
    taken_out: Direction
    """Those of the other prompt, in the prompt."""
    verdict: Verdict
    said: str


@torch.no_grad()
def confirm(
    model: LanguageModel,
    sae: SparseAutoencoder,
    feature: int,
    pairs: Sequence[Pair],
    *,
    hypothesis: str = "",
    chosen_on: Sequence[Pair] = (),
    hooks: Sequence[HookPoint] = (),
    others: Tensor | None = None,
    seed: int = 0,
) -> Confirmation:
    """Patch a feature between held-out pairs.

    Args:
        hypothesis: what the feature is said to stand for, kept with the result.
        chosen_on: pairs on which it was chosen; none of them may be among the others.
        hooks: for an autoencoder that does not say itself what it reads.
        others: numbers of the features that serve as controls, the live ones; None: all.

    Raises:
        InputError: too few pairs, one that was chosen on, answers that begin alike, no such feature, or prompts that
            the model does not surely tell apart.
    """
    if not 0 <= feature < sae.num_latents:
        raise InputError(f"there is no feature {feature}; this dictionary has features 0 to {sae.num_latents - 1}")
    check_pairs(pairs, chosen_on)
    run = Patching(model, sae, feature, pairs, Places.of(sae, hooks))
    vectors = run.vectors(others, seed)
    ways = [run.patch(into, vectors) for into in (1, 0)]
    gap_B = run.clean_2B[0] - run.clean_2B[1]
    random = torch.Generator().manual_seed(derive_seed(seed, "bootstrap"))
    drawn_RB = torch.randint(len(pairs), (_RESAMPLES, len(pairs)), generator=random)
    if _ends(gap_B[drawn_RB].mean(1))[0] <= 0:
        raise InputError(
            "the model does not surely prefer the answer after the prompts more than after the others (by "
            f"{float(gap_B.mean()):+.2g} logits), so there is nothing that a feature could explain; give pairs that it "
            "tells apart, or more of them"
        )
    put_in, taken_out = (_direction(moved, gap_B, drawn_RB) for moved in ways)
    verdict, said = _conclude(put_in, taken_out)
    return Confirmation(
        feature=feature,
        hypothesis=hypothesis,
        pairs=len(pairs),
        differ=int((run.change_BC != 0).any(1).sum()),
        by_position=run.by_position,
        clean=float(run.clean_2B[0].mean()),
        clean_other=float(run.clean_2B[1].mean()),
        put_in=put_in,
        taken_out=taken_out,
        verdict=verdict,
        said=said,
    )


def _direction(moved: Sequence[Tensor], gap_B: Tensor, drawn_RB: Tensor) -> Direction:
    """Intervals from the same redrawn pairs for all, so that differences have one too."""
    own_B, *controls = moved
    stronger_B = max(controls, key=lambda control_B: float(_reach(control_B)))
    gap_R = gap_B[drawn_RB].mean(1)

    def interval(mean: Tensor, means_R: Tensor) -> Moved:
        low, high = _ends(means_R)
        share_low, share_high = _ends(means_R / gap_R.clamp_min(1e-12))
        return Moved(
            logits=float(mean),
            logits_low=low,
            logits_high=high,
            share=float(mean / gap_B.mean()),
            share_low=share_low,
            share_high=share_high,
        )

    def mean(moved_B: Tensor) -> Moved:
        return interval(moved_B.mean(), moved_B[drawn_RB].mean(1))

    return Direction(
        feature=mean(own_B),
        other_feature=mean(controls[0]),
        direction=mean(controls[1]),
        beyond=interval(own_B.mean() - _reach(stronger_B), own_B[drawn_RB].mean(1) - _reach(stronger_B[drawn_RB])),
    )


def _reach(moved: Tensor) -> Tensor:
    """How far directions go by chance, over the last dimension."""
    return _CHANCE * moved.square().mean(-1).sqrt()


def _ends(means_R: Tensor) -> tuple[float, float]:
    """Of the 95 % interval."""
    low, high = means_R.quantile(torch.tensor([0.025, 0.975], dtype=means_R.dtype)).tolist()
    return low, high


def _conclude(put_in: Direction, taken_out: Direction) -> tuple[Verdict, str]:
    ways = (put_in, taken_out)
    if all(way.feature.share_high < 0 for way in ways) and any(way.feature.share_low < -NOTHING for way in ways):
        return "no cause", "The feature moves the answer the other way, away from what it is said to cause."
    if all(way.feature.share_high < NOTHING for way in ways):  # however surely it differs from nothing
        return "no cause", "The feature moves the answer by less than a twentieth of the way, in either direction."
    missing = []
    if any(way.feature.share_low <= NOTHING for way in ways):
        missing.append("not surely by a twentieth of the way")
    if any(way.beyond.logits_low <= 0 for way in ways):
        missing.append("not surely further than directions of its length go by chance")
    if missing:
        return "undecided", f"Put in and taken out, the feature moves the answer {', and '.join(missing)}."
    return "cause", (
        "The feature moves the answer by more than a twentieth of the way, both ways, and further than directions "
        "of its length do by chance."
    )
