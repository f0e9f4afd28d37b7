"""Live: a text as the model writes it, token by token, with the features that fire on each token.

A feature fires on a token when the model reads it, which is one step after it was chosen: each token comes with its
features, one step later than without them. They are those of the activation as it arrives at the hook point; what an
intervention changes on that very token is not in them, what it changed before is.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.feature import Real, Record
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.index.live.contexts import Places, encode, tokens_of
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.applying.editor import ErrorTerm
from lexiscope.steer.editing import editing
from lexiscope.steer.interventions import AnyIntervention

Labels = Callable[[Sequence[int]], Mapping[int, str]]
"""The labels of those of some features that have one."""


class LiveFiring(Record):
    """A feature that fires on a token."""

    feature: int
    activation: Real
    relative: Real | None
    """Share of its largest activation in the indexed text; None without an index."""
    label: str | None


class LiveToken(Record):
    """A token of the text, in the order of reading."""

    position: int
    """BOS is 0 in a model that starts with it."""
    token: int
    piece: str
    generated: bool
    special: bool
    """BOS, the end, padding: dictionaries say nothing about them."""
    l0: int
    """How many features fire on it."""
    firings: list[LiveFiring]
    """The strongest, relative to their largest activation where that is known."""


def stream(
    model: LanguageModel,
    sae: SparseAutoencoder,
    prompt: str,
    interventions: Sequence[AnyIntervention] | AnyIntervention = (),
    *,
    index: FeatureIndex | None = None,
    labels: Labels | None = None,
    error: ErrorTerm = "keep",
    most_features: int = 8,
    with_prompt: bool = False,
    max_new_tokens: int = 50,
    temperature: float = 0.0,
    seed: int = 0,
    hooks: Sequence[HookPoint] = (),
    allow_dead: bool = False,
) -> Iterator[LiveToken]:
    """Tokens as the model writes on from a prompt, to its end of text or so many new ones.

    Between two tokens the model is free for others.

    Args:
        interventions: what is changed while it writes; nothing by default.
        index: of this dictionary, for strengths such as ``2max`` and relative activations.
        labels: what features are called.
        most_features: how many are named of each token.
        with_prompt: whether the tokens of the prompt come first, with their features.

    Raises:
        InputError: before the first token, as `lexiscope.steer.editing.editing`, or the text is too long.
    """
    if not 0 <= most_features <= sae.num_latents:
        raise InputError(f"{most_features} features of each token are to be named; give 0 to {sae.num_latents}")
    places = Places.of(sae, hooks)
    editor = editing(model, sae, interventions, units=index, error=error, hooks=hooks, allow_dead=allow_dead)
    bos = [model.tokenizer.bos_id] if model.bos == "context" and model.tokenizer.bos_id is not None else []
    tokens = [*bos, *tokens_of(model.tokenizer, prompt).ids]
    if len(tokens) + max_new_tokens + 1 > model.max_context:
        raise InputError(
            f"{len(tokens)} tokens, {max_new_tokens} new ones and one more to read the last are more than the "
            f"{model.max_context} that {model.name} has positions for; shorten one of them"
        )
    steps = model.stream_tokens(
        torch.tensor([tokens]), max_new_tokens=max_new_tokens + 1, temperature=temperature, seed=seed
    )
    teller, encoder = _Teller(model, index, labels, most_features), sae.encoder()

    def tell() -> Iterator[LiveToken]:
        text, new = list(tokens), 0
        while True:
            seen: dict[HookPoint, Tensor] = {}
            with model.splice({hook: _note(seen, hook) for hook in places.reads}), editor:
                next_B = next(steps, None)
            if next_B is None:  # it has written its end, which it does not read
                yield teller.token(len(text) - 1, text[-1], None, generated=True)
                return
            count = 1 if new else len(tokens)
            x_TD = torch.cat([seen[hook][0, -count:] for hook in places.reads], dim=1).float()
            codes = encode(sae, x_TD, encoder)
            for row, position in enumerate(range(len(text) - count, len(text))):
                if new or with_prompt:
                    yield teller.token(position, text[position], codes.row(row), generated=new > 0)
            if new == max_new_tokens:
                return
            text.append(int(next_B[0]))
            new += 1

    return tell()


def _note(seen: dict[HookPoint, Tensor], hook: HookPoint) -> Callable[[Tensor], Tensor]:
    def visit(x_BCD: Tensor) -> Tensor:
        seen.setdefault(hook, x_BCD.detach().clone())
        return x_BCD

    return visit


class _Teller:
    """Puts tokens into words; remembers what it has looked up."""

    def __init__(
        self,
        model: LanguageModel,
        index: FeatureIndex | None,
        labels: Labels | None,
        most_features: int,
    ) -> None:
        self._tokenizer, self._index, self._labels, self._most = model.tokenizer, index, labels, most_features
        self._largest: dict[int, float] = {}
        self._label: dict[int, str | None] = {}

    def token(self, position: int, token: int, row: tuple[Tensor, Tensor] | None, *, generated: bool) -> LiveToken:
        special = token in self._tokenizer.special_ids
        latents, values = ([], []) if row is None or special else (part.tolist() for part in row)
        self._look_up(latents)
        firings = [
            LiveFiring(
                feature=feature,
                activation=value,
                relative=value / self._largest[feature] if self._largest.get(feature) else None,
                label=self._label.get(feature),
            )
            for feature, value in zip(latents, values, strict=True)
        ]
        firings.sort(key=lambda firing: -(firing.activation if firing.relative is None else firing.relative))
        return LiveToken(
            position=position,
            token=token,
            piece=self._tokenizer.piece(token),
            generated=generated,
            special=special,
            l0=len(firings),
            firings=firings[: self._most],
        )

    def _look_up(self, latents: Sequence[int]) -> None:
        if new := [feature for feature in latents if feature not in self._label]:
            if self._index is not None:
                found = self._index.summaries(new)
                self._largest |= {feature: summary.max_activation for feature, summary in found.items()}
            known = {} if self._labels is None else self._labels(new)
            self._label |= {feature: known.get(feature) for feature in new}
