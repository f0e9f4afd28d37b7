"""lexiscope demo: every stage once, on the embedded model and corpus."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lexiscope.cli.options import Json, Set


def run(
    out: Annotated[Path, typer.Option("--out", help="Run folder to make; finished stages in it are kept.")] = Path(
        "runs/demo"
    ),
    model: Annotated[str, typer.Option(help="demo, a Hugging Face name or a local folder.")] = "demo",
    corpus: Annotated[str, typer.Option(help="demo, stdlib, installed, generated, hf:NAME, or a path.")] = "demo",
    hook: Annotated[str | None, typer.Option(help="Hook point; default: the residual stream in the middle.")] = None,
    assignments: Set = [],  # noqa: B006  typer needs a list
    json: Json = False,
) -> None:
    """Harvest, train, measure and index the embedded model in minutes, and write a report to read."""
    from lexiscope.cli.console import ConsoleProgress, output, say, show_json
    from lexiscope.cli.pipeline import DemoSettings, run_pipeline
    from lexiscope.cli.stage import settings

    flags = {"model": model, "corpus": corpus, "hook": hook}
    asked = DemoSettings.read(settings("demo", None, flags, assignments), "flags")
    result = run_pipeline(asked, out, ConsoleProgress())
    if json:
        show_json(result.summary())
        return
    output.print(str(result.card), markup=False, soft_wrap=True)
    output.print(result.table())
    say(f"a page to read and pass on: {out / 'report.html'}")
    say(f"to browse it:               lexiscope view {out}")
