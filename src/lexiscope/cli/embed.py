"""lexiscope embed: labels → vectors, so that they are found by what they mean."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lexiscope.cli.indexes import Index
from lexiscope.cli.options import Device, Json


def run(
    index: Index,
    encoder: Annotated[
        Path, typer.Option(help="The folder of a sentence encoder in Hugging Face format; nothing is fetched.")
    ],
    query: Annotated[str | None, typer.Option(help="Then list the labels that are closest to this.")] = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Give the labels that are new vectors, beside the notes; then they are found by what they mean."""
    from lexiscope.cli.console import ConsoleProgress, output, say, show_json
    from lexiscope.cli.indexes import index_at
    from lexiscope.core.errors import one_line
    from lexiscope.index.notes import Notes
    from lexiscope.index.notes.meaning import Meaning
    from lexiscope.lm.encoder import SentenceEncoder

    with Notes.open(index_at(index), readonly=True) as notes:
        meaning = Meaning(notes, SentenceEncoder(encoder, device=device))
        encoded = meaning.update(ConsoleProgress())
        found = None if query is None else meaning(query)
        if json:
            show_json({"encoded": encoded, "found": found and found.model_dump(mode="json")})
            return
        say(f"{encoded:,} texts encoded: {meaning.path}")
        for hit in found.hits if found else ():
            line = f"{hit.cosine:6.3f}  feature {hit.label.feature:>8}  {one_line(hit.label.text, 200)}"
            output.print(line, markup=False, soft_wrap=True)
