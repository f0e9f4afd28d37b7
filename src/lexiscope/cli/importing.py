"""lexiscope import: files of other people and programs → what there is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lexiscope.cli.exporting import What
from lexiscope.cli.indexes import Index
from lexiscope.cli.options import Json

if TYPE_CHECKING:
    from lexiscope.index.notes import Added


def notes(
    index: Index,
    file: Annotated[Path, typer.Argument(help="What `lexiscope export notes` made; .gz is unpacked.")],
    what: Annotated[What | None, typer.Option(help="What a CSV file holds; left out, the file is JSON Lines.")] = None,
    json: Json = False,
) -> None:
    """Notes of the same autoencoder. What is there already stays as it is, so a file may be read twice."""
    from lexiscope.cli.console import ConsoleProgress
    from lexiscope.cli.files import lines_of, told_of
    from lexiscope.cli.indexes import index_at
    from lexiscope.index.notes import Notes

    with Notes.open(index_at(index)) as written, told_of(file):
        exchange, lines = written.exchange, lines_of(file)
        if what is None:
            found = exchange.read_json_lines(lines, ConsoleProgress())
        else:
            found = exchange.read_csv_lines(what, map(_text, lines), ConsoleProgress())
        _tell(found, written.path, json=json)


def neuronpedia(
    index: Index,
    files: Annotated[list[Path], typer.Argument(help="Its explanations/batch-N.jsonl; .gz is unpacked.")],
    json: Json = False,
) -> None:
    """Explanations that Neuronpedia exports, as labels. The files don't say of which weights they are: you have to."""
    from lexiscope.cli.console import ConsoleProgress
    from lexiscope.cli.files import lines_of, told_of
    from lexiscope.cli.indexes import index_at
    from lexiscope.index.notes import Added, Notes
    from lexiscope.index.notes.neuronpedia import read_neuronpedia

    with Notes.open(index_at(index)) as written:
        added = known = 0
        for file in files:
            with told_of(file):
                found = written.labels.add_many(read_neuronpedia(lines_of(file)), ConsoleProgress())
            added, known = added + found.added, known + found.known
        _tell(Added(added=added, known=known), written.path, json=json)


COMMANDS = (notes, neuronpedia)


def _text(line: bytes) -> str:
    return line.decode("utf-8", "strict")


def _tell(found: Added, path: Path, *, json: bool) -> None:
    from lexiscope.cli.console import say, show_json

    if json:
        show_json(found.model_dump())
    else:
        say(f"{found.added:,} added, {found.known:,} there already: {path}")
