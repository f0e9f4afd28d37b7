"""Writing: one prompt gone on with twice at the same time, as the model does it and with features turned.

Both texts are drawn with the same seed, so that they part where turning changes what is drawn and not by chance. A
token is given when the model has read it, one step after it was chosen, since its features are not known before. They
are those of the activation as it comes, with what turning makes of them (`becoming`): what an encoder would say of the
changed activation is another matter, since directions are not orthogonal.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Generator, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Literal

from lexiscope.index.feature import FeatureSummary, Real
from lexiscope.steer.strength import Units
from lexiscope.web.drawing.characters import labelled, visible, whole
from lexiscope.web.folder.library import Dictionary, Library
from lexiscope.web.steering.asked import LEAST_TEMPERATURE, Asked
from lexiscope.web.steering.becoming import Becoming, with_codes
from lexiscope.web.steering.changing import read_change
from lexiscope.web.view import View

if TYPE_CHECKING:
    from lexiscope.steer.live import LiveToken

MOST_FIRINGS = 6
"""Of one token that are listed, besides the features that are turned."""
MOST_TURNED = 24
"""Of those: a kept edit may name any number."""
Run = Literal["default", "steered"]


class Firing(View):
    """A feature on a token, with what is known about it."""

    feature: int
    activation: Real
    relative: Real
    """Share of its largest activation in the indexed text; may exceed 1."""
    label: str | None
    """What people or models wrote about it, drawn."""
    fires_on: list[str]
    """The tokens it fires on most often, drawn."""
    turned: bool


class Token(View):
    """One token of one of the texts."""

    kind: Literal["token"] = "token"
    run: Run
    place: int
    """In the text, from 0, prompt included."""
    prompt: bool
    token: int
    shown: str
    """With white space and control characters drawn."""
    firings: list[Firing]
    """Those that are turned, as they are then, and the most telling others."""


class End(View):
    """Both texts are whole."""

    kind: Literal["end"] = "end"
    differ_at: int | None
    """The first place at which the texts are not the same; None: they are the same."""
    ended: dict[Run, bool]
    """Whether the model ended the text itself, before it had as many tokens as it may have."""


class Trouble(View):
    """Why the texts end here."""

    kind: Literal["problem"] = "problem"
    error: str


class Steered(View):
    """A prompt gone on with twice."""

    default: list[Token]
    steered: list[Token]
    prompt_tokens: int
    """How many tokens both begin with."""
    differ_at: int | None
    """As in `End`."""
    ended: dict[Run, bool]


def write_both(library: Library, name: str, asked: Asked) -> Generator[Token | End]:
    """The tokens of both texts as they come, the prompt's first.

    Close it to end early. Between two tokens the model is free for others.

    Raises:
        InputError: it can't be done, before the first token; the message says why.
    """
    dictionary = library.dictionary(name)
    change = read_change(library, dictionary, asked)
    model, sae, hooks = dictionary.reader.parts()
    from lexiscope.index.live.contexts import Contexts, tokens_of
    from lexiscope.steer.live import stream

    given = with_codes(change.recipe.edits, model, sae, hooks)
    write = functools.partial(
        stream,
        model,
        sae,
        asked.prompt,
        index=dictionary.index,
        error=change.recipe.error,
        most_features=sae.num_latents,
        with_prompt=True,
        max_new_tokens=asked.tokens,
        temperature=asked.temperature if asked.temperature >= LEAST_TEMPERATURE else 0.0,
        seed=asked.seed,
        hooks=hooks,
    )
    texts: dict[Run, Iterator[LiveToken]] = {"default": write(), "steered": _begun(write(given))}
    prompt = Contexts.of(model, [tokens_of(model.tokenizer, asked.prompt).ids])
    becoming = Becoming(given, Units(dictionary.index), prompt.tokens_BC.shape[1])
    yield from _in_turns(texts, _Shown(dictionary, change.features, becoming), asked.tokens)


def both(items: Iterable[Token | End]) -> Steered:
    """Both texts at once."""
    texts: dict[Run, list[Token]] = {"default": [], "steered": []}
    for item in items:
        if isinstance(item, End):
            return Steered(
                **texts,
                prompt_tokens=sum(token.prompt for token in texts["default"]),
                differ_at=item.differ_at,
                ended=item.ended,
            )
        texts[item.run].append(item)
    raise AssertionError  # there is an end


def _in_turns(texts: dict[Run, Iterator[LiveToken]], show: _Shown, most: int) -> Iterator[Token | End]:
    """A token of one text, then a token of the other, until both are whole."""
    found: dict[Run, list[LiveToken]] = {name: [] for name in texts}
    under_way = dict(texts)
    while under_way:
        for name, steps in list(under_way.items()):
            token = next(steps, None)
            if token is None:
                del under_way[name]
            elif token.generated or not token.special:  # what begins every text says nothing
                yield show(name, len(found[name]), token)
                found[name].append(token)
    yield End(
        differ_at=first_difference(*([token.token for token in found[name]] for name in ("default", "steered"))),
        ended={name: text[-1].special or sum(token.generated for token in text) < most for name, text in found.items()},
    )


def _begun(steps: Iterator[LiveToken]) -> Iterator[LiveToken]:
    """The same, with the first step made, so that what can't be is said before any token is given."""
    return itertools.chain([next(steps)], steps)


class _Shown:
    """Draws tokens, and looks up what is known about their features once."""

    def __init__(self, dictionary: Dictionary, turned: frozenset[int], becoming: Becoming) -> None:
        self._index, self._notebook = dictionary.index, dictionary.notebook
        self._turned, self._becoming = turned, becoming
        self._summaries: dict[int, FeatureSummary] = {}
        self._labels: dict[int, str] = {}

    def __call__(self, name: Run, place: int, token: LiveToken) -> Token:
        firing = {firing.feature: firing.activation for firing in token.firings}
        if name == "steered" and not token.special:
            firing = self._becoming(token.position, firing)
        self._look_up(list(firing))
        order = sorted(firing, key=lambda feature: self._weight(feature, firing[feature]), reverse=True)
        chosen = [feature for feature in order if feature in self._turned][:MOST_TURNED]
        chosen += [feature for feature in order if feature not in self._turned][:MOST_FIRINGS]
        self._look_up_labels(chosen)
        return Token(
            run=name,
            place=place,
            prompt=not token.generated,
            token=token.token,
            shown=visible(token.piece),
            firings=[self._firing(feature, firing[feature]) for feature in chosen],
        )

    def _weight(self, feature: int, activation: float) -> float:
        """How telling it is: how strong by its own measure, times how rare."""
        return self._relative(feature, activation) * -math.log10(max(self._summaries[feature].density, 1e-7))

    def _relative(self, feature: int, activation: float) -> float:
        most = self._summaries[feature].max_activation
        return activation / most if most > 0 else 1.0

    def _firing(self, feature: int, activation: float) -> Firing:
        label = self._labels.get(feature)
        return Firing(
            feature=feature,
            activation=activation,
            relative=self._relative(feature, activation),
            label=whole(label) if label else None,
            fires_on=[labelled(piece) for piece in self._summaries[feature].tokens[:4]],
            turned=feature in self._turned,
        )

    def _look_up(self, features: Sequence[int]) -> None:
        if missing := [feature for feature in features if feature not in self._summaries]:
            self._summaries |= self._index.summaries(missing)

    def _look_up_labels(self, features: Sequence[int]) -> None:
        if missing := [feature for feature in features if feature not in self._labels]:
            self._labels |= dict.fromkeys(missing, "") | self._notebook.labels(missing)


def first_difference(one: Sequence[int], other: Sequence[int]) -> int | None:
    """The first place at which two texts are not the same."""
    for place, (mine, theirs) in enumerate(zip(one, other, strict=False)):
        if mine != theirs:
            return place
    return None if len(one) == len(other) else min(len(one), len(other))
