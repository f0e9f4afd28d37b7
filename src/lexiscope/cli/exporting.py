"""lexiscope export: what there is → files for other people and programs, with nothing listening."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Literal

import typer

from lexiscope.cli.indexes import Index

Out = Annotated[
    Path | None, typer.Option("--out", help="File to make; default: standard output. Nothing is written over.")
]
What = Literal["label", "pin", "rating", "bookmark", "tag", "note", "list", "item", "result"]


def page(
    runs: Annotated[Path, typer.Argument(help="The folder that `lexiscope view` would show.")],
    address: Annotated[str, typer.Argument(help="Of a page, as in the browser: /d/demo?sort=density&limit=200.")],
    out: Out = None,
    csv: Annotated[
        bool, typer.Option("--csv", help="A table, where the page has one; default: all of it, as JSON.")
    ] = False,
) -> None:
    """Any page of the app as JSON or CSV."""
    from lexiscope.cli.files import new_file
    from lexiscope.core.errors import InputError
    from lexiscope.web.exports.page import write_page

    if not runs.is_dir():
        raise InputError(f"no folder at {runs}; give the one that `lexiscope view` shows")
    as_table = csv or (out is not None and out.suffix == ".csv")
    with new_file(out) as file:
        write_page(runs, address, "csv" if as_table else "json", file.write)


def features(
    index: Index,
    numbers: Annotated[list[int] | None, typer.Argument(help="Which features.", metavar="NUMBER...")] = None,
    of_list: Annotated[str | None, typer.Option("--list", help="Those of a list of the notes, by its name.")] = None,
    out: Out = None,
    json: Annotated[bool, typer.Option("--json", help="What they show as JSON, for machines.")] = False,
) -> None:
    """Features as one HTML file that loads and runs nothing, to read, print and pass on."""
    from lexiscope.cli.files import new_file
    from lexiscope.cli.indexes import index_at
    from lexiscope.core.errors import InputError
    from lexiscope.index.feature_index import FeatureIndex
    from lexiscope.web.exports.html import beside, page_of, view_of

    folder = index_at(index)
    if bool(numbers) == (of_list is not None):
        raise InputError("which features is not said, or twice; give their numbers, or a list with --list NAME")
    chosen = numbers or _in_list(folder, of_list or "")
    dictionary, library = beside(FeatureIndex.open(folder))
    with new_file(out) as file:
        if json:
            file.write(view_of(dictionary, library, chosen).model_dump_json() + "\n")
        else:
            file.write(page_of(dictionary, library, chosen))


def notes(
    index: Index,
    what: Annotated[What | None, typer.Option(help="Only this, as CSV for a spreadsheet.")] = None,
    out: Out = None,
) -> None:
    """Everything that people and models wrote, with its history, as JSON Lines for `lexiscope import notes`."""
    from lexiscope.cli.files import new_file
    from lexiscope.cli.indexes import index_at
    from lexiscope.index.notes import Notes

    with Notes.open(index_at(index), readonly=True) as written, new_file(out) as file:
        exchange = written.exchange
        file.writelines(exchange.json_lines() if what is None else exchange.csv_lines(what))


COMMANDS = (page, features, notes)


def _in_list(index: Path, name: str) -> list[int]:
    from lexiscope.core.errors import InputError
    from lexiscope.index.notes import Notes

    with Notes.open(index, readonly=True) as written:
        found = [one for one in written.lists.all() if one.name == name]
        if len(found) != 1:
            raise InputError(
                f"there are {len(found)} lists {name!r} in {written.path}; give the numbers of the features"
            )
        return [item.feature for item in written.lists.items(found[0].list)]
