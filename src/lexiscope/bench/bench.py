"""bench: the whole measurement, from the roof of the machine to the tables."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import torch
from pydantic import Field

import lexiscope
from lexiscope.bench import roof
from lexiscope.bench.comparison import Comparison, Entry, compare, our_entries, peer_entries
from lexiscope.bench.machine import Bystanders, this_machine
from lexiscope.bench.ours import paths
from lexiscope.bench.parts import Breakdown, break_down
from lexiscope.bench.peers import Installed, installed
from lexiscope.bench.result import Result
from lexiscope.bench.scaling import DOUBLINGS, FIELD, Scaling
from lexiscope.bench.scaling import measure as measure_scaling
from lexiscope.bench.tuning import Tuning, tune
from lexiscope.bench.workload import ARCHITECTURES, WORKLOADS, Workload
from lexiscope.core.config import Config
from lexiscope.core.errors import InputError
from lexiscope.core.progress import SILENT, Progress
from lexiscope.saes.kernels import backend
from lexiscope.saes.registry import architectures


class BenchConfig(Config):
    """What to measure."""

    configs: tuple[str, ...] = ("A",)
    """Names of workloads."""
    architectures: tuple[str, ...] = tuple(ARCHITECTURES)
    paths: tuple[str, ...] | None = None
    """Kernel paths. None: all that run here for TopK, and all but the dense one for the others."""
    rounds: int = Field(5, ge=1, le=1000)
    """Steps of each loop that count."""
    threads: int | None = Field(None, ge=1, le=1024)
    """None: as many as torch takes."""
    device: str = "cpu"
    peers: str | None = None
    """The Python interpreter that has other libraries. None: leave them out."""
    tuned: bool = True
    """With other libraries: measure a second time, with every process tuned by hand."""
    memory: bool = True
    scaling: bool = True
    parts: bool = False
    doublings: int = Field(DOUBLINGS, ge=2, le=10)
    """Of the sizes over which scaling is measured."""


QUICK = {"configs": ("quick",), "architectures": ("topk",), "rounds": 3, "memory": False, "doublings": 3}
"""What changes for a look of half a minute."""


def bench(config: BenchConfig = BenchConfig(), progress: Progress = SILENT) -> Result:  # noqa: B008  frozen
    """Measure.

    Raises:
        InputError: a name that does not exist, or a device or interpreter that does not answer.
    """
    workloads = _workloads(config)
    chosen = _paths(config)
    _check_architectures(config)
    began, started = time.monotonic(), datetime.now(UTC).isoformat(timespec="seconds")
    others_have = installed(config.peers) if config.peers else Installed([], {})
    threads_before = torch.get_num_threads()
    threads = config.threads or threads_before
    torch.set_num_threads(threads)
    try:
        with Bystanders() as others:
            with progress.task("Roof", total=None, unit="products"):
                found = roof.measure(workloads[0], config.rounds)
            tuning = None
            if config.peers and config.tuned and others_have.names:
                tuning = tune(workloads[0], threads, config.peers)
            comparisons = list(
                _comparisons(config, workloads, chosen, found, others_have.names, tuning, threads, progress)
            )
            result = Result(
                version=lexiscope.__version__,
                machine=this_machine(threads, config.device),
                started=started,
                settings=config.model_dump(mode="json"),
                kernels=backend.report(),
                roof=found,
                comparisons=comparisons,
                breakdowns=_breakdowns(config, workloads, chosen, progress),
                scaling=_scaling(config, chosen, threads, progress),
                peers=others_have.versions,
                missing=others_have.missing if config.peers else [],
                tuning=tuning.remarks if tuning else [],
            )
    finally:
        torch.set_num_threads(threads_before)
    return dataclasses.replace(result, others_share=others.share, seconds=time.monotonic() - began)


def _comparisons(
    config: BenchConfig,
    workloads: list[Workload],
    chosen: dict[str, str],
    found: roof.Roof,
    peers: list[str],
    tuning: Tuning | None,
    threads: int,
    progress: Progress,
) -> Iterator[Comparison]:
    """Each workload and architecture as users have it; then, where there are peers, tuned by hand."""
    for tuned in [None, tuning] if tuning else [None]:
        for workload in workloads:
            for architecture in config.architectures:
                entries = _entries(config, workload, architecture, chosen, peers, threads)
                if tuned is not None:
                    entries = [dataclasses.replace(entry, memory=False) for entry in entries]
                yield compare(
                    workload,
                    architecture,
                    entries,
                    found,
                    rounds=config.rounds,
                    threads=threads,
                    tuning=tuned,
                    progress=progress,
                )


def _entries(
    config: BenchConfig,
    workload: Workload,
    architecture: str,
    chosen: dict[str, str],
    peers: list[str],
    threads: int,
) -> list[Entry]:
    """Who takes part. Left to choose, the dense path is for TopK only, and so is memory of slow paths without peers."""
    everything = architecture == "topk" or config.paths is not None
    ours = {path: precision for path, precision in chosen.items() if everything or path != "dense"}
    entries = our_entries(workload, architecture, ours, threads)
    weighed = entries if everything or config.peers else entries[-1:]
    entries = [dataclasses.replace(entry, memory=config.memory and entry in weighed) for entry in entries]
    if config.peers:
        theirs = peer_entries(workload, architecture, peers, config.peers, threads)
        entries += [dataclasses.replace(entry, memory=config.memory) for entry in theirs]
    return entries


def _breakdowns(
    config: BenchConfig, workloads: list[Workload], chosen: dict[str, str], progress: Progress
) -> list[Breakdown]:
    if not config.parts:
        return []
    return [
        break_down(workload, architecture, path, rounds=config.rounds, progress=progress)
        for workload in workloads
        for architecture in config.architectures
        for path in chosen
        if path != "dense"
    ]


def _scaling(config: BenchConfig, chosen: dict[str, str], threads: int, progress: Progress) -> list[Scaling]:
    if not config.scaling:
        return []
    path = list(chosen)[-1]
    return [
        measure_scaling(axis, path, threads, doublings=config.doublings, device=config.device, progress=progress)
        for axis in FIELD
    ]


def _workloads(config: BenchConfig) -> list[Workload]:
    for name in config.configs:
        if name not in WORKLOADS:
            raise InputError(f"there is no config {name!r}; choose from {', '.join(WORKLOADS)}")
    if config.parts and config.device != "cpu":
        raise InputError("--parts works on the processor only; leave out --device")
    try:
        torch.empty(0, device=config.device)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"--device {config.device} is not there: {str(error).splitlines()[0]}") from None
    return [dataclasses.replace(WORKLOADS[name], device=config.device) for name in config.configs]


def _check_architectures(config: BenchConfig) -> None:
    for name in config.architectures:
        if name not in ARCHITECTURES:
            raise InputError(f"bench knows no architecture {name!r}; choose from {', '.join(ARCHITECTURES)}")
        assert name in architectures()


def _paths(config: BenchConfig) -> dict[str, str]:
    """From the slowest to the fastest, with the precision of their product."""
    here = paths(config.device)
    for name in config.paths or ():
        if name not in here:
            raise InputError(f"kernel path {name!r} does not run here; choose from {', '.join(here)}")
    return {name: precision for name, precision in here.items() if config.paths is None or name in config.paths}
