"""Confirmation: whether a feature causes what it is said to stand for, by patching it between pairs of prompts.

Each pair is a prompt in which the hypothesis says that the feature matters, another one in which it does not, and what
the model should write after each. The logit difference is that of the first token of the two answers. Then the
feature's activations of one prompt are put into the other, nothing else,

    x → x + (f of the other prompt - f) · w

and the logit difference is read again: put in where it was missing, taken away where it was there. The share is how
much of the way from one prompt to the other the feature alone goes, Σ moved / Σ (difference of the clean prompts), a
ratio of sums over pairs. Two controls change as much at the same places: another feature's direction, a random one.

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
from lexiscope.steer.effects.pairs import Pair, check_pairs
from lexiscope.steer.effects.patching import Patching

NOTHING = 0.05
"""An effect that surely goes less than this share of the way counts as none."""
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
    """Patching one way: the feature, its controls, and what it does beyond the stronger of them."""

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
            the model does not tell apart.
    """
    if not 0 <= feature < sae.num_latents:
        raise InputError(f"there is no feature {feature}; this dictionary has features 0 to {sae.num_latents - 1}")
    check_pairs(pairs, chosen_on)
    run = Patching(model, sae, feature, pairs, Places.of(sae, hooks))
    vectors = run.vectors(others, seed)
    ways = [run.patch(into, vectors) for into in (1, 0)]
    gap_B = run.clean_2B[0] - run.clean_2B[1]
    if float(gap_B.mean()) <= 0:
        raise InputError(
            "the model prefers the answer no more after the prompts than after the others, so there is nothing that a "
            "feature could explain; give pairs that it tells apart"
        )
    put_in, taken_out = (_direction(moved, gap_B, seed) for moved in ways)
    verdict = _verdict(put_in, taken_out)
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
        said=_SAID[verdict],
    )


_SAID: dict[Verdict, str] = {
    "cause": "The feature moves the answer both ways, more than another direction of its length does.",
    "no cause": "The feature moves the answer by less than a twentieth of the way, in either direction.",
    "undecided": "The feature's effect is neither surely beyond its controls nor surely close to none.",
}


def _direction(moved: Sequence[Tensor], gap_B: Tensor, seed: int) -> Direction:
    """Intervals from the same redrawn pairs for all, so that differences have one too."""
    random = torch.Generator().manual_seed(derive_seed(seed, "bootstrap"))
    drawn_RB = torch.randint(len(gap_B), (_RESAMPLES, len(gap_B)), generator=random)
    own_B, *controls = moved
    strongest_B = max(controls, key=lambda control_B: float(control_B.mean()))

    def interval(moved_B: Tensor) -> Moved:
        means_R = moved_B[drawn_RB].mean(1)
        shares_R = means_R / gap_B[drawn_RB].mean(1).clamp_min(1e-12)
        ends = torch.tensor([0.025, 0.975], dtype=torch.float64)
        (low, high), (share_low, share_high) = means_R.quantile(ends).tolist(), shares_R.quantile(ends).tolist()
        mean = float(moved_B.mean())
        return Moved(
            logits=mean,
            logits_low=low,
            logits_high=high,
            share=mean / float(gap_B.mean()),
            share_low=share_low,
            share_high=share_high,
        )

    return Direction(
        feature=interval(own_B),
        other_feature=interval(controls[0]),
        direction=interval(controls[1]),
        beyond=interval(own_B - strongest_B),
    )


def _verdict(put_in: Direction, taken_out: Direction) -> Verdict:
    ways = (put_in, taken_out)
    if all(way.feature.share_low > -NOTHING and way.feature.share_high < NOTHING for way in ways):
        return "no cause"  # however surely it differs from nothing
    if all(way.feature.logits_low > 0 and way.beyond.logits_low > 0 for way in ways):
        return "cause"
    return "undecided"
