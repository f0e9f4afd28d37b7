"""Your own text: what a dictionary sees in something that somebody types."""

from __future__ import annotations

from lexiscope.web.pages.common import AnyLibrary, DictionaryFacts, facts
from lexiscope.web.reader import MAX_CHARACTERS, MAX_TOKENS
from lexiscope.web.view import View

PATH = "/d/{name}/text"
TEMPLATE = "text.html"


class TextView(View):
    dictionary: DictionaryFacts
    max_characters: int = MAX_CHARACTERS
    max_tokens: int = MAX_TOKENS


def read(library: AnyLibrary, name: str) -> TextView:
    return TextView(dictionary=facts(library.dictionary(name), library))
