"""What the page that steers sends: a prompt and what to change, for which nothing is written; and an edit to keep."""

from __future__ import annotations

from typing import Annotated

from fastapi import Depends, Request
from pydantic import Field

from lexiscope.core.errors import InputError
from lexiscope.web.actions import Action, Author
from lexiscope.web.folder.kin import EDITS
from lexiscope.web.folder.library import Library
from lexiscope.web.jobs.job import BusyError
from lexiscope.web.notebook import whoever_runs_this
from lexiscope.web.pages.common import AnyLibrary
from lexiscope.web.steering.asked import MAX_TURNED, Asked, Changes, Described
from lexiscope.web.steering.changing import read_change
from lexiscope.web.steering.kept import KeptEdit, kept_edits
from lexiscope.web.steering.places import Places
from lexiscope.web.steering.stream import Lines, Written
from lexiscope.web.steering.writing import write_both


class ToKeep(Changes):
    """What is set on the page, to be kept as an edit beside the SAE."""

    turn: Annotated[list[Described], Field(min_length=1, max_length=MAX_TURNED)]
    name: str = Field(pattern="^[A-Za-z0-9][A-Za-z0-9_-]{0,59}$")
    """Of its folder, in the folder ``edits`` beside the SAE."""
    purpose: str = Field("", max_length=2_000, pattern=r"^[^\x00]*$")
    author: Author = ""
    """Left out: whoever started Lexiscope."""


async def places(request: Request) -> Places:
    """Not worth a thread."""
    found: Places = request.app.state.places
    return found


AnyPlaces = Annotated[Places, Depends(places)]


async def steered(library: AnyLibrary, places: AnyPlaces, name: str, asked: Asked) -> Written:
    """A prompt gone on with as the model does it, and with features turned."""
    return Written(places, lambda: write_both(library, name, asked))


async def steered_lines(library: AnyLibrary, places: AnyPlaces, name: str, asked: Asked) -> Lines:
    """The same, token by token: lines of JSON, each a token of one of the texts; the last one says how they differ."""
    return Lines(places, lambda: write_both(library, name, asked))


async def keep_edit(library: AnyLibrary, places: AnyPlaces, name: str, sent: ToKeep) -> KeptEdit:
    """Keep what is set as an edit; strengths become activations."""
    return await places.turn(lambda: _keep(library, name, sent))


STEERING_ACTIONS = (Action("/d/{name}/edits.json", keep_edit),)


def _keep(library: Library, name: str, sent: ToKeep) -> KeptEdit:
    from lexiscope.steer.edit import Report, save_edit

    dictionary = library.dictionary(name)
    change = read_change(library, dictionary, sent)
    if dictionary.sae is None:
        raise InputError("the SAE of this index is not in the folder that is shown; put it there to keep an edit of it")
    run = dictionary.sae.path.parent
    folder = (run if run.is_relative_to(library.root) else library.root) / EDITS / sent.name
    shown = folder.relative_to(library.root).as_posix()
    if folder.exists():
        raise BusyError(f"there is an edit {shown} already; choose another name")
    model, sae, _ = dictionary.reader.parts()
    report = Report(purpose=sent.purpose, author=sent.author or whoever_runs_this())
    save_edit(folder, change.recipe, model, sae, units=dictionary.index, report=report)
    return next(one for one in kept_edits(library, dictionary) if one.name == shown)
