"""Home: everything in the folder that is shown, and what was made from what."""

from __future__ import annotations

from lexiscope.web.folder.kin import Group, groups
from lexiscope.web.folder.survey import Unfinished
from lexiscope.web.pages.common import AnyLibrary, DictionaryFacts, facts
from lexiscope.web.view import View

PATH = "/"
TEMPLATE = "home.html"


class HomeView(View):
    root: str
    dictionaries: list[DictionaryFacts]
    unfinished: list[Unfinished]
    groups: list[Group]
    """By run folder; in each, what was made from what."""


def read(library: AnyLibrary) -> HomeView:
    dictionaries = library.dictionaries()
    found, unfinished = library.survey()
    shown = {folder: dictionary.name for dictionary in reversed(dictionaries) for folder in dictionary.folders}
    return HomeView(
        root=str(library.root),
        dictionaries=[facts(dictionary, library) for dictionary in dictionaries],
        unfinished=unfinished,
        groups=groups(library.root, found, shown),
    )
