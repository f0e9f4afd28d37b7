"""Steer: a prompt gone on with as the model does it, and with features turned. The address is the whole view."""

from __future__ import annotations

from typing import Annotated

from fastapi import Query

from lexiscope.core.errors import InputError, LexiscopeError
from lexiscope.index.feature import Real
from lexiscope.index.notes.search import Hit
from lexiscope.steer.strength import Units
from lexiscope.web.drawing.characters import labelled, whole
from lexiscope.web.folder.library import Dictionary
from lexiscope.web.folder.scores import Fidelity, fidelity
from lexiscope.web.pages.common import AnyLibrary, DictionaryFacts, facts
from lexiscope.web.steering import asked
from lexiscope.web.steering.asked import Changes, read_where, written_positions
from lexiscope.web.steering.changing import read_change
from lexiscope.web.steering.kept import KeptEdit, kept_edits, recipe_text
from lexiscope.web.steering.turns import MAX_SOURCE, Do, Turn, named, read_turn
from lexiscope.web.view import View

PATH = "/d/{name}/steer"
TEMPLATE = "steer.html"
DEFAULT_PROMPT = "When the old man came to the door, he"
_MOST_FOUND = 8


class Candidate(View):
    """A feature that can be turned."""

    feature: int
    dead: bool
    """It never fires in the indexed text, so that it has no maximum to count in."""
    max_activation: Real
    label: str | None
    """What people or models wrote about it, drawn."""
    fires_on: list[str]
    """The tokens it fires on most often, drawn."""
    promoted: list[str]
    """The tokens whose logits it raises most, drawn."""


class Turned(View):
    """A feature that is turned, or all of them."""

    feature: Candidate | None
    """None: all of them."""
    do: Do
    strength: Real | None
    """In multiples of its maximum; for scale, the factor. None: it has none, or the feature is dead."""
    source: str
    """The prompt that is patched from, on whose last token; empty otherwise."""
    written: str
    """As in the address."""


class Limits(View):
    """How much may be asked for at once."""

    characters: int = asked.MAX_CHARACTERS
    tokens: int = asked.MAX_NEW_TOKENS
    turned: int = asked.MAX_TURNED
    source: int = MAX_SOURCE
    positions: int = asked.MAX_POSITIONS
    temperature: float = asked.MAX_TEMPERATURE


class SteerView(View):
    dictionary: DictionaryFacts
    fidelity: Fidelity | None
    """None where no scorecard of this SAE is in the folder."""
    prompt: str
    turned: list[Turned]
    on: asked.On
    """On which tokens they are turned."""
    positions: str
    """At which of them; empty: at all."""
    edit: KeptEdit | None
    """The kept edit that is applied before them."""
    temperature: float
    seed: int
    tokens: int
    error: asked.Error
    find: str
    found: list[Candidate]
    """Features whose number, label or tokens have what is looked for in them."""
    problems: list[str]
    """What of this address can't be."""
    kept: list[KeptEdit]
    """Every edit that lies in the folder, also those that can't be applied to this dictionary."""
    recipe: str
    """What is changed, in TOML, as `lexiscope steer --recipe` reads it."""
    read_only: bool
    limits: Limits


def read(
    library: AnyLibrary,
    name: str,
    prompt: Annotated[str, Query(max_length=asked.MAX_CHARACTERS)] = DEFAULT_PROMPT,
    turn: asked.QueryTurns = [],  # noqa: B006 - FastAPI copies it
    on: asked.On = "all",
    positions: Annotated[str, Query(max_length=asked.MAX_POSITIONS)] = "",
    edit: Annotated[str, Query(max_length=asked.MAX_NAME)] = "",
    temperature: Annotated[float, Query(ge=0, le=asked.MAX_TEMPERATURE, allow_inf_nan=False)] = 0.0,
    seed: Annotated[int, Query(ge=0, lt=2**31)] = 0,
    tokens: Annotated[int, Query(ge=1, le=asked.MAX_NEW_TOKENS)] = 40,
    error: asked.Error | None = None,
    find: Annotated[str, Query(max_length=100)] = "",
) -> SteerView:
    found = library.dictionary(name)
    turned, problems = _turned(found, turn)
    try:
        positions = written_positions(read_where(on, positions))
    except InputError as wrong:
        problems.append(f"{wrong}.")
        positions = ""
    kept = kept_edits(library, found)
    applied = next((one for one in kept if one.name == edit), None)
    if edit and (applied is None or applied.problem):
        problems.append(
            applied.problem if applied and applied.problem else f"there is no edit {edit!r} in this folder."
        )
        applied = None
    at_work = [one.written for one in turned if one.feature is None or not one.feature.dead]
    changes = Changes(turn=at_work, on=on, positions=positions, edit=applied.name if applied else "", error=error)
    recipe = read_change(library, found, changes).recipe
    return SteerView(
        dictionary=facts(found, library),
        fidelity=fidelity(found.scorecard) if found.scorecard else None,
        prompt=prompt,
        turned=turned,
        on=on,
        positions=positions,
        edit=applied,
        temperature=temperature,
        seed=seed,
        tokens=tokens,
        error=recipe.error,
        find=find,
        found=_found(found, find.strip()) if find.strip() else [],
        problems=problems,
        kept=kept,
        recipe=recipe_text(recipe),
        read_only=library.read_only,
        limits=Limits(),
    )


def _turned(dictionary: Dictionary, written: list[str]) -> tuple[list[Turned], list[str]]:
    """The features that can be turned, and why the others can't."""
    turns: dict[str, Turn] = {}
    problems = []
    for one in written:
        try:
            turn = read_turn(one)
            if turn.feature is not None:
                dictionary.index.check(turn.feature)
        except InputError as error:
            problems.append(f"{error}.")
            continue
        if turn.name in turns:
            problems.append(f"{named(turn.name)} turned twice; the first of them counts.")
        else:
            turns[turn.name] = turn
    numbers = [turn.feature for turn in turns.values() if turn.feature is not None]
    known = {one.feature: one for one in _candidates(dictionary, numbers)}
    units = Units(dictionary.index)
    return [
        Turned(
            feature=None if turn.feature is None else known[turn.feature],
            do=turn.do,
            strength=None if turn.feature is None else _times(units, known[turn.feature], turn),
            source=turn.source,
            written=turn.written(),
        )
        for turn in turns.values()
    ], problems


def _times(units: Units, candidate: Candidate, turn: Turn) -> float | None:
    if turn.strength is None or candidate.dead:
        return None
    if turn.do == "scale" or turn.strength.unit == "max":
        return turn.strength.times
    return units.activation(candidate.feature, turn.strength) / candidate.max_activation


def _found(dictionary: Dictionary, find: str) -> list[Candidate]:
    """By number, then by label, then by tokens."""
    index = dictionary.index
    numbers: list[int] = []
    if find.removeprefix("#").isdecimal() and find.isascii():
        number = int(find.removeprefix("#"))
        numbers += [number] if number < index.num_features else []
    try:
        nothing: tuple[Hit, ...] = ()
        hits = dictionary.notebook.read(
            lambda notes: notes.search(find, "labels", as_typed=True, limit=_MOST_FOUND).hits, nothing
        )
        numbers += [hit.feature for hit in hits if hit.feature is not None]
    except LexiscopeError:
        pass  # the tokens are searched in any case
    numbers += [row.feature for row in index.features(search=find, limit=_MOST_FOUND).features]
    return _candidates(dictionary, list(dict.fromkeys(numbers))[:_MOST_FOUND])


def _candidates(dictionary: Dictionary, numbers: list[int]) -> list[Candidate]:
    summaries, labels = dictionary.index.summaries(numbers), dictionary.notebook.labels(numbers)
    return [
        Candidate(
            feature=number,
            dead=summaries[number].dead,
            max_activation=summaries[number].max_activation,
            label=whole(labels[number]) if number in labels else None,
            fires_on=[labelled(piece) for piece in summaries[number].tokens[:4]],
            promoted=[labelled(piece) for piece in summaries[number].promoted[:3]],
        )
        for number in numbers
    ]
