"""Choosing: the tokens of a forward pass that interventions are for. B contexts, C tokens of a pass, N chosen."""

from __future__ import annotations

import functools
import itertools
from collections.abc import Sequence

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.lm.hooks import Pass
from lexiscope.lm.model import LanguageModel
from lexiscope.steer.applying.checks import contradiction, contradictions
from lexiscope.steer.applying.steps import Tokens
from lexiscope.steer.interventions import AnyIntervention


class Chosen:
    """The tokens of a pass that some intervention is for.

    Attributes:
        flat_N: their places in the pass, context after context; None: all of them.
        each: of them, those that each intervention is for, bool [N]; None: all.
    """

    def __init__(self, at: Pass, flat_N: Tensor | None, each: Sequence[Tensor | None]) -> None:
        self._at, self.flat_N, self.each = at, flat_N, each

    @functools.cached_property
    def tokens(self) -> Tokens:
        """Where they stand."""
        at = self._at
        flat_N = torch.arange(at.contexts * at.length) if self.flat_N is None else self.flat_N
        return Tokens(flat_N // at.length, flat_N % at.length + at.first)


class Chooser:
    """Knows, from pass to pass, where the prompt ends."""

    def __init__(
        self, model: LanguageModel, given: Sequence[AnyIntervention], prompt_tokens: int | Sequence[int] | None
    ) -> None:
        self._model, self._given, self._prompt_tokens = model, given, prompt_tokens
        self._prompt_B: Sequence[int] = ()
        self._pairs = contradictions(given)
        self._all = [None] * len(given)
        self._everywhere = all(one.everywhere for one in given)
        self._special = model.tokenizer.special_ids

    def __call__(self, at: Pass) -> Chosen | None:
        """None: there are no such tokens.

        Raises:
            InputError: rows or positions that are not there, or interventions that contradict each other on a token.
        """
        prompt_B, text_BC = self._prompts(at), self._text(at)
        if text_BC is None and self._everywhere:
            return Chosen(at, None, self._all)
        masks = [self._mask(one, at, prompt_B, text_BC) for one in self._given]
        for pair in self._pairs:
            meet = [mask_BC for mask_BC in (masks[pair[0]], masks[pair[1]]) if mask_BC is not None]
            if not meet or bool(functools.reduce(torch.logical_and, meet).any()):
                raise contradiction(self._given, pair)
        known = [mask_BC for mask_BC in masks if mask_BC is not None]
        if len(known) < len(masks):
            return Chosen(at, None, [None if mask_BC is None else mask_BC.flatten() for mask_BC in masks])
        union_BC = functools.reduce(torch.logical_or, known)
        flat_N = union_BC.flatten().nonzero()[:, 0]
        if not len(flat_N):
            return None
        if len(known) == 1:
            return Chosen(at, flat_N, [None])
        return Chosen(at, flat_N, [mask_BC.flatten()[flat_N] for mask_BC in known])

    def _mask(self, one: AnyIntervention, at: Pass, prompt_B: Sequence[int], text_BC: Tensor | None) -> Tensor | None:
        mask_BC = one.mask(at.first, at.length, prompt_B)
        if text_BC is None or one.special:
            return mask_BC
        return text_BC if mask_BC is None else mask_BC & text_BC

    def _prompts(self, at: Pass) -> Sequence[int]:
        """Length of the prompt of each context."""
        if isinstance(self._prompt_tokens, Sequence):
            if len(self._prompt_tokens) != at.contexts:
                raise InputError(f"there are {len(self._prompt_tokens)} prompts, but a batch of {at.contexts} contexts")
            return self._prompt_tokens
        stated = self._model.prompt_tokens if self._prompt_tokens is None else self._prompt_tokens
        if stated is not None or not at.first or len(self._prompt_B) != at.contexts:
            self._prompt_B = [at.length if stated is None else stated] * at.contexts
        return self._prompt_B

    def _text(self, at: Pass) -> Tensor | None:
        """Which tokens are not special; None: all of them."""
        if at.tokens_BC is None or self._special.isdisjoint(itertools.chain.from_iterable(at.tokens_BC.tolist())):
            return None
        return ~torch.isin(at.tokens_BC.cpu(), torch.tensor(sorted(self._special)))
