"""Kept: the edits that lie in the folder that is shown, and whether they can be applied to a dictionary.

An edit goes by its path in the folder. Those that are damaged, or of another dictionary, are listed with a sentence.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlencode

from lexiscope.core.artifact import LANDMARKS
from lexiscope.core.errors import ArtifactError, InputError, one_line
from lexiscope.core.manifest import MANIFEST
from lexiscope.web.drawing.characters import whole
from lexiscope.web.folder.library import Dictionary, Library
from lexiscope.web.steering.asked import MAX_NAME, MAX_TURNED, Error, On, written_positions
from lexiscope.web.steering.turns import turns_of
from lexiscope.web.view import View

if TYPE_CHECKING:
    from lexiscope.steer.edit import Edit
    from lexiscope.steer.recipe import Recipe

MOST_MEASURED = 40
_MOST_SHOWN = 2000
_MOST_RECIPE = 50_000
_MOST_ADDRESS = 2500
"""Characters for what is turned; a prompt goes beside it."""
_RECIPE, _REPORT = LANDMARKS["edit"], "report.json"


class UnknownEditError(InputError):
    """No edit of the folder has this name."""


class Measured(View):
    """Something that an edit was measured to do, as whoever measured it says."""

    name: str
    """Drawn."""
    value: str
    """Drawn; JSON where it is no text."""


class Setting(View):
    """What opens the page that steers with an edit set: its turns where an address can say them, or else its name."""

    turn: list[str]
    on: On
    positions: str
    edit: str
    error: Error


class KeptEdit(View):
    """An edit of the folder."""

    name: str
    """Its path in the folder."""
    problem: str | None
    """Why it can't be applied here."""
    purpose: str
    """Drawn, like all that was written into it."""
    author: str
    made: str
    """When, ISO 8601; empty if nobody can tell."""
    features: list[int]
    interventions: int
    measured: list[Measured]
    recipe: str
    """As TOML; every strength is an activation."""
    setting: Setting | None
    """None: it can't be applied here."""


def kept_edits(library: Library, dictionary: Dictionary) -> list[KeptEdit]:
    """Every edit of the folder, those that can be applied to this dictionary first."""
    listed = [_listed(name, folder, dictionary) for name, folder in _folders(library.root)]
    return sorted(listed, key=lambda one: (one.problem is not None, one.name))


def open_kept(library: Library, dictionary: Dictionary, name: str) -> Edit:
    """An edit that can be applied to a dictionary.

    Raises:
        UnknownEditError: the folder has no such edit.
        InputError: it is damaged, or of another dictionary.
    """
    folder = dict(_folders(library.root)).get(name)
    if folder is None:
        raise UnknownEditError(f"there is no edit {one_line(name, MAX_NAME)!r} in the folder that is shown")
    return _open(name, folder, dictionary)


def recipe_text(recipe: Recipe) -> str:
    """A recipe as TOML in which nothing is invisible: prompts to patch from may be anybody's."""
    text = recipe.toml()
    if len(text) > _MOST_RECIPE:
        return f"# This recipe is too long to be shown: it has {len(text):,} characters.\n"
    return "".join(one if one.isprintable() or one == "\n" else f"\\U{ord(one):08x}" for one in text)


def _folders(root: Path) -> Iterator[tuple[str, Path]]:
    """What is an edit, or was one. Hidden folders, and where links lead, are left out, as in the survey."""
    marks = {MANIFEST, *LANDMARKS.values()}
    for parent, folders, files in os.walk(root):
        if {_RECIPE, _REPORT} & set(files):
            name = Path(parent).relative_to(root).as_posix()
            if name.isprintable() and len(name) <= MAX_NAME:  # others are in no address
                yield name, Path(parent)
        if marks & set(files):
            folders.clear()
        folders[:] = sorted(folder for folder in folders if not folder.startswith("."))


def _open(name: str, folder: Path, dictionary: Dictionary) -> Edit:
    from lexiscope.steer.edit import Edit

    try:
        edit = Edit.open(folder)
    except ArtifactError as error:
        raise InputError(f"the edit {name} can't be read: {str(error).replace(str(folder), name)}") from None
    made_with, own = edit.artifact.source("sae"), dictionary.artifact.source("sae")
    if made_with is None or own is None or made_with["fingerprint"] != own["fingerprint"]:
        of = f"SAE {one_line(str(made_with['fingerprint']))[:12]}" if made_with else "no dictionary that it names"
        raise InputError(f"the edit {name} changes another dictionary ({of}); open that one to apply it")
    model = dictionary.artifact.manifest["sources"]["model"]["fingerprint"]
    if edit.artifact.manifest["sources"].get("model", {}).get("fingerprint") != model:
        raise InputError(f"the edit {name} was made for another model; make it again with this one")
    for one in edit.recipe.edits:
        for feature in one.features or ():
            dictionary.index.check(feature)
    return edit


def _listed(name: str, folder: Path, dictionary: Dictionary) -> KeptEdit:
    try:
        edit = _open(name, folder, dictionary)
    except InputError as error:
        return KeptEdit(
            name=name,
            problem=f"{error}.",
            purpose="",
            author="",
            made="",
            features=[],
            interventions=0,
            measured=[],
            recipe="",
            setting=None,
        )
    given = edit.recipe.edits
    return KeptEdit(
        name=name,
        problem=None,
        purpose=_drawn(edit.report.purpose),
        author=_drawn(edit.report.author),
        made=str(edit.artifact.manifest.get("created", "")),
        features=sorted({feature for one in given for feature in one.features or ()}),
        interventions=len(given),
        measured=_measured(edit),
        recipe=recipe_text(edit.recipe),
        setting=_setting(name, edit),
    )


def _setting(name: str, edit: Edit) -> Setting:
    found, error = turns_of(edit.recipe.edits), edit.recipe.error
    written = [turn.written() for turn in found[0]] if found else []
    if found is None or len(written) > MAX_TURNED or len(urlencode({"turn": written}, doseq=True)) > _MOST_ADDRESS:
        return Setting(turn=[], on="all", positions="", edit=name, error=error)
    where = found[1]
    return Setting(turn=written, on=where.tokens, positions=written_positions(where), edit="", error=error)


def _measured(edit: Edit) -> list[Measured]:
    """The report, one line for each number, whatever is nested in it."""
    lines: list[Measured] = []

    def add(name: str, value: object) -> None:
        if isinstance(value, dict) and value:
            for key, inner in value.items():
                add(f"{name} {key}".strip(), inner)
        elif len(lines) < MOST_MEASURED:
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            lines.append(Measured(name=_drawn(name.replace("_", " ")), value=_drawn(text)))

    add("", edit.report.measured)
    return [line for line in lines if line.name]


def _drawn(text: str) -> str:
    return whole(text[:_MOST_SHOWN])
