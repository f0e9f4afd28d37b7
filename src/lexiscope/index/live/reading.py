"""Reading a text: what every token's activation is made of, and what the model predicts with and without the rest.

Parts and their shares: `lexiscope.index.live.parts`. A feature's share is of what all features together make
of this token, r = Σ f_i · W_dec[i]: ⟨f · W_dec, r⟩ / ‖r‖², which adds up to 1 over its features.

Predictions are told twice: as the model makes them, and with every text token's activation replaced by its
reconstruction, which is what the model would say if the dictionary were all there is.

B texts, C tokens per context, T text tokens, D and E widths read and written, F latents, N firings, V vocabulary.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.feature import Real, Record
from lexiscope.index.live.contexts import Contexts, Places, encode, tokens_of
from lexiscope.index.live.parts import Decomposition, Parts
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.kernels.gather import row_dots

if TYPE_CHECKING:
    from lexiscope.index.feature_index import FeatureIndex

MOST_FIRINGS = 128
"""Of one token that are listed: the ones with the largest shares."""
_NUMBERS_AT_ONCE = 1 << 25
"""Logits held at once: 128 MB."""


class FiringInText(Record):
    """A feature on a token."""

    feature: int
    activation: Real
    relative: Real | None
    """Share of the largest activation of this feature in the indexed text; may exceed 1. None: not known."""
    share: Real
    """Of what all features make of this token, 1 over all of them together; negative where it works against them."""


class Prediction(Record):
    """A token that may come next."""

    token: int
    piece: str
    probability: Real


class TokenInText(Record):
    """One token of a text."""

    token: int
    piece: str
    start: int
    """Where it begins in the text, in characters."""
    end: int
    l0: int
    """How many features fire."""
    firings: list[FiringInText]
    """Largest shares first."""
    parts: Decomposition | None
    """None for a special token, which no dictionary is trained on."""
    next_tokens: list[Prediction]
    """What the model expects after it, likeliest first."""
    loss: Real | None
    """On the token after it, nats; None for the last one."""
    spliced_loss: Real | None
    """The same with the reconstruction in place of every activation."""
    spliced_kl: Real
    """KL(model as it is ‖ with the reconstruction) of the next-token distribution, nats."""


class Reading(Record):
    """A text as a model and a dictionary see it."""

    tokens: list[TokenInText]
    left_out: int
    """Tokens at the end that were too many."""
    fvu: Real | None
    """Over all tokens: sum of squared errors over sum of squares about the centre."""
    error_share: Real
    """Mean over tokens."""
    loss: Real | None
    """Mean over tokens, nats; None for a text of one token."""
    spliced_loss: Real | None


@torch.no_grad()
def read_texts(
    model: LanguageModel,
    sae: SparseAutoencoder,
    texts: Sequence[str],
    *,
    index: FeatureIndex | None = None,
    hooks: Sequence[HookPoint] = (),
    most_tokens: int | None = None,
    centre_E: Tensor | None = None,
    next_tokens: int = 5,
) -> list[Reading]:
    """Read several texts, each for itself.

    Args:
        index: of this dictionary, for strengths relative to each feature's largest activation.
        hooks: for an autoencoder that does not say itself what it reads.
        most_tokens: of each text that are read; the model's context is the limit in any case.
        centre_E: mean activation where the dictionary writes, for the FVU. None: the decoder's bias, which training
            starts at that mean.
        next_tokens: how many predictions are named.

    Raises:
        InputError: a text without tokens, or that is none.
    """
    places = Places.of(sae, hooks)
    encoded = [tokens_of(model.tokenizer, text) for text in texts]
    room = model.max_context - (model.bos == "context")
    kept = [found.ids[: min(room, most_tokens or room)] for found in encoded]
    readings: list[Reading] = []
    for group in _groups([len(ids) for ids in kept], model.vocab_size):
        read = _Read(model, sae, places, [kept[number] for number in group], centre_E)
        largest = _largest(index, read.codes)
        for row, number in enumerate(group):
            tokens = read.tokens(row, largest, next_tokens)
            spans = zip(encoded[number].starts, encoded[number].ends, strict=True)
            tokens = [
                token.model_copy(update={"start": start, "end": end})
                for token, (start, end) in zip(tokens, spans, strict=False)
            ]
            readings.append(read.whole(row, tokens, left_out=len(encoded[number].ids) - len(kept[number])))
    return readings


def _groups(lengths: Sequence[int], vocab_size: int) -> Iterator[list[int]]:
    """Numbers of texts that are read together, in order: so many that their logits are not too many."""
    group: list[int] = []
    longest = 0
    for number, length in enumerate(lengths):
        longest = max(longest, length + 1)
        if group and longest * (len(group) + 1) * vocab_size > _NUMBERS_AT_ONCE:
            yield group
            group, longest = [], length + 1
        group.append(number)
    if group:
        yield group


def _largest(index: FeatureIndex | None, codes: SparseCodes) -> dict[int, float]:
    """Largest activation of the features that fire here and fired in the indexed text."""
    if index is None:
        return {}
    summaries = index.summaries(sorted(set(codes.latents.tolist())))
    return {feature: found.max_activation for feature, found in summaries.items() if found.max_activation > 0}


class _Read:
    """A few texts that the model has read, as it is and with its activations replaced."""

    def __init__(
        self,
        model: LanguageModel,
        sae: SparseAutoencoder,
        places: Places,
        texts: Sequence[Sequence[int]],
        centre_E: Tensor | None,
    ) -> None:
        self._model = model
        self._contexts = contexts = Contexts.of(model, texts)
        self._lengths = [len(text) for text in texts]
        clean = contexts.forward(model, list(dict.fromkeys([*places.reads, *places.writes])))
        x_TD, y_TE = (contexts.side_by_side(clean.at, hooks).cpu() for hooks in places)
        self.codes = encode(sae, x_TD)
        device = sae.directions_FD.device
        codes = _to(self.codes, device)
        nothing = SparseCodes(codes.offsets[:1].repeat(2), codes.latents[:0], codes.values[:0], codes.num_latents)
        bias_E, decoded_TE = sae.decode(nothing)[0].float(), sae.decode(codes).float()
        W_FE = sae.directions_FD.detach().float()
        features_TE = decode_rows(codes, W_FE)  # decoded less bias would be rounding alone where features are weak
        output_TE = sae.reconstruct(x_TD.to(device), codes).float().cpu()
        self._parts = Parts.of(
            y_TE,
            features_TE.cpu(),
            bias_E.cpu(),
            decoded_TE=decoded_TE.cpu(),
            output_TE=output_TE,
            centre_E=centre_E,
        )
        dots_N = row_dots(features_TE, W_FE, codes.latents, codes.offsets).cpu()
        sizes_T = features_TE.square().sum(1).cpu().clamp_min(torch.finfo(torch.float32).tiny)
        self._shares_N = dots_N * self.codes.values / sizes_T[self.codes.tokens()]
        self._log_BCV = clean.logits_BCV.float().log_softmax(2)
        replacements = {}
        widths = [clean.at[hook].shape[2] for hook in places.writes]
        for hook, part_TD in zip(places.writes, torch.split(output_TE, widths, dim=1), strict=True):
            replacements[hook] = _Put(contexts.text_BC, part_TD)
        self._spliced_BCV = contexts.forward(model, replacements=replacements).logits_BCV.float().log_softmax(2)
        order_BC = contexts.text_BC.flatten().cumsum(0).view_as(contexts.text_BC) - 1
        self._place_BC = order_BC.masked_fill(~contexts.text_BC, -1)

    def tokens(self, row: int, largest: dict[int, float], next_tokens: int) -> list[TokenInText]:
        """The tokens of one text, without their places in it."""
        lead = self._contexts.lead
        span = slice(lead, lead + self._lengths[row])
        log_CV, spliced_CV = self._log_BCV[row, span], self._spliced_BCV[row, span]
        kl_C = (log_CV.exp() * (log_CV - spliced_CV)).sum(1).clamp_min(0).tolist()
        ids = self._contexts.tokens_BC[row, span].to(log_CV.device)
        losses, spliced_losses = (
            [*(-logs[:-1].gather(1, ids[1:, None])[:, 0]).tolist(), None] for logs in (log_CV, spliced_CV)
        )
        best = log_CV[:, : self._model.tokenizer.vocab_size].topk(next_tokens)
        expected = zip(best.indices.tolist(), best.values.exp().tolist(), strict=True)
        piece = self._model.tokenizer.piece
        tokens = []
        for place, (token, loss, spliced_loss, kl, (next_ids, chances)) in enumerate(
            zip(ids.tolist(), losses, spliced_losses, kl_C, expected, strict=True)
        ):
            at = int(self._place_BC[row, lead + place])
            latents, firings = self._firings(at, largest) if at >= 0 else (0, [])
            tokens.append(
                TokenInText(
                    token=token,
                    piece=piece(token),
                    start=0,
                    end=0,
                    l0=latents,
                    firings=firings,
                    parts=self._parts.at(at) if at >= 0 else None,
                    next_tokens=[
                        Prediction(token=next_id, piece=piece(next_id), probability=chance)
                        for next_id, chance in zip(next_ids, chances, strict=True)
                    ],
                    loss=loss,
                    spliced_loss=spliced_loss,
                    spliced_kl=kl,
                )
            )
        return tokens

    def whole(self, row: int, tokens: list[TokenInText], *, left_out: int) -> Reading:
        """One text, with what holds for all of it."""
        places = self._place_BC[row][self._place_BC[row] >= 0]
        counted = [token for token in tokens if token.loss is not None and token.spliced_loss is not None]
        return Reading(
            tokens=tokens,
            left_out=left_out,
            fvu=self._parts.fvu(places),
            error_share=self._parts.error_share(places),
            loss=sum(token.loss or 0.0 for token in counted) / len(counted) if counted else None,
            spliced_loss=sum(token.spliced_loss or 0.0 for token in counted) / len(counted) if counted else None,
        )

    def _firings(self, at: int, largest: dict[int, float]) -> tuple[int, list[FiringInText]]:
        span = slice(int(self.codes.offsets[at]), int(self.codes.offsets[at + 1]))
        shares = self._shares_N[span]
        order = shares.argsort(descending=True)[:MOST_FIRINGS]
        columns = (self.codes.latents[span][order], self.codes.values[span][order], shares[order])
        return len(shares), [
            FiringInText(
                feature=feature,
                activation=activation,
                relative=activation / largest[feature] if feature in largest else None,
                share=share,
            )
            for feature, activation, share in zip(*(column.tolist() for column in columns), strict=True)
        ]


class _Put:
    """Puts reconstructions in the place of the activations of text tokens."""

    def __init__(self, text_BC: Tensor, y_TD: Tensor) -> None:
        self._text_BC, self._y_TD = text_BC, y_TD

    def __call__(self, x_BCD: Tensor) -> Tensor:
        out_BCD = x_BCD.clone()
        out_BCD[self._text_BC.to(x_BCD.device)] = self._y_TD.to(x_BCD)
        return out_BCD


def _to(codes: SparseCodes, device: torch.device) -> SparseCodes:
    return SparseCodes(codes.offsets.to(device), codes.latents.to(device), codes.values.to(device), codes.num_latents)
