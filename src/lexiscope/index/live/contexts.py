"""Contexts: a few texts as a model reads them, side by side, for what looks at single texts and not at a store.

B contexts, C tokens per context (BOS included), T text tokens of all contexts, D width, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.text.tokenizer import Encoded, Tokenizer


class Places(NamedTuple):
    """Where an autoencoder reads and where it writes."""

    reads: tuple[HookPoint, ...]
    writes: tuple[HookPoint, ...]

    @classmethod
    def of(cls, sae: SparseAutoencoder, hooks: Sequence[HookPoint] = ()) -> Places:
        """As the autoencoder says; ``hooks`` for one that does not.

        Raises:
            InputError: nobody says.
        """
        reads = tuple(sae.reads or hooks)
        if not reads:
            raise InputError("this SAE does not say which hook point it reads; set sae.hook")
        return cls(reads, tuple(sae.writes or reads))


class Forward(NamedTuple):
    """One forward pass: activations [B, C, D] at the places asked for, and logits [B, C, V]."""

    at: dict[HookPoint, Tensor]
    logits_BCV: Tensor


class Contexts(NamedTuple):
    """Token contexts padded on the right. ``lead`` counts the tokens put before each text: BOS, or nothing."""

    tokens_BC: Tensor
    attention_BC: Tensor
    """True for every token but padding."""
    text_BC: Tensor
    """True for text: not BOS, not padding, not any other special token."""
    lead: int

    @classmethod
    def of(cls, model: LanguageModel, texts: Sequence[Sequence[int]]) -> Contexts:
        """Texts as token ids without BOS, which is put before them where the model's contexts start with it.

        Raises:
            InputError: a text without tokens, or with more than the model has positions for.
        """
        bos = [model.tokenizer.bos_id] if model.bos == "context" and model.tokenizer.bos_id is not None else []
        longest = max((len(text) for text in texts), default=0)
        if not texts or not all(map(len, texts)):
            raise InputError("there is nothing to read in this text; type a word or two")
        if longest + len(bos) > model.max_context:
            raise InputError(
                f"a text has {longest} tokens, but {model.name} has positions for {model.max_context - len(bos)}; "
                "give a shorter one"
            )
        tokens_BC = torch.full((len(texts), longest + len(bos)), model.tokenizer.pad_id, dtype=torch.int64)
        for row, text in enumerate(texts):
            tokens_BC[row, : len(bos) + len(text)] = torch.tensor([*bos, *text], dtype=torch.int64)
        lengths_B = torch.tensor([len(bos) + len(text) for text in texts])
        attention_BC = torch.arange(tokens_BC.shape[1]) < lengths_B[:, None]
        special = torch.tensor(sorted(model.tokenizer.special_ids), dtype=torch.int64)
        text_BC = attention_BC & ~torch.isin(tokens_BC, special)
        text_BC[:, : len(bos)] = False
        return cls(tokens_BC, attention_BC, text_BC, len(bos))

    def rows(self, rows: Sequence[int]) -> Contexts:
        """Some of the contexts, in this order; one may come several times."""
        chosen = list(rows)
        return Contexts(self.tokens_BC[chosen], self.attention_BC[chosen], self.text_BC[chosen], self.lead)

    def forward(
        self,
        model: LanguageModel,
        hooks: Sequence[HookPoint] = (),
        replacements: Mapping[HookPoint, Callable[[Tensor], Tensor]] | None = None,
    ) -> Forward:
        """Run the model once, to the end, and note what passes on the way."""
        found: dict[HookPoint, Tensor] = {}

        def note(hook: HookPoint) -> Callable[[Tensor], Tensor]:
            def visit(x_BCD: Tensor) -> Tensor:
                found.setdefault(hook, x_BCD.clone())
                return x_BCD

            return visit

        with model.splice({hook: note(hook) for hook in hooks}), model.splice(replacements or {}):
            logits_BCV = model.logits(self.tokens_BC, self.attention_BC)
        if missing := [str(hook) for hook in hooks if hook not in found]:
            raise InputError(f"{', '.join(missing)} did not run in the forward pass; choose another hook point")
        return Forward(found, logits_BCV)

    def side_by_side(self, at: Mapping[HookPoint, Tensor], hooks: Sequence[HookPoint]) -> Tensor:
        """Activations of the text tokens at several places, context after context, float32 [T, D]."""
        parts = [at[hook] for hook in hooks]
        return torch.cat([x_BCD[self.text_BC.to(x_BCD.device)] for x_BCD in parts], dim=1).float()

    def spread(self, values_T: Tensor) -> Tensor:
        """A number of every text token where it stands, [B, C]; 0 elsewhere."""
        out_BC = values_T.new_zeros(self.tokens_BC.shape)
        out_BC[self.text_BC.to(values_T.device)] = values_T
        return out_BC


def tokens_of(tokenizer: Tokenizer, text: str) -> Encoded:
    """The tokens of a text that somebody gave.

    Raises:
        InputError: there is nothing in it, or what is no text at all.
    """
    if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
        raise InputError("this text holds half a character (a lone surrogate); leave it out")
    encoded = tokenizer.encode(text)
    if not encoded.ids:
        raise InputError("there is nothing to read in this text; type a word or two")
    return encoded


def encode(sae: SparseAutoencoder, x_TD: Tensor, encoder: Callable[[Tensor], SparseCodes] | None = None) -> SparseCodes:
    """Codes of some activations on the CPU, without entries of value zero; by the encoder, where that is kept."""
    codes = (encoder or sae.encode)(x_TD.to(sae.directions_FD.device)).fired()
    return SparseCodes(codes.offsets.cpu(), codes.latents.cpu(), codes.values.float().cpu(), codes.num_latents)
