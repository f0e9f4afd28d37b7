"""Where text comes from. `open_source` turns what a user types into a source."""

from __future__ import annotations

import os
from pathlib import Path

from lexiscope.core.errors import CorpusError
from lexiscope.text.sources.base import Source
from lexiscope.text.sources.files import Files
from lexiscope.text.sources.generated import Generated
from lexiscope.text.sources.huggingface import HuggingFace
from lexiscope.text.sources.installed import Installed
from lexiscope.text.sources.stdlib import Stdlib

__all__ = ["Source", "find_again", "open_source"]


def find_again(text: str) -> str:
    """The same source for somebody in another folder: an existing path made absolute, names as they are."""
    is_name = text.partition(":")[0] in {"demo", "stdlib", "installed", "generated", "hf"}
    return text if is_name or not os.path.exists(text) else os.path.abspath(text)  # noqa: PTH100, PTH110 - see below


def open_source(text: str, *, text_column: str) -> Source:
    """The source that a name or a path stands for.

    Names come first; to read a folder called ``stdlib``, write ``./stdlib``.

    Raises:
        InputError: no such name, generator, dataset, file or folder.
    """
    name, _, argument = text.partition(":")
    if text == "stdlib":
        return Stdlib()
    if text == "installed":
        return Installed()
    if name == "generated":
        return Generated(argument)
    if name == "hf" and argument:
        return HuggingFace(argument, text_column)
    if os.path.exists(text):  # noqa: PTH110 - Path.exists raises on odd strings
        return Files(Path(text), text_column)
    raise CorpusError(
        f"no text source {text!r}: it is no file or folder, and the names are demo, stdlib, installed, generated, "
        "generated:<name> and hf:<dataset>"
    )
