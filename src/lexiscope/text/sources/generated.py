"""Pages of the package's own seeded generators, endless: ``generated`` is all of them, ``generated:<name>`` one."""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from lexiscope.core.errors import InputError
from lexiscope.core.seeds import derive_seed
from lexiscope.text import generators
from lexiscope.text.document import Document
from lexiscope.text.report import ReadReport

LICENCE = "Apache-2.0"


class Generated:
    """Generator pages; several generators take turns so that each has given about the same number of characters.

    Raises:
        InputError: no generator of that name.
    """

    endless = True

    def __init__(self, name: str = "") -> None:
        known = generators.names()
        if name and name not in known:
            raise InputError(f"no generator {name!r}; there are {', '.join(known)}")
        self._names = [name] if name else known

    def documents(self, seed: int, report: ReadReport) -> Iterator[Document]:  # noqa: ARG002
        streams = [generators.pages(name, derive_seed(seed, "generated", name)) for name in self._names]
        turns = [(0, 0, which) for which in range(len(streams))]  # characters given, pages given, generator
        while True:
            characters, page, which = turns[0]
            text = next(streams[which])
            heapq.heapreplace(turns, (characters + len(text), page + 1, which))
            yield Document(f"generated:{self._names[which]}/{seed}/{page}", text, "generated", LICENCE)

    def revision(self) -> str:
        from lexiscope import __version__

        return f"lexiscope {__version__} {' '.join(self._names)}"
