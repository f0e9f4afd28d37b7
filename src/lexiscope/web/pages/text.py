"""Your own text: what a dictionary sees in something that somebody types."""

from __future__ import annotations

from lexiscope.web.folder.scores import Fidelity, fidelity
from lexiscope.web.pages.common import AnyLibrary, DictionaryFacts, facts
from lexiscope.web.reader import MAX_CHARACTERS, MAX_TOKENS
from lexiscope.web.view import View

PATH = "/d/{name}/text"
TEMPLATE = "text.html"


class TextView(View):
    dictionary: DictionaryFacts
    fidelity: Fidelity | None
    """None where no scorecard of this SAE is in the folder."""
    max_characters: int = MAX_CHARACTERS
    max_tokens: int = MAX_TOKENS


def read(library: AnyLibrary, name: str) -> TextView:
    found = library.dictionary(name)
    return TextView(
        dictionary=facts(found, library),
        fidelity=fidelity(found.scorecard) if found.scorecard else None,
    )
