"""What a sweep is told and what it shows: members from a grid, one table, one Pareto plot."""

from __future__ import annotations

import hashlib
import itertools
import json
import math
import re
from collections.abc import Mapping, Sequence
from copy import deepcopy
from pathlib import Path
from typing import Any, NamedTuple

from rich.table import Table

from lexiscope import saes
from lexiscope.cli.console import ConsoleProgress, output, say, show_json
from lexiscope.cli.inputs import heldout_of
from lexiscope.cli.recipes import TrainRecipe
from lexiscope.cli.stage import finished, say_begun, say_memory, value_of
from lexiscope.core.artifact import Artifact
from lexiscope.core.chart import Point, Series, chart
from lexiscope.core.config import quoted
from lexiscope.core.disk import write_text
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.harvest.store import ActivationStore
from lexiscope.saes import SparseAutoencoder
from lexiscope.saes.registry import read_config
from lexiscope.train.config import TrainConfig
from lexiscope.train.memory import estimate
from lexiscope.train.run import make_plan, sweep
from lexiscope.train.source import choose_sites
from lexiscope.train.spikes import Recovery

TABLE, PLOT = "sweep.json", "pareto.svg"
"""Written beside the members."""
MOST_MEMBERS = 1000
LONGEST_NAME = 120
"""Of a member's folder, in characters."""
_UNSAFE = re.compile(r"[^A-Za-z0-9._=+-]+")


def expand(base: Mapping[str, Any], grid: Mapping[str, Any], members: Sequence[Any]) -> dict[str, dict[str, Any]]:
    """Name → settings ``{sae, optimise}``: every combination of the grid's values, and the members, over the base.

    Raises:
        InputError: a key is not of ``sae`` or ``optimise``, values are not a list, or two members are the same.
    """
    changes: list[dict[str, Any]] = []
    if grid:
        for key, values in grid.items():
            if not isinstance(values, list) or not values:
                raise InputError(f"grid: {key} needs a list of values, got {quoted(values)}")
        if (number := math.prod(map(len, grid.values()))) > MOST_MEMBERS:
            raise InputError(
                f"grid: {number:,} combinations, but a sweep has at most {MOST_MEMBERS:,}; give fewer values"
            )
        changes += [dict(zip(grid, chosen, strict=True)) for chosen in itertools.product(*grid.values())]
    changes += [_flat(member) for member in members]
    named: dict[str, dict[str, Any]] = {}
    for change in changes:
        settings = {"sae": deepcopy(dict(base["sae"])), "optimise": deepcopy(dict(base["optimise"]))}
        if (other := change.get("sae.architecture")) and other != settings["sae"].get("architecture", "topk"):
            settings["sae"] = {key: v for key, v in settings["sae"].items() if key in {"expansion", "num_latents"}}
        for key, value in change.items():
            table, _, name = key.partition(".")
            if table not in settings or not name or "." in name:
                raise InputError(f"a sweep varies sae.KEY or optimise.KEY, not {quoted(key)}")
            settings[table][name] = value
        name = member_name(change)
        if name in named:
            raise InputError(f"the sweep has two members {name}")
        named[name] = settings
    return named


def read_grid(options: Sequence[str]) -> dict[str, list[Any]]:
    """``KEY=A,B,C`` from the command line.

    Raises:
        InputError: no key or no value.
    """
    grid: dict[str, list[Any]] = {}
    for option in options:
        key, _, texts = option.partition("=")
        if not key or not texts:
            raise InputError(f"--grid {quoted(option)} is not KEY=VALUE,VALUE,…")
        grid[key] = [value_of(text.strip()) for text in texts.split(",")]
    return grid


def _flat(member: Any) -> dict[str, Any]:
    if not isinstance(member, dict):
        raise InputError(f"members: each is a table such as {{ sae = {{ k = 16 }} }}, got {quoted(member)}")
    return {
        f"{table}.{key}": value
        for table, values in member.items()
        for key, value in (values.items() if isinstance(values, dict) else {"": values}.items())
    }


def member_name(change: Mapping[str, Any]) -> str:
    """A folder name that tells what is different: ``k=16,lr=0.001``."""

    def text(value: Any) -> str:
        return json.dumps(value) if isinstance(value, list | dict) else str(value)

    parts = [_UNSAFE.sub("", f"{key.partition('.')[2]}={text(value)}") for key, value in change.items()]
    name = ",".join(parts) or "base"
    if len(name) <= LONGEST_NAME:
        return name
    return f"{name[:LONGEST_NAME]}-{hashlib.sha256(name.encode()).hexdigest()[:8]}"


class Row(NamedTuple):
    name: str
    architecture: str
    latents: int
    l0: float
    fvu: float
    dead: float
    pareto: bool
    """No other member has both a lower L0 and a lower FVU."""


def rows(members: Mapping[str, SparseAutoencoder]) -> list[Row]:
    """One per member, in order of L0."""
    found = []
    for name, sae in members.items():
        assert sae.artifact is not None
        heldout, dead = heldout_of(sae.artifact), _dead_fraction(sae.artifact)
        found.append(
            Row(
                name,
                sae.config.architecture,
                sae.num_latents,
                heldout["l0"],
                heldout["fvu"],
                dead,
                True,
            )
        )
    return sorted(
        (row._replace(pareto=not any(_beats(other, row) for other in found)) for row in found), key=lambda row: row.l0
    )


def _dead_fraction(sae: Artifact) -> float:
    """At the last step that was logged."""
    file = sae.file("metrics.jsonl")
    try:
        return float(json.loads(file.read_text(encoding="utf-8").splitlines()[-1])["dead_fraction"])
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        raise ArtifactError(f"{file} does not say how many latents are dead; train it again") from None


def _beats(one: Row, other: Row) -> bool:
    no_worse = one.l0 <= other.l0 and one.fvu <= other.fvu
    return no_worse and (one.l0, one.fvu) != (other.l0, other.fvu)


def table(found: Sequence[Row]) -> Table:
    shown = Table(caption="on held-out documents; * no other member has a lower L0 and a lower FVU")
    for column in ("", "member", "architecture"):
        shown.add_column(column)
    for column in ("latents", "L0", "FVU", "dead"):
        shown.add_column(column, justify="right")
    for row in found:
        figures = (f"{row.latents:,}", f"{row.l0:.1f}", f"{row.fvu:.4f}", f"{row.dead:.1%}")
        shown.add_row("*" if row.pareto else "", row.name, row.architecture, *figures)
    return shown


def write(found: Sequence[Row], out: Path) -> None:
    """The table as JSON and the plot, beside the members."""
    write_text(out / TABLE, json.dumps([row._asdict() for row in found], indent=1))
    kinds = dict.fromkeys(row.architecture for row in found)
    series = [Series(kind, [Point(r.l0, r.fvu, r.name) for r in found if r.architecture == kind]) for kind in kinds]
    front = Series("Pareto front", [Point(r.l0, r.fvu) for r in found if r.pareto], line=True)
    svg = chart("Sparsity against fidelity", "L0 (latents per token)", "FVU (held out)", [*series, front], log_x=True)
    write_text(out / PLOT, svg)


def run(
    store: ActivationStore, asked: TrainRecipe, grid: Mapping[str, Any], where: str, out: Path, *, json: bool
) -> None:
    """Train what is not done yet, side by side; then show all of it."""
    recovery = Recovery.read(asked.recovery, f"{where}, recovery")
    sites = choose_sites(store, asked.hook, asked.target)
    plans = {}
    for name, settings in expand({"sae": asked.sae, "optimise": asked.optimise}, grid, asked.members).items():
        sae_config = read_config(settings["sae"], f"{where}, {name}, sae")
        train_config = TrainConfig.read(settings["optimise"], f"{where}, {name}, optimise")
        plans[name] = (make_plan(store, sites, sae_config, train_config, out / name), train_config)
    missing = {
        name: (plan.sae, train_config)
        for name, (plan, train_config) in plans.items()
        if not finished(plan.out, "sae", plan.settings(sites), [store.artifact])
    }
    say(f"{len(plans)} autoencoders, {len(plans) - len(missing)} done already")
    try:
        if missing:
            members = [(plans[name][0].sae, plans[name][0].train) for name in missing]
            for name in missing:
                say_begun(out / name)
            say_memory(estimate(members, *sites.total_widths(store), heldout_rows=int(store.heldout_T.sum())))
            places = {"hook": sites.reads, "target": sites.writes}
            sweep(store, missing, **places, out=out, recovery=recovery, progress=ConsoleProgress())
    finally:
        done = {name: saes.load(plan.out) for name, (plan, _) in plans.items() if plan.out.exists()}
        if done:
            write(found := rows(done), out)
    if json:
        show_json([row._asdict() for row in found])
        return
    output.print(table(found))
    say(f"next: open {out / PLOT}   lexiscope measure {out / found[0].name}")
