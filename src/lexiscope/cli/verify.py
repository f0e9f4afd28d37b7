"""lexiscope verify: artifacts → whether every byte is what was written."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lexiscope.cli.options import Json


def run(
    paths: Annotated[list[Path], typer.Argument(help="Artifacts, or folders of several; also a .NAME.work folder.")],
    json: Json = False,
) -> None:
    """Read every file of artifacts, and of all they were made from, and compare with their manifests."""
    from lexiscope.cli.console import ConsoleProgress, output, say, show_json
    from lexiscope.core.errors import DamageError, one_line
    from lexiscope.core.verify import verify

    findings = verify(paths, progress=ConsoleProgress())
    damaged = [finding for finding in findings if not finding.whole]
    if json:
        show_json({"whole": not damaged, "artifacts": [finding.summary() for finding in findings]})
    for finding in findings:
        if not json:
            size = f"{finding.num_files:>6,} files {finding.num_bytes / 1e6:>10,.1f} MB"
            state = "whole  " if finding.whole else "DAMAGED"
            line = f"{state}  {finding.kind or 'unknown':<10} {size}  {one_line(str(finding.path))}"
            output.print(line, markup=False, soft_wrap=True)
        for note in finding.notes:
            say(f"note: {one_line(note)}")
    problems = [problem for finding in damaged for problem in finding.problems]
    for problem in problems:
        say(f"damage: {one_line(problem.sentence)}")
    if problems:
        raise DamageError(f"{len(damaged)} of {len(findings)} artifacts are damaged, as said above")
