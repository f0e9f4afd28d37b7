"""What every verb that makes an artifact does the same way: gather its settings, and do work only once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from lexiscope.core.artifact import Artifact, open_artifact
from lexiscope.core.config import DEEPEST, difference, parse_toml, quoted, read_recipe
from lexiscope.core.draft import begun_at, remove_leftovers
from lexiscope.core.errors import InputError

if TYPE_CHECKING:
    from lexiscope.train.memory import Estimate


def settings(table: str, recipe: Path | None, flags: Mapping[str, Any], assignments: Sequence[str]) -> dict[str, Any]:
    """The table of a recipe, changed by the flags that were given and then by ``--set key=value``.

    Raises:
        InputError: the recipe can't be read, has no such table, or an assignment is not ``key=value``.
    """
    values: dict[str, Any] = {}
    if recipe is not None:
        values = read_recipe(recipe).get(table)  # type: ignore[assignment]
        if not isinstance(values, dict):
            raise InputError(f"recipe {recipe} has no table [{table}]; add one or give flags instead")
    values |= {key: value for key, value in flags.items() if value is not None}
    for assignment in assignments:
        key, equals, text = assignment.partition("=")
        if not equals or not key:
            raise InputError(f"--set {quoted(assignment)} is not key=value")
        target = values
        *parents, last = key.split(".")
        if len(parents) > DEEPEST:
            raise InputError(f"--set {quoted(key)}: no setting lies so deep")
        for parent in parents:
            target = target.setdefault(parent, {})
            if not isinstance(target, dict):
                raise InputError(f"--set {quoted(key)}: {quoted(parent)} is a single value, not a table")
        target[last] = value_of(text)
    return values


def value_of(text: str) -> Any:
    """A TOML value; anything else is a string."""
    try:
        return parse_toml(f"value = {text}")["value"]
    except ValueError:
        return text


def finished(
    out: Path,
    kind: str,
    asked: Mapping[str, Any],
    made_from: Sequence[Artifact] = (),
    sources: Mapping[str, Any] | None = None,
) -> bool:
    """Whether ``out`` holds what was asked for already.

    Args:
        asked: settings that its config must have.
        made_from: artifacts that it must have been made from.
        sources: what the model and the corpus must say of themselves.

    Raises:
        InputError: it holds something else.
    """
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return False
    if not out.is_dir():
        raise InputError(f"{out} exists already and is a file; choose another --out")
    artifact = open_artifact(out, kind)
    for source in made_from:
        entry = artifact.source(source.kind)
        if entry is None or entry["fingerprint"] != source.fingerprint:
            raise InputError(f"{out} was made from another {source.kind} than {source.path}; choose another --out")
    found = {**artifact.config, **artifact.manifest["sources"]}
    for key, value in {**asked, **(sources or {})}.items():
        if what := difference(key, value, found.get(key)):
            raise InputError(f"{out} was made with other settings ({what}); choose another --out or remove it")
    remove_leftovers(out)
    return True


def say_begun(out: Path) -> None:
    """That an interrupted run goes on, if there is one."""
    from lexiscope.cli.console import say

    if (number := begun_at(out)) is not None:
        say(f"{out} was interrupted: going on from its checkpoint after {number:,} batches")


def say_memory(expected: Estimate) -> None:
    """What a run will need, before it starts, and whether this machine has it.

    Raises:
        InputError: it never will.
    """
    from lexiscope.cli.console import say
    from lexiscope.core.memory import free_bytes, most_bytes, running_bytes

    less = "fewer latents, smaller optimise.batch_tokens or optimise.optimizer_bits = 8 need less"
    if (most := most_bytes()) is not None and expected.total > most:
        raise InputError(
            f"a run with these settings needs about {expected}, this machine has {most / 1e9:.2f} GB; {less}"
        )
    say(f"memory: about {expected}")
    if (free := free_bytes()) is not None and expected.total > free + running_bytes():
        say(f"that is more than the {free / 1e9:.2f} GB that are free; {less}")
