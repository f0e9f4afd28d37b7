"""The program ``lexiscope``: its verbs, and what it does with errors.

Nothing heavy is imported here: ``--help`` answers before a model could be loaded.
"""

from __future__ import annotations

import errno
import functools
import os
import sys
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from lexiscope.cli import (
    bench,
    demo,
    embed,
    exporting,
    finetune,
    harvest,
    importing,
    index,
    measure,
    plant,
    steer,
    train,
    verify,
    view,
)
from lexiscope.cli.effects import commands
from lexiscope.core.errors import InputError, LexiscopeError, is_out_of_memory, one_line
from lexiscope.core.stop import Stopped

INTERRUPTED = (
    "interrupted; nothing half-made has a final name, and the same command goes on from the last checkpoint "
    "if there is one"
)

NO_MEMORY = (
    "out of memory; smaller batches or fewer latents need less, and the same command goes on from the last checkpoint "
    "if there is one"
)

WRONG_PATH = {errno.ENAMETOOLONG, errno.ELOOP, errno.ENOTDIR, errno.EACCES, errno.EPERM}
"""What a path that was given can be; no verb needs to ask first."""

app = typer.Typer(
    name="lexiscope",
    help="A microscope for the dictionary of concepts inside a language model.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _interruptible(verb: Callable[..., None]) -> Callable[..., None]:
    """What is being made when Ctrl-C comes never gets its final name; say so."""

    @functools.wraps(verb)
    def run(*arguments: object, **options: object) -> None:
        try:
            verb(*arguments, **options)
        except Stopped as stopped:
            typer.echo(f"lexiscope: {stopped}", err=True)
            raise typer.Exit(stopped.exit_code) from None
        except KeyboardInterrupt:
            typer.echo(f"lexiscope: {INTERRUPTED}", err=True)
            raise typer.Exit(130) from None

    return run


for verb in (demo, harvest, train, finetune, measure, index, plant, steer, verify, view, embed, bench):
    app.command(verb.__name__.rsplit(".", 1)[-1])(_interruptible(verb.run))
for name, module, about in (
    ("export", exporting, "Pages, features and notes as files."),
    ("import", importing, "Other people's files: notes, labels."),
    ("effects", commands, "What turning features does: which to turn, how far, and whether it is they that did it."),
):
    group = typer.Typer(help=about, no_args_is_help=True, rich_markup_mode=None)
    for command in module.COMMANDS:
        group.command()(_interruptible(command))
    app.add_typer(group, name=name)


def _version(asked: bool) -> None:
    if asked:
        from lexiscope import __version__

        typer.echo(f"lexiscope {__version__}")
        raise typer.Exit


@app.callback()
def options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
) -> None:
    """A microscope for the dictionary of concepts inside a language model."""


def _check_names() -> None:
    """Manifests name paths as text, and readers of Parquet and safetensors take no others.

    Raises:
        InputError: a path is not UTF-8.
    """
    for name in (*sys.argv[1:], str(Path.cwd())):
        if any("\udc80" <= character <= "\udcff" for character in name):
            raise InputError(f"{name} is not UTF-8; rename the file or folder")


def main() -> None:
    """Run a verb. Exit code 0: done, 1: it failed, 2: what was given is wrong, 130: interrupted."""
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "true")
    warnings.formatwarning = lambda message, *_, **__: f"lexiscope: warning: {one_line(str(message))}\n"
    try:
        _check_names()
        app()
    except LexiscopeError as error:
        typer.echo(f"lexiscope: {error}", err=True)
        sys.exit(error.exit_code)
    except Exception as error:
        if (said := _sentence(error)) is None:
            raise
        sentence, code = said
        typer.echo(f"lexiscope: {one_line(sentence)}", err=True)
        sys.exit(code)


def _sentence(error: Exception) -> tuple[str, int] | None:
    """What to say of an error of the system that no stage has put into words, and the exit code."""
    if is_out_of_memory(error):
        return NO_MEMORY, 1
    if not isinstance(error, OSError) or error.errno is None or type(error).__module__ != "builtins":
        return None
    what = f"{error.filename}: {error.strerror}" if error.filename else str(error.strerror)
    if error.errno in WRONG_PATH:
        return f"{what}; give another path", 2
    return f"{what}; mend that and give the same command again", 1


if __name__ == "__main__":
    main()
