"""What the page that steers sends: a prompt and the features to turn. Nothing is changed by it."""

from __future__ import annotations

from lexiscope.web.pages.common import AnyLibrary
from lexiscope.web.steering.asked import Asked
from lexiscope.web.steering.stream import Lines
from lexiscope.web.steering.writing import Steered, write_both, written


def steered(library: AnyLibrary, name: str, asked: Asked) -> Steered:
    """A prompt gone on with as the model does it, and with features turned."""
    return written(library.dictionary(name), asked)


def steered_lines(library: AnyLibrary, name: str, asked: Asked) -> Lines:
    """The same, token by token: lines of JSON, each a token of one of the texts; the last one says how they differ."""
    return Lines(write_both(library.dictionary(name), asked))
