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
from lexiscope.steer.confirming.pairs import Pair, first_tokens

_AT_ONCE = 2048
"""Tokens whose logits are held: of a vocabulary of 50,000 they are 400 MB."""


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
            parts = [self._clean(side, rows) for rows in self._rows()]
            activations_2BC.append(torch.cat([activations_BC for activations_BC, _, _ in parts]))
            differences.append(torch.cat([differences_B for _, differences_B, _ in parts]))
            self._at.append({hook: torch.cat([at[hook] for _, _, at in parts]) for hook in places.writes})
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
            parts = []
            for rows in self._rows():
                at = {hook: x_BCD[rows] for hook, x_BCD in self._at[into].items()}
                replacements = shifted(at, self._places.writes, amounts_BC[rows], vectors_BE[rows])
                logits_BCV = self._side(into, rows).forward(self._model, replacements=replacements).logits_BCV
                parts.append(self._difference(logits_BCV, into, rows))
            moved.append(sign * (torch.cat(parts) - self.clean_2B[into]))
        return moved

    def _clean(self, side: int, rows: slice) -> tuple[Tensor, Tensor, dict[HookPoint, Tensor]]:
        """Activations of the feature, logit differences, and what will be added to."""
        contexts, places = self._side(side, rows), self._places
        clean = contexts.forward(self._model, list(dict.fromkeys([*places.reads, *places.writes])))
        codes = encode(self._sae, contexts.side_by_side(clean.at, places.reads))
        values_T = torch.zeros(codes.num_tokens)
        mine_N = codes.latents == self._feature
        values_T[codes.tokens()[mine_N]] = codes.values[mine_N]
        at = {hook: clean.at[hook] for hook in places.writes}
        return contexts.spread(values_T), self._difference(clean.logits_BCV, side, rows), at

    def _rows(self) -> list[slice]:
        """Pairs that are read together."""
        pairs, tokens = len(self._answers_B2), self._contexts.tokens_BC.shape[1]
        step = max(1, _AT_ONCE // tokens)
        return [slice(start, min(start + step, pairs)) for start in range(0, pairs, step)]

    def _side(self, side: int, rows: slice) -> Contexts:
        first = side * len(self._answers_B2)
        return self._contexts.rows(range(first + rows.start, first + rows.stop))

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

    def _difference(self, logits_BCV: Tensor, side: int, rows: slice) -> Tensor:
        places = torch.arange(len(logits_BCV))
        last_BV = logits_BCV[places, self._last_2B[side, rows].to(logits_BCV.device)].double().cpu()
        answers_B2 = self._answers_B2[rows]
        return last_BV[places, answers_B2[:, 0]] - last_BV[places, answers_B2[:, 1]]
