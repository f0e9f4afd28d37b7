"""Confirmation: whether a feature causes what it is said to stand for, by patching it between pairs of prompts.

Each pair is a prompt in which the hypothesis says that the feature matters, another one in which it does not, and what
the model should write after each. The logit difference is that of the first token of the two answers. Then the
feature's activations of one prompt are put into the other, nothing else,

    x → x + (f of the other prompt - f) · w

and the logit difference is read again: put in where it was missing, taken away where it was there. The share is how
much of the way from one prompt to the other the feature alone goes, Σ moved / Σ (difference of the clean prompts), a
ratio of sums over pairs. Two controls change as much at the same places: another feature's direction, a random one.

Prompts of as many tokens are patched position by position; where lengths differ, the last token alone. The pairs must
not be those on which the feature was chosen. B pairs, C tokens, E width of what is written.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor

from lexiscope.core.config import Config
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.seeds import derive_seed, generator
from lexiscope.index.feature import Real, Record
from lexiscope.index.live.beside import directions, shifted
from lexiscope.index.live.contexts import Contexts, Places, encode, tokens_of
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder

LEAST_PAIRS = 8
"""With fewer, an interval over pairs says nothing."""
NOTHING = 0.05
"""An effect that surely goes less than this share of the way counts as none."""
_RESAMPLES = 2000
Verdict = Literal["cause", "no cause", "undecided"]


class Pair(Config):
    """Two prompts, and what follows each. Answers begin with white space where the model's tokens do."""

    prompt: str = Field(min_length=1)
    answer: str = Field(min_length=1)
    other_prompt: str = Field(min_length=1)
    other_answer: str = Field(min_length=1)


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


def read_pairs(lines: Sequence[str], where: str) -> list[Pair]:
    """Pairs from JSON lines.

    Raises:
        InputError: a line is no pair; ``where`` and its number say which.
    """
    from pydantic import ValidationError

    pairs = []
    for number, line in enumerate(lines, 1):
        if line.strip():
            try:
                pairs.append(Pair.model_validate_json(line))
            except ValidationError:
                raise InputError(
                    f"{where}, line {number} is no pair; write JSON with prompt, answer, other_prompt and other_answer"
                ) from None
    return pairs


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
    if len(pairs) < LEAST_PAIRS:
        raise InputError(f"there are {len(pairs)} pairs; give at least {LEAST_PAIRS}, so that there is an interval")
    if repeated := {(pair.prompt, pair.other_prompt) for pair in chosen_on} & {
        (pair.prompt, pair.other_prompt) for pair in pairs
    }:
        raise InputError(f"the feature was chosen on {min(repeated)[0]!r}; confirm it on other pairs")
    run = _Run(model, sae, feature, pairs, Places.of(sae, hooks))
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


class _Run:
    """All pairs in the untouched model, and again with something put in. Row 0 is the prompt, row 1 the other one."""

    def __init__(
        self, model: LanguageModel, sae: SparseAutoencoder, feature: int, pairs: Sequence[Pair], places: Places
    ) -> None:
        self._model, self._sae, self._feature, self._places = model, sae, feature, places
        texts = [*(pair.prompt for pair in pairs), *(pair.other_prompt for pair in pairs)]
        tokens = [tokens_of(model.tokenizer, text).ids for text in texts]
        self._contexts = Contexts.of(model, tokens)
        self._answers_B2 = torch.tensor([_answers(model, pair) for pair in pairs])
        self._last_2B = (self._contexts.attention_BC.sum(1) - 1).view(2, -1)
        self.by_position = bool((self._last_2B[0] == self._last_2B[1]).all())
        activations_2BC, differences = [], []
        self._at: list[dict[HookPoint, Tensor]] = []
        for side in (0, 1):
            contexts = self._side(side)
            clean = contexts.forward(model, list(dict.fromkeys([*places.reads, *places.writes])))
            codes = encode(sae, contexts.side_by_side(clean.at, places.reads))
            values_T = torch.zeros(codes.num_tokens)
            mine_N = codes.latents == feature
            values_T[codes.tokens()[mine_N]] = codes.values[mine_N]
            activations_2BC.append(contexts.spread(values_T))
            differences.append(self._difference(clean.logits_BCV, side))
            self._at.append({hook: clean.at[hook] for hook in places.writes})
        self.clean_2B = torch.stack(differences)
        self.change_BC = self._change(*activations_2BC)
        """Activation in the prompt less that in the other one, where it is patched; at the last token of both if not
        by position."""

    def vectors(self, others: Tensor | None, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        widths = [self._at[0][hook].shape[2] for hook in self._places.writes]
        random = generator(seed, "confirmation", self._feature)
        return directions(self._sae, self._feature, len(self._answers_B2), widths, others, random)

    def patch(self, into: int, vectors: Sequence[Tensor]) -> list[Tensor]:
        """By how much the logit difference moves towards the other side's, for each direction, [B]."""
        sign = 1 if into == 1 else -1
        amounts_BC = sign * self._placed(into)
        moved = []
        for vectors_BE in vectors:
            replacements = shifted(self._at[into], self._places.writes, amounts_BC, vectors_BE)
            logits_BCV = self._side(into).forward(self._model, replacements=replacements).logits_BCV
            moved.append(sign * (self._difference(logits_BCV, into) - self.clean_2B[into]))
        return moved

    def _side(self, side: int) -> Contexts:
        pairs = len(self._answers_B2)
        return self._contexts.rows(range(side * pairs, (side + 1) * pairs))

    def _change(self, here_BC: Tensor, there_BC: Tensor) -> Tensor:
        if self.by_position:
            return here_BC - there_BC
        rows = torch.arange(len(here_BC))
        change_BC = torch.zeros(len(here_BC), 1)
        change_BC[:, 0] = here_BC[rows, self._last_2B[0]] - there_BC[rows, self._last_2B[1]]
        return change_BC

    def _placed(self, side: int) -> Tensor:
        """The changes where they are made on one side, [B, C]."""
        if self.by_position:
            return self.change_BC
        amounts_BC = torch.zeros(len(self.change_BC), self._contexts.tokens_BC.shape[1])
        amounts_BC[torch.arange(len(amounts_BC)), self._last_2B[side]] = self.change_BC[:, 0]
        return amounts_BC

    def _difference(self, logits_BCV: Tensor, side: int) -> Tensor:
        rows = torch.arange(len(logits_BCV))
        last_BV = logits_BCV[rows, self._last_2B[side].to(logits_BCV.device)].double().cpu()
        return last_BV[rows, self._answers_B2[:, 0]] - last_BV[rows, self._answers_B2[:, 1]]


def _answers(model: LanguageModel, pair: Pair) -> tuple[int, int]:
    """The first tokens of the two answers."""
    first, other = (tokens_of(model.tokenizer, text).ids[0] for text in (pair.answer, pair.other_answer))
    if first == other:
        raise InputError(
            f"the answers {pair.answer!r} and {pair.other_answer!r} begin with the same token; give answers that "
            "differ from the start"
        )
    return first, other


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
