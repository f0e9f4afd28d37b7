"""Home: every dictionary in the folder that is shown."""

from __future__ import annotations

from lexiscope.web.pages.common import AnyLibrary, DictionaryFacts, facts
from lexiscope.web.view import View

PATH = "/"
TEMPLATE = "home.html"


class HomeView(View):
    root: str
    dictionaries: list[DictionaryFacts]


def read(library: AnyLibrary) -> HomeView:
    return HomeView(
        root=str(library.root),
        dictionaries=[facts(dictionary, library) for dictionary in library.dictionaries()],
    )
