"""lexiscope bench: this machine's speed, against the floor and against other libraries."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lexiscope.cli.options import Json

WIDTH = 112
"""Columns that the widest table takes; numbers are not cut off where there are fewer."""


def run(
    configs: Annotated[
        list[str], typer.Option("--config", help="A, B, A-dead or quick; may be given several times.")
    ] = [],  # noqa: B006  typer needs a list
    architectures: Annotated[
        list[str], typer.Option("--architecture", help="Only this one; may be given several times.")
    ] = [],  # noqa: B006
    paths: Annotated[
        list[str], typer.Option("--path", help="Only this kernel path: dense, stock, native, triton; several times.")
    ] = [],  # noqa: B006
    peers: Annotated[
        str | None,
        typer.Option(
            metavar="PYTHON",
            help="Time SAELens, dictionary-learning and sparsify too: an interpreter that has them, or 'here'.",
        ),
    ] = None,
    rounds: Annotated[int | None, typer.Option(help="Steps of each loop that count; default 5.")] = None,
    threads: Annotated[int | None, typer.Option(help="Processor threads; default: as many as torch takes.")] = None,
    device: Annotated[str | None, typer.Option(help="Where the steps run: cpu, cuda ...")] = None,
    quick: Annotated[bool, typer.Option("--quick", help="A small workload, TopK only: half a minute.")] = False,
    parts: Annotated[bool, typer.Option("--parts", help="Also where the time of our steps goes.")] = False,
    memory: Annotated[bool | None, typer.Option("--memory/--no-memory", help="Peak memory of every loop.")] = None,
    scaling: Annotated[
        bool | None, typer.Option("--scaling/--no-scaling", help="Cost over a 64-fold range of sizes.")
    ] = None,
    tuned: Annotated[
        bool | None, typer.Option("--tuned/--no-tuned", help="With peers: also with every process tuned by hand.")
    ] = None,
    out: Annotated[Path, typer.Option("--out", help="Folder for bench.json and the pictures.")] = Path("runs/bench"),
    json: Json = False,
) -> None:
    """How fast this machine multiplies, what a training step costs on it, and how far that is from the floor."""
    from rich.console import Console
    from rich.table import Table

    from lexiscope.bench.bench import QUICK, BenchConfig, bench
    from lexiscope.bench.report import headline, scaling_picture, steps_picture, tables
    from lexiscope.bench.result import check_folder, save
    from lexiscope.cli.console import ConsoleProgress, output, say, show_json

    asked = {
        "configs": configs or None,
        "architectures": architectures or None,
        "paths": paths or None,
        "peers": sys.executable if peers == "here" else peers,
        "rounds": rounds,
        "threads": threads,
        "device": device,
        "parts": parts,
        "memory": memory,
        "scaling": scaling,
        "tuned": tuned,
    }
    given = {key: value for key, value in asked.items() if value is not None}
    config = BenchConfig.read({**(QUICK if quick else {}), **given}, "bench")
    check_folder(out)
    result = bench(config, ConsoleProgress())
    pictures = {"steps.svg": steps_picture(result.comparisons)}
    if result.scaling:
        pictures["scaling.svg"] = scaling_picture(result.scaling)
    save(result, out, pictures)
    if json:
        show_json(result.as_json())
        return
    wide = Console(file=output.file, width=max(output.width, WIDTH))
    for line in headline(result):
        output.print(line, markup=False, soft_wrap=True)
    for shown in tables(result):
        table = Table(title=shown.title, title_justify="left", show_edge=False, pad_edge=False)
        for number, column in enumerate(shown.columns):
            table.add_column(column, justify="right" if number else "left", no_wrap=True)
        for row in shown.rows:
            table.add_row(*row)
        output.print()
        wide.print(table)
        for note in shown.notes:
            output.print(note, style="dim", markup=False, soft_wrap=True)
    say(f"{out}/bench.json and pictures beside it, after {result.seconds:.0f} s")
