"""Patching: pairs of prompts in the untouched model, and again with a feature's activations of the other side put in.

Prompts of as many tokens are patched position by position; where lengths differ, the last token alone. B pairs, C
tokens, E width of what is written, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.seeds import generator
from lexiscope.index.live.beside import directions, shifted
from lexiscope.index.live.contexts import Contexts, Places, encode, tokens_of
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.effects.pairs import Pair, first_tokens


class Patching:
    """All pairs in the untouched model, and again with something put in. Row 0 is the prompt, row 1 the other one."""

    def __init__(
        self, model: LanguageModel, sae: SparseAutoencoder, feature: int, pairs: Sequence[Pair], places: Places
    ) -> None:
        self._model, self._sae, self._feature, self._places = model, sae, feature, places
        texts = [*(pair.prompt for pair in pairs), *(pair.other_prompt for pair in pairs)]
        tokens = [tokens_of(model.tokenizer, text).ids for text in texts]
        self._contexts = Contexts.of(model, tokens)
        self._answers_B2 = torch.tensor([first_tokens(model, pair) for pair in pairs])
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
