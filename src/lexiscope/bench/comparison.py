"""One step of every loop on one workload, in one interleaved run: ours on each path, the peers', and the floor.

The floor of a step is what can't be left out: the one matrix product of the encoder, in the precision of the path, and
moving what Adam moves. Both are timed in the same rounds as the steps.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from lexiscope.bench.peers import PEERS
from lexiscope.bench.process import Contender, WorkerError, peak_bytes
from lexiscope.bench.race import Timing, race
from lexiscope.bench.roof import PRECISIONS, Roof
from lexiscope.bench.tuning import Tuning
from lexiscope.bench.workload import Workload
from lexiscope.core.progress import SILENT, Progress

REFERENCE = "saelens"
"""The loop that the others are compared with, where it runs; otherwise our dense one."""


@dataclass(frozen=True)
class Entry:
    """A loop to be timed, and what is known of it."""

    contender: Contender
    title: str
    path: str | None = None
    """The kernel path, if it is ours."""
    precision: str | None = None
    """Of the product that its floor has; only ours have one."""
    memory: bool = True
    """Whether its memory is of interest."""


@dataclass(frozen=True)
class Row:
    """What became of one loop."""

    name: str
    title: str
    path: str | None
    timing: Timing
    peak_bytes: int | None
    floor_ms: float | None
    product_ms: float | None
    """The part of the floor that is the matrix product."""

    @property
    def over_floor(self) -> float | None:
        """How many times its floor it takes."""
        return None if not self.floor_ms else self.timing.median_ms / self.floor_ms

    @property
    def rest_over_product(self) -> float | None:
        """All that is not the product, as a multiple of it."""
        return None if not self.product_ms else self.timing.median_ms / self.product_ms - 1


@dataclass(frozen=True)
class Comparison:
    """The table of one workload and architecture."""

    workload: Workload
    architecture: str
    tuned: bool
    """Whether every process was tuned by hand."""
    rows: list[Row]
    floors: dict[str, Timing]
    """Of the product in each precision, and of the traffic of Adam."""
    failures: dict[str, str] = field(default_factory=dict)

    @property
    def reference(self) -> Row | None:
        """What ratios are against."""
        by_name = {row.name: row for row in self.rows}
        return by_name.get(REFERENCE) or by_name.get("lexiscope dense")

    def ratio(self, row: Row) -> float | None:
        """How many times as fast as the reference."""
        return None if self.reference is None else self.reference.timing.median_ms / row.timing.median_ms


def compare(
    workload: Workload,
    architecture: str,
    entries: Sequence[Entry],
    roof: Roof,
    *,
    rounds: int,
    threads: int,
    tuning: Tuning | None = None,
    progress: Progress = SILENT,
) -> Comparison:
    """Time all of them in turn, and measure the memory of each in a process of its own."""
    if tuning is not None:
        entries = [_tuned(entry, tuning) for entry in entries]
    floors = _floor_contenders(workload, roof, threads, {entry.precision for entry in entries})
    label = f"{workload.name} {architecture}{' tuned' if tuning else ''}"
    outcome = race([*(entry.contender for entry in entries), *floors.values()], rounds, progress, label)
    measured = {key: outcome.timings[one.name] for key, one in floors.items() if one.name in outcome.timings}
    failures = dict(outcome.failures)
    peaks: dict[str, int] = {}
    weighed = [entry.contender for entry in entries if entry.memory and entry.contender.name not in failures]
    if weighed:
        with progress.task(f"{label}: memory", total=len(weighed), unit="loops") as task:
            for contender in weighed:
                try:
                    peaks[contender.name] = peak_bytes(contender)
                except WorkerError as error:
                    failures[f"memory of {contender.name}"] = str(error)
                task.advance(1, contender.name)
    rows = [
        _row(entry, outcome.timings[entry.contender.name], peaks.get(entry.contender.name), measured)
        for entry in entries
        if entry.contender.name in outcome.timings
    ]
    return Comparison(workload, architecture, tuning is not None, rows, measured, failures)


def our_entries(workload: Workload, architecture: str, paths: Mapping[str, str], threads: int) -> list[Entry]:
    """Our step on each of the paths, which come with the precision of their product."""
    return [
        Entry(
            Contender(
                f"lexiscope {path}",
                "lexiscope.bench.ours",
                architecture,
                workload,
                threads,
                options={"path": path},
            ),
            f"lexiscope, {path}",
            path,
            precision,
        )
        for path, precision in paths.items()
    ]


def peer_entries(workload: Workload, architecture: str, names: Sequence[str], python: str, threads: int) -> list[Entry]:
    """Those of the peers that have the architecture."""
    return [
        Entry(
            Contender(name, f"lexiscope.bench.peers.{name}", architecture, workload, threads, python),
            PEERS[name].title,
        )
        for name in names
        if architecture in PEERS[name].architectures
    ]


def _tuned(entry: Entry, tuning: Tuning) -> Entry:
    medium = tuning.medium and entry.path is None
    environment = tuning.environment if entry.path is None else tuning.for_ours
    contender = dataclasses.replace(entry.contender, environment=environment, medium=medium)
    return dataclasses.replace(entry, contender=contender)


def _floor_contenders(
    workload: Workload, roof: Roof, threads: int, precisions: set[str | None]
) -> dict[str, Contender]:
    module = "lexiscope.bench.roof"
    contenders = {"adam": Contender("floor adam", module, "adam", workload, threads)}
    for precision in PRECISIONS:
        best = roof.best(precision)
        if best is not None and precision in precisions:
            rows = min(best.rows, workload.tokens)
            options = {"way": best.way, "rows": rows}
            contenders[precision] = Contender(
                f"floor {precision}", module, precision, workload, threads, options=options
            )
    return contenders


def _row(entry: Entry, timing: Timing, peak: int | None, floors: Mapping[str, Timing]) -> Row:
    product = floor = None
    if entry.precision is not None and entry.precision in floors and "adam" in floors:
        product = floors[entry.precision].median_ms
        floor = product + floors["adam"].median_ms
    return Row(entry.contender.name, entry.title, entry.path, timing, peak, floor, product)
