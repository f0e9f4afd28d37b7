"""Experiment: from a model, a dictionary and a corpus to everything that a goal is tried with.

Prompts and off-target text are stretches of documents, one from each; features, doses, the difference in means and the
words to put in front are chosen on the documents of one side, and judged on those of the other.

T tokens, D width, F features.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from functools import cached_property

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from lexiscope.core.config import Config
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.progress import SILENT, Progress
from lexiscope.index.directions.effects import effect_matrix
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.index.live.contexts import Contexts, Places
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.concepts.concept import Concept
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.effects.controls import difference_in_means
from lexiscope.steer.effects.dose import dose_response
from lexiscope.steer.effects.doses import DoseResponse
from lexiscope.steer.effects.goals import Likelihood, Predicate, Prompts, TokenSet, pairs
from lexiscope.steer.effects.probes import Probe, standard_probes
from lexiscope.steer.effects.selection import Selection, select, steered_place
from lexiscope.steer.effects.side_effects import OffTarget
from lexiscope.steer.effects.trial import LIMIT, Material, Rivals
from lexiscope.steer.experiments.aims import Aim, check_examples, prefix_of, split_examples, told_by_tokens
from lexiscope.steer.experiments.excerpts import SIDES, Source, read, windows
from lexiscope.steer.experiments.seen import see


class Sizes(Config):
    """How much of everything. What is first is for choosing, what is second for judging."""

    tokens: tuple[int, int] = (60_000, 40_000)
    """Of excerpts."""
    prompts: tuple[int, int] = (40, 48)
    """Stretches that the goal is tried on."""
    off_target: int = Field(72, ge=2)
    """Stretches that steering is not about."""
    read_tokens: int = Field(20_000, ge=1)
    """Of which activations are read."""
    prompt_tokens: int = Field(24, ge=1)
    off_target_tokens: int = Field(32, ge=2)
    prefix_tokens: int = Field(16, ge=1)
    small_dose: float = Field(0.15, gt=0)
    """Length of the vectors that features are tried with, in mean distances of an activation from the mean."""


class Experiment:
    """What is the same for all goals.

    Args:
        index: knows the largest activation of every feature; None: the largest in the text that is read.
        hooks: for a dictionary that does not say itself what it reads.
        seed: of documents, of which side they are on, of stretches and whatever else is drawn.

    Raises:
        InputError: no text, too little of it, or a dictionary that writes several places.
    """

    def __init__(
        self,
        model: LanguageModel,
        sae: SparseAutoencoder,
        source: Source = Source(),  # noqa: B008 (a value)
        sizes: Sizes = Sizes(),  # noqa: B008 (a value)
        *,
        index: FeatureIndex | None = None,
        hooks: Sequence[HookPoint] = (),
        seed: int = 0,
        progress: Progress = SILENT,
    ) -> None:
        self.model, self.sae, self.sizes, self.seed, self.progress = model, sae, sizes, seed, progress
        self.source = source
        self.hooks, self.hook = tuple(hooks), steered_place(sae, hooks)
        self.excerpts = [
            read(model, source, side, tokens, seed, progress) for side, tokens in zip(SIDES, sizes.tokens, strict=True)
        ]
        self.seen = see(
            model, sae, Places.of(sae, hooks).reads, self.hook, self.excerpts[0], sizes.read_tokens, progress
        )
        self.index = index
        codes = self.seen.codes
        self._maxima_F = torch.zeros(sae.num_latents).scatter_reduce_(0, codes.latents, codes.values.abs(), "amax")
        self.live: list[int] = self._maxima_F.nonzero()[:, 0].tolist() if index is None else index.live()
        self.directions_FD = sae.directions_FD.detach().float().cpu()
        self.small_norm = sizes.small_dose * float((self.seen.x_TD - self.seen.x_TD.mean(0)).norm(dim=1).mean())
        self._off_target = [
            OffTarget(model, self.hook, Contexts.of(model, self._stretches(side)), sae=sae) for side in (0, 1)
        ]

    @cached_property
    def probes(self) -> list[Probe]:
        """Tasks with right answers."""
        return standard_probes(self.model, seed=self.seed)

    @cached_property
    def U_DV(self) -> Tensor:
        """What a direction does to the logits by itself."""
        return effect_matrix(self.model)

    def towards_tokens(
        self,
        goal: TokenSet,
        *,
        kinds: frozenset[str] | None = None,
        predicate: Predicate | None = None,
        wanted: Sequence[NDArray[np.bool_]] | None = None,
    ) -> Aim:
        """The next token is one of a set, on stretches of text.

        Args:
            kinds: of the documents that they are from; None: all.
            predicate: judges what is written.
            wanted: which tokens of the excerpts for choosing have what the goal is; None: those of the set.

        Raises:
            InputError: too few documents of these kinds.
        """
        tokens = torch.tensor(goal.tokens)
        materials = []
        for excerpts, rows, off_target in zip(self.excerpts, self.sizes.prompts, self._off_target, strict=True):
            found = windows(excerpts, rows, self.sizes.prompt_tokens, kinds, self.seed, "prompts", goal.name)
            if len(found.texts) < 2:
                raise InputError(
                    f"{self.source.corpus!r} has {len(found.texts)} documents on one side that prompts for {goal.name} "
                    "could be from, and one prompt gives no interval; name a corpus of more documents"
                )
            prompts = Prompts.of(self.model, found.texts, found.documents)
            materials.append(Material(prompts, off_target.about(goal.tokens)))
        if wanted is None:
            wanted = [np.isin(each.ids, goal.tokens) for each in self.excerpts[0]]
        followed_T = torch.isin(self.seen.next_T, tokens)
        return Aim(
            goal=goal,
            selection=materials[0],
            heldout=materials[1],
            difference_D=difference_in_means(self.seen.x_TD, followed_T) if followed_T.any() else None,
            prefix=prefix_of(self.excerpts[0], wanted, self.sizes.prefix_tokens) or self._repeated(goal),
            predicate=predicate,
        )

    def towards_concept(self, concept: Concept) -> Aim:
        """Tokens that have a concept come next, in documents that it is judged in, and in what is written.

        Raises:
            InputError: no token tells it, or too few documents could have it.
        """
        told = told_by_tokens(concept, self.excerpts[0])
        judged = Predicate.of_concept(concept, self.model.tokenizer, min(concept.kinds))
        aim = self.towards_tokens(told.lexicon.goal, kinds=concept.kinds, predicate=judged, wanted=told.positive)
        return aim._replace(coverage=told.lexicon.coverage)

    def towards_examples(self, name: str, wanted: Sequence[str], unwanted: Sequence[str]) -> Aim:
        """Wanted texts are likelier than unwanted ones, pair by pair; half of them are for choosing.

        Raises:
            InputError: too few, one that is on both sides, or one that is too long or too short.
        """
        check_examples(wanted, unwanted)
        sides = [split_examples(texts, self.seed) for texts in (wanted, unwanted)]
        prompts = [pairs(self.model, *texts) for texts in zip(*sides, strict=True)]
        contexts = prompts[0].contexts
        x_TD = contexts.side_by_side(
            self.model.read(contexts.tokens_BC, [self.hook], contexts.attention_BC), [self.hook]
        ).cpu()
        wanted_T = contexts.text_BC.nonzero()[:, 0] % 2 == 0
        first = self.model.tokenizer.encode(sides[0][0][0]).ids
        materials = [
            Material(each, off_target.about(())) for each, off_target in zip(prompts, self._off_target, strict=True)
        ]
        return Aim(
            goal=Likelihood(name),
            selection=materials[0],
            heldout=materials[1],
            difference_D=difference_in_means(x_TD, wanted_T),
            prefix=first[: self.sizes.prefix_tokens],
            predicate=None,
        )

    def select(self, aim: Aim, *, shortlist: int = 8, random: int = 8, limit: float = LIMIT) -> Selection:
        """Features for a goal, best first, on text for choosing."""
        return select(
            self.model,
            self.sae,
            aim.goal,
            aim.selection.prompts,
            norm=self.small_norm,
            off_target=aim.selection.off_target,
            live=self.live,
            shortlist=shortlist,
            random=random,
            limit=limit,
            U_DV=self.U_DV,
            hooks=self.hooks,
            seed=self.seed,
            progress=self.progress,
        )

    def dose_response(
        self, aim: Aim, feature: int, strengths: Sequence[float] = (), *, limit: float = LIMIT
    ) -> DoseResponse:
        """A feature's doses, judged on held-out text.

        Args:
            strengths: multiples of its largest activation; none: around those at which it begins to cost something.

        Raises:
            InputError: no such feature, one that never fires, or strengths that are none.
        """
        return dose_response(
            self.model,
            self.hook,
            feature,
            self.directions_FD[feature],
            aim.goal,
            unit=self.unit(feature),
            selection=aim.selection,
            heldout=aim.heldout,
            rivals=self.rivals(aim, feature),
            strengths=strengths or self.strengths(feature),
            limit=limit,
            predicate=aim.predicate,
            probes=self.probes,
            seed=self.seed,
            progress=self.progress,
        )

    def unit(self, feature: int) -> float:
        """The largest activation of a feature: strength 1.

        Raises:
            InputError: no such feature, or one that never fires.
        """
        if not 0 <= feature < self.sae.num_latents:
            last = self.sae.num_latents - 1
            raise InputError(f"there is no feature {feature}; this dictionary has features 0 to {last}")
        if self.index is None:
            found = float(self._maxima_F[feature])
        else:
            found = self.index.summaries([feature])[feature].max_activation
        if not found:
            raise InputError(
                f"feature {feature} never fires, so a multiple of its maximum is no strength; take another"
            )
        return found

    def vector(self, feature: int) -> Tensor:
        """A feature at its maximum, [D]."""
        return self.unit(feature) * self.directions_FD[feature]

    def small_strength(self, vector_D: Tensor) -> float:
        """The multiple of a vector that is as long as the small dose: about where vectors begin to cost something."""
        return self.small_norm / float(vector_D.norm())

    def strengths(self, feature: int) -> list[float]:
        """To sweep, in multiples of the feature's maximum, to two digits."""
        at = self.small_strength(self.vector(feature))
        return [float(f"{times * at:.2g}") for times in (-2.0, -1.0, 0.5, 1.0, 2.0, 4.0)]

    def rivals(self, aim: Aim, feature: int) -> Rivals:
        """What a feature has to beat."""
        others = [each for each in self.live if each != feature]
        return Rivals(self.directions_FD[others], aim.difference_D, aim.prefix)

    def _repeated(self, goal: TokenSet) -> list[int]:
        """What shows a goal that occurs nowhere: its tokens, again and again."""
        return list(itertools.islice(itertools.cycle(goal.tokens), self.sizes.prefix_tokens))

    def _stretches(self, side: int) -> list[list[int]]:
        sizes = self.sizes
        return windows(
            self.excerpts[side], sizes.off_target, sizes.off_target_tokens, None, self.seed, "off-target"
        ).texts
