"""Draft: an artifact while it is written.

    .NAME.work/lock          held while a run makes NAME
    .NAME.work/draft/        the files so far; becomes NAME when they are whole and on the disk
    .NAME.work/checkpoints/  where to go on from, for stages that can

The same command finds the folder again: with a checkpoint in it the stage goes on, without one it starts again. After
an error the folder stays only if there is something to go on from.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from lexiscope.core.artifact import FORMAT_VERSIONS, Artifact
from lexiscope.core.checkpoint import Checkpoints, Keeping, newest_number
from lexiscope.core.disk import FileEntry, disk_trouble, flush, make_folder, publish, remove
from lexiscope.core.errors import InputError
from lexiscope.core.lock import locked, remove_held
from lexiscope.core.manifest import MANIFEST, fingerprint, write_sealed
from lexiscope.core.parquet import literal


@dataclass
class Draft:
    """What is being written.

    Attributes:
        path: the folder to fill.
        checkpoints: those of this artifact, also from earlier runs.
        notes: go into the manifest as they are.
        known: size and hash of files by name, where whoever wrote them knows; others are read again.
    """

    path: Path
    checkpoints: Checkpoints
    notes: dict[str, Any] = field(default_factory=dict)
    known: dict[str, FileEntry] = field(default_factory=dict)


@contextmanager
def write_artifact(
    out: Path | str,
    kind: str,
    *,
    config: Mapping[str, Any],
    seed: int | None = None,
    made_from: Sequence[Artifact] = (),
    sources: Mapping[str, Any] | None = None,
    keeping: Keeping = Keeping(),  # noqa: B008  frozen
) -> Iterator[Draft]:
    """Write an artifact: fill the folder that is given; it gets its final name when the block ends without an error.

    Args:
        out: the final folder; it must not exist (or be empty).
        config: the resolved settings, ready for JSON.
        made_from: artifacts that were read.
        sources: what else it was made from: model, tokenizer and corpus with their hashes, revisions and licences. What
            they say when the block is entered belongs to the identity of the run; they may be filled in until it ends.
        keeping: of checkpoints, for a stage that writes some.

    Raises:
        InputError: ``out`` is taken, is being made by another process, or can't be written.
        DiskError: the disk is full or failed.
    """
    out = Path(out).absolute()
    sources = {} if sources is None else sources
    origins = [{"kind": item.kind, "path": str(item.path), "fingerprint": item.fingerprint} for item in made_from]
    identity = _plain({"kind": kind, "config": config, "seed": seed, "made_from": _moved(origins), "sources": sources})
    with disk_trouble(out):
        _check_free(out)
        work = _work(out)
        make_folder(out.parent)
        with locked(work, str(out)):
            draft = Draft(work / "draft", Checkpoints(work / "checkpoints", identity, keeping))
            try:
                _check_free(out)  # another run may have ended meanwhile
                flush(out.parent)  # checkpoints are only as safe as the name of the folder that holds them
                if not draft.checkpoints:
                    remove(draft.path)
                draft.path.mkdir(exist_ok=True)
                yield draft
                files = _entries(draft)
                manifest = {
                    "kind": kind,
                    "format_version": FORMAT_VERSIONS[kind],
                    "fingerprint": fingerprint(kind, identity["config"], files),
                    "created": datetime.now(UTC).isoformat(timespec="seconds"),
                    "seed": seed,
                    "config": config,
                    "made_from": origins,
                    "sources": sources,
                    "software": software(),
                    **draft.notes,
                    "files": files,
                }
                write_sealed(draft.path / MANIFEST, manifest)
                publish(draft.path, out)
            except BaseException:
                if not draft.checkpoints:
                    remove_held(work)
                raise
            remove_held(work)


def begun_at(out: Path) -> int | None:
    """Number of the newest checkpoint of an interrupted run, whole or not; None if there is none."""
    return newest_number(_work(out) / "checkpoints")


def begun_bytes(out: Path) -> int:
    """What an interrupted run has written of an artifact."""
    return sum(path.stat().st_size for path in (_work(out) / "draft").rglob("*") if path.is_file())


def remove_leftovers(out: Path) -> None:
    """What a run left beside ``out`` that was killed, or whose disk failed, just after it gave it its name."""
    work = _work(out)
    if work.is_dir():
        with suppress(InputError, OSError), locked(work, str(out)):
            remove_held(work)


def software() -> dict[str, str]:
    """Versions that a reader needs to make the same again."""
    import torch

    from lexiscope import __version__

    return {"lexiscope": __version__, "python": sys.version.split()[0], "torch": torch.__version__}


def conditions() -> dict[str, str]:
    """What the last bits of a result depend on besides its settings."""
    import torch

    return {"threads": str(torch.get_num_threads()), **software()}


def _work(out: Path) -> Path:
    return out.with_name(f".{out.name}.work")


def _check_free(out: Path) -> None:
    if os.fsencode(out).decode("utf-8", "ignore") != str(out):
        raise InputError(f"{out} is not UTF-8, and the libraries that write there need it; choose another --out")
    literal(out)  # refuses what DuckDB could not read
    if out.is_symlink():
        raise InputError(f"{out} is a link, whose place no folder can take; give where it leads, or remove it")
    if out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise InputError(f"{out} exists already; choose another --out or remove it")


def _entries(draft: Draft) -> dict[str, dict[str, Any]]:
    """Every file of the draft, in order of name."""
    names = sorted(path.relative_to(draft.path).as_posix() for path in draft.path.rglob("*") if path.is_file())
    return {name: (draft.known.get(name) or FileEntry.of(draft.path / name))._asdict() for name in names}


def _moved(origins: Sequence[Mapping[str, str]]) -> list[Mapping[str, str]]:
    """Without paths: artifacts may be moved between two runs."""
    return [{"kind": origin["kind"], "fingerprint": origin["fingerprint"]} for origin in origins]


def _plain(value: Any) -> Any:
    """As it would be read back."""
    return json.loads(json.dumps(value))
