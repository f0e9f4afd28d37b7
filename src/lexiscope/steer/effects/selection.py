r"""Selection: which feature to steer with, by what it will do to the output and not by where it fires.

Features that fire on something need not write it. Three scores, cheap to dear, all on selection prompts:

    direct         f's direction through the unembedding: how far it moves the log-odds of a token set by itself
    attribution    ⟨gradient of the goal with respect to a vector added at every token, f's direction⟩
    observed       what a small dose does, all features at the same length, beside what that dose costs off-target

The two cheap ones make the shortlist, the dear one decides: the largest effect at the dose that costs ``limit`` of
perplexity, if effects grow with the dose and costs with its square, times how much oftener the goal rises than falls,

    effect · √(log(1 + limit) / rise of the loss) · max(0, 2 · share of prompts on which the goal rose - 1)

Whether the cheap scores can be trusted at all is told by a sign test on the shortlist and on features drawn at random.
Any vector makes predictions flatter and so raises what is rare; what is predicted is therefore compared with half the
difference between a dose and its mirror image, where that cancels.
F features, B prompts, D width, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.progress import SILENT, Progress
from lexiscope.core.seeds import generator
from lexiscope.index.directions.effects import RESIDUAL_SITES, effect_matrix
from lexiscope.index.feature import Real, Record
from lexiscope.index.live.changes import Mean, bootstrap
from lexiscope.index.live.contexts import Places
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.effects.controls import adding
from lexiscope.steer.effects.goals import Goal, Prompts, TokenSet
from lexiscope.steer.effects.intervals import Share, share_of, wilson
from lexiscope.steer.effects.side_effects import OffTarget

Score = Literal["direct", "attribution"]
LEAST_RISE = 1e-3
"""Of the loss, in nats: a smaller cost of the small dose is noise, and dividing by it would choose by noise."""


class Candidate(Record):
    """A feature that was tried. Scores are per unit of length of what is added."""

    feature: int
    direct: Real | None
    attribution: Real
    shortlisted: bool
    """False: drawn at random, for the sign test."""
    observed: Mean
    """Change of the goal at the small dose."""
    turned: Real
    """Half the difference between that and its mirror image."""
    moved: Share
    """Selection prompts on which the goal rose."""
    loss_rise: Real | None
    """Off-target at the same dose, nats per token; None where there was no off-target text."""
    value: Real
    """What the order goes by; without off-target text, of the small dose itself."""


class SignTest(Record):
    """Whether a score says which way the goal moves."""

    shortlisted: Share | None
    """Agreement on the shortlist: flattered, since it is chosen by the scores."""
    random: Share | None
    """Agreement on random features; None where none was drawn."""


class Selection(Record):
    """Features for a goal, best first."""

    goal: str
    norm: Real
    """Length of the small dose."""
    candidates: list[Candidate]
    """The shortlist by ``value``, then the random ones."""
    signs: dict[str, SignTest]
    """By score."""

    @property
    def chosen(self) -> int:
        """The feature to steer with, if any."""
        return self.candidates[0].feature

    def best(self) -> int:
        """The same, if it does anything.

        Raises:
            InputError: no feature that was tried raises the goal.
        """
        if self.candidates[0].value <= 0:
            raise InputError(f"none of the features that were tried raises {self.goal}; try more, or another goal")
        return self.chosen


def steered_place(sae: SparseAutoencoder, hooks: Sequence[HookPoint] = ()) -> HookPoint:
    """Where a feature is added.

    Raises:
        InputError: the dictionary writes several places.
    """
    writes = Places.of(sae, hooks).writes
    if len(writes) > 1:
        raise InputError(
            f"this dictionary writes {' + '.join(map(str, writes))}, and one vector is added at one place; "
            "give an autoencoder or a transcoder"
        )
    return writes[0]


def measure(model: LanguageModel, hook: HookPoint, goal: Goal, prompts: Prompts, vectors: Tensor | None) -> Tensor:
    """The goal on every prompt with a vector added, or as it is, [B]."""
    tokens_BC, attention_BC = prompts.contexts.tokens_BC, prompts.contexts.attention_BC
    with torch.no_grad():
        if vectors is None:
            return goal.measure(model.logits(tokens_BC, attention_BC), prompts).cpu()
        with adding(model, hook, vectors):
            return goal.measure(model.logits(tokens_BC, attention_BC), prompts).cpu()


def goal_gradient(model: LanguageModel, hook: HookPoint, goal: Goal, prompts: Prompts) -> Tensor:
    """Of the mean of the goal with respect to one vector added at every token of every prompt, [D]."""
    contexts = prompts.contexts
    nothing_D = torch.zeros(model.width_at(hook), requires_grad=True)
    with torch.enable_grad(), adding(model, hook, nothing_D):
        values = goal.measure(model.logits(contexts.tokens_BC, contexts.attention_BC, grad=True), prompts)
        (gradient_D,) = torch.autograd.grad(values.mean(), nothing_D)
    return gradient_D


@torch.no_grad()
def direct_direction(model: LanguageModel, goal: TokenSet, prompts: Prompts, U_DV: Tensor | None = None) -> Tensor:
    """What raises the log-odds of a token set most if nothing but the unembedding came after, [D].

    Σ_v (share of v in the set's probability - share of v in the rest) U[:, v], at the mean probabilities where the goal
    is measured.
    """
    U_DV = effect_matrix(model) if U_DV is None else U_DV
    logits_BCV = model.logits(prompts.contexts.tokens_BC, prompts.contexts.attention_BC).cpu()
    mean_V = logits_BCV[prompts.measured_BC].float().softmax(-1).mean(0)[: U_DV.shape[1]]
    weights_V = torch.zeros_like(mean_V)
    weights_V[goal.tokens] = torch.tensor([goal.weights[token] for token in goal.tokens])
    inside_V, outside_V = weights_V * mean_V, (1 - weights_V) * mean_V
    return U_DV @ (inside_V / inside_V.sum() - outside_V / outside_V.sum())


def select(
    model: LanguageModel,
    sae: SparseAutoencoder,
    goal: Goal,
    prompts: Prompts,
    *,
    norm: float,
    off_target: OffTarget | None = None,
    live: Sequence[int] | None = None,
    also: Sequence[int] = (),
    shortlist: int = 8,
    random: int = 8,
    limit: float = 0.05,
    U_DV: Tensor | None = None,
    hooks: Sequence[HookPoint] = (),
    seed: int = 0,
    progress: Progress = SILENT,
) -> Selection:
    """Choose a feature for a goal. Everything given must be selection text: judge what is chosen on other documents.

    Args:
        norm: length of the small dose; a sixth of how far activations lie from their mean is small.
        live: features that may be chosen; None: all.
        also: features to try besides the shortlist, such as the best detector of a concept.
        shortlist: how many features are tried with a dose.
        random: how many others are tried for the sign test.
        limit: rise of perplexity off-target that will be allowed.
        U_DV: from `effect_matrix`, if it is there already.
        hooks: for an autoencoder that does not say itself what it reads.

    Raises:
        InputError: no live feature, or a dictionary that writes several places.
    """
    hook = steered_place(sae, hooks)
    candidates = torch.tensor(sorted(range(sae.num_latents) if live is None else live), dtype=torch.int64)
    if not len(candidates):
        raise InputError("there is no live feature to choose from; train the dictionary longer")
    directions_FD = sae.directions_FD.detach().float().cpu()
    directions_FD = directions_FD / directions_FD.norm(dim=1, keepdim=True).clamp_min(1e-12)
    scores: dict[Score, Tensor] = {"attribution": directions_FD @ goal_gradient(model, hook, goal, prompts)}
    if isinstance(goal, TokenSet) and hook.site in RESIDUAL_SITES:
        scores["direct"] = directions_FD @ direct_direction(model, goal, prompts, U_DV)
    chosen = _shortlist(scores, candidates, shortlist)
    chosen += [feature for feature in also if feature not in chosen]
    others = [feature for feature in candidates.tolist() if feature not in chosen]
    order = torch.randperm(len(others), generator=generator(seed, "sign test", goal.name))[:random]
    drawn = [others[place] for place in order.tolist()]

    clean_B = measure(model, hook, goal, prompts, None)

    def try_out(feature: int) -> Candidate:
        vector_D = norm * directions_FD[feature]
        change_B, mirrored_B = (measure(model, hook, goal, prompts, sign * vector_D) - clean_B for sign in (1.0, -1.0))
        moved = share_of((change_B > 0).tolist())
        observed = bootstrap(change_B.tolist(), seed)
        assert observed is not None
        rise = None
        if off_target is not None and feature in chosen:
            rise = math.log1p(off_target.rise(vector_D).rise)
        scale = 1.0 if rise is None else math.sqrt(math.log1p(limit) / max(rise, LEAST_RISE))
        return Candidate(
            feature=feature,
            direct=float(scores["direct"][feature]) if "direct" in scores else None,
            attribution=float(scores["attribution"][feature]),
            shortlisted=feature in chosen,
            observed=observed,
            turned=float((change_B - mirrored_B).mean()) / 2,
            moved=moved,
            loss_rise=rise,
            value=observed.mean * scale * max(0.0, 2 * moved.share - 1),
        )

    tried: list[Candidate] = []
    with progress.task("Trying features", total=len(chosen) + len(drawn), unit="features") as task:
        for feature in (*chosen, *drawn):
            tried.append(try_out(feature))
            task.advance(1)
    tried.sort(key=lambda candidate: (not candidate.shortlisted, -candidate.value))
    return Selection(
        goal=goal.name,
        norm=norm,
        candidates=tried,
        signs={name: _sign_test(tried, name) for name in scores},
    )


def _shortlist(scores: Mapping[Score, Tensor], candidates: Tensor, count: int) -> list[int]:
    """Features in turn from each score, the attribution's first, until there are enough."""
    orders = [
        candidates[scores_F[candidates].argsort(descending=True, stable=True)].tolist() for scores_F in scores.values()
    ]
    found: dict[int, None] = {}
    for rank in zip(*orders, strict=True):
        for feature in rank:
            if len(found) < count:
                found[feature] = None
    return list(found)


def _sign_test(tried: Sequence[Candidate], score: Score) -> SignTest:
    def agreement(shortlisted: bool) -> Share | None:
        agreed = [
            (getattr(candidate, score) > 0) == (candidate.turned > 0)
            for candidate in tried
            if candidate.shortlisted == shortlisted
        ]
        return wilson(sum(agreed), len(agreed)) if agreed else None

    return SignTest(shortlisted=agreement(True), random=agreement(False))
