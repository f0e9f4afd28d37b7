"""What was found is kept in the notes beside the index, so that the feature's page shows it."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from lexiscope.cli.effects.asked import Opened
    from lexiscope.core.artifact import Artifact
    from lexiscope.index.notes import By, Notes, Result


def keep(found: Opened, put: Callable[[Notes, Artifact, By], Result]) -> None:
    """Write a result down, where there is an index; say where it is, or why it is nowhere.

    Raises:
        InputError: the notes can't be written.
    """
    from lexiscope.cli.console import say
    from lexiscope.index.notes import By, Notes
    from lexiscope.web.notebook import whoever_runs_this

    if found.index is None:
        folder = found.artifact.path
        say(f"not kept: there is no index beside {folder}; make one with: lexiscope index {folder}")
        return
    notes = Notes.open(found.index.artifact.path)
    put(notes, found.index.artifact, By(author=whoever_runs_this()))
    say(f"kept in {notes.path}; --no-keep leaves it out")
