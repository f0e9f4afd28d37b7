"""Export: features as one HTML file to read, print and pass on, like the report. It loads nothing and runs nothing.

/d/demo/features/123/export.html        one feature, to download
/d/demo/export.html?features=3,7,123    several
write_features("runs/demo", [3, 7, 123], "findings.html")    the same from Python
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from fastapi import Query
from starlette.responses import HTMLResponse

from lexiscope.core.artifact import find_artifacts
from lexiscope.core.disk import disk_trouble, write_text
from lexiscope.core.errors import InputError
from lexiscope.index.feature import Feature
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.web.drawing.rendering import STATIC, render
from lexiscope.web.folder.library import Dictionary, Library, open_run
from lexiscope.web.folder.scores import Fidelity, MatchedConcept, fidelity
from lexiscope.web.pages.common import AnyLibrary, DictionaryFacts, facts
from lexiscope.web.view import View

MOST = 100
"""Features in one file."""
Numbers = Annotated[str, Query(max_length=700, pattern=r"^[0-9]{1,9}(,[0-9]{1,9}){0,99}$")]


class ExportedFeature(View):
    feature: Feature
    concepts: list[MatchedConcept]


class ExportView(View):
    dictionary: DictionaryFacts
    fidelity: Fidelity | None
    """None where no scorecard of this SAE is there."""
    features: list[ExportedFeature]


def write_features(run: Path | str, features: Sequence[int], out: Path | str) -> Path:
    """Write some features of a run folder as one file.

    Raises:
        InputError: the folder holds no index, there is no such feature, or the file can't be written.
    """
    run, out = Path(run), Path(out)
    page = page_of(open_run(run), Library(run), features)
    with disk_trouble(out):
        write_text(out, page)
    return out


def beside(index: FeatureIndex) -> tuple[Dictionary, Library]:
    """An open index as a dictionary, with its SAE and scorecard where they lie beside it."""
    folder = index.artifact.path.parent
    others = [artifact for artifact in find_artifacts(folder) if artifact.path.parent == folder]
    dictionary = Dictionary.of(folder.name or "index", index.artifact, others)
    dictionary.__dict__["index"] = index  # it is open already
    return dictionary, Library(folder)


def page_of(dictionary: Dictionary, library: Library, features: Sequence[int]) -> str:
    """The file, as text.

    Raises:
        InputError: there is no such feature, or there are none or too many.
    """
    style = "\n".join((STATIC / name).read_text(encoding="utf-8") for name in ("style.css", "pages.css"))
    return render("export.html", view=view_of(dictionary, library, features), style=style)


def view_of(dictionary: Dictionary, library: Library, features: Sequence[int]) -> ExportView:
    """What the file shows.

    Raises:
        InputError: there is no such feature, or there are none or too many.
    """
    if not 0 < len(features) <= MOST:
        raise InputError(f"{len(features)} features can't go into one file; give from 1 to {MOST}")
    index = dictionary.index
    for number in features:
        index.check(number)
    return ExportView(
        dictionary=facts(dictionary, library),
        fidelity=fidelity(dictionary.scorecard) if dictionary.scorecard else None,
        features=[
            ExportedFeature(feature=index.feature(number), concepts=dictionary.concepts.get(number, []))
            for number in dict.fromkeys(features)
        ],
    )


def export_feature(library: AnyLibrary, name: str, feature: int) -> HTMLResponse:
    """One feature as a file."""
    return _file(page_of(library.dictionary(name), library, [feature]), f"{name}-{feature}")


def export_features(library: AnyLibrary, name: str, features: Numbers) -> HTMLResponse:
    """Several features as a file."""
    numbers = [int(number) for number in features.split(",")]
    return _file(page_of(library.dictionary(name), library, numbers), f"{name}-features")


EXPORTS = (
    ("/d/{name}/features/{feature:int}/export.html", export_feature),
    ("/d/{name}/export.html", export_features),
)


def _file(page: str, name: str) -> HTMLResponse:
    """Always to be kept, never to be shown: the policy of the app lets no page bring a style of its own."""
    return HTMLResponse(page, headers={"Content-Disposition": f'attachment; filename="{name}.html"'})
