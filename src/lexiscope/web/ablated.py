"""Ablated: what taking a feature out of its own examples does, measured when somebody asks and kept in the notes."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from datetime import datetime

from pydantic import ValidationError

from lexiscope.core.errors import LexiscopeError
from lexiscope.index.feature import Example, Feature, Real, Record
from lexiscope.index.live.changes import Compared, ProbabilityChange
from lexiscope.index.notes import Notes, Result
from lexiscope.web.folder.library import Dictionary
from lexiscope.web.notebook import by
from lexiscope.web.view import View

KIND = "ablation"
_EXAMPLES = 24
_AFTER = 12
_LONGEST = 256
"""Tokens of text before an example that the model reads, at most."""


class ExampleEffect(Record):
    """One example, the feature ablated at its focus."""

    row: int
    activation: Real
    kl: Real
    """KL(as it is ‖ ablated) of the next-token distribution, nats."""
    norm_share: Real
    """Length of what is taken out over the length of the activation."""
    raised: str | None
    """The next token that becomes likelier most."""
    lowered: str | None


class Effects(Record):
    """What is kept of an ablation."""

    examples: list[ExampleEffect]
    fired: int
    """Examples in which the feature fires at the focus: the ones that are averaged."""
    at_focus: Compared | None
    everywhere: Compared | None
    raised: list[ProbabilityChange]
    lowered: list[ProbabilityChange]


_NONE = Effects(examples=[], fired=0, at_focus=None, everywhere=None, raised=[], lowered=[])


class Ablated(View):
    """An ablation that somebody asked for."""

    effects: Effects
    measured_at: datetime
    asked_by: str


def known(dictionary: Dictionary, feature: Feature) -> Ablated | None:
    """What was measured on these examples before; None: nothing, or nothing that can be read."""
    try:
        found = dictionary.notebook.read(
            lambda notes: notes.results.get(feature.feature, KIND, _conditions(dictionary, feature)), None
        )
        return _shown(found) if found else None
    except (LexiscopeError, ValidationError):
        return None


def measure(dictionary: Dictionary, feature: Feature, author: str) -> Ablated:
    """Ablate a feature and write down what that does.

    Raises:
        InputError: it can't be ablated; the message says why.
    """
    chosen = examples_of(feature)
    effects = _effects(dictionary, feature.feature, chosen) if chosen else _NONE
    conditions = _conditions(dictionary, feature)
    written: list[Result] = []

    def keep(notes: Notes) -> None:
        written.append(notes.results.put(feature.feature, KIND, conditions, effects, by(author)))

    dictionary.notebook.write(keep)
    return _shown(written[0])


def _effects(dictionary: Dictionary, feature: int, chosen: Sequence[Example]) -> Effects:
    import torch

    from lexiscope.index.live.ablation import Window, windows_at

    text = dictionary.index.text
    windows = []
    for window in windows_at(text.tokens_T, text.context_starts(), [one.row for one in chosen], after=_AFTER):
        cut = max(0, window.focus - _LONGEST)
        windows.append(Window(window.tokens[cut:], window.focus - cut))
    found = dictionary.reader.ablate(feature, windows, others=torch.tensor(dictionary.index.live_L, dtype=torch.int64))
    return Effects(
        examples=[
            ExampleEffect(
                row=example.row,
                activation=ablated.activation,
                kl=ablated.at_focus.kl,
                norm_share=ablated.norm_share,
                raised=ablated.raised[0].piece if ablated.raised else None,
                lowered=ablated.lowered[0].piece if ablated.lowered else None,
            )
            for example, ablated in zip(chosen, found.examples, strict=True)
        ],
        fired=found.fired,
        at_focus=found.at_focus,
        everywhere=found.everywhere,
        raised=found.raised,
        lowered=found.lowered,
    )


def examples_of(feature: Feature) -> list[Example]:
    """Examples over the whole range: the strongest of every interval in turn, until there are enough."""
    groups: list[list[Example]] = [feature.strongest, *(band.examples for band in feature.bands)]
    found: dict[int, Example] = {}
    for example in _in_turn(groups):
        if len(found) == _EXAMPLES:
            break
        found.setdefault(example.row, example)
    return list(found.values())


def _in_turn(groups: list[list[Example]]) -> Iterable[Example]:
    for place in range(max(map(len, groups), default=0)):
        yield from (group[place] for group in groups if place < len(group))


def _conditions(dictionary: Dictionary, feature: Feature) -> str:
    """Hash of everything that the result depends on."""
    artifact = dictionary.artifact
    said = {
        "index": artifact.fingerprint,
        "model": artifact.manifest["sources"].get("model", {}).get("fingerprint"),
        "rows": [example.row for example in examples_of(feature)],
        "after": _AFTER,
        "longest": _LONGEST,
        "version": 1,
    }
    return hashlib.sha256(json.dumps(said, sort_keys=True).encode()).hexdigest()


def _shown(result: Result) -> Ablated:
    return Ablated(
        effects=Effects.model_validate(result.payload), measured_at=result.created_at, asked_by=result.by.author
    )
