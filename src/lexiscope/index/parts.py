"""Parts: an index made by several processes, each of which encodes some of the rows.

    part.safetensors   the firings of the part's rows, sorted by feature, and the codes of its sample

Joined, they give the bytes that one process would have written: a part begins and ends where chunks do that are encoded
together, and the concordance does not depend on how its firings arrived.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lexiscope.core.artifact import Artifact, open_artifact
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.tensors import read_tensors, write_tensors
from lexiscope.index.concordance.collect import CHUNK_TOKENS, Collected, joined
from lexiscope.index.concordance.firings import Run, merged
from lexiscope.index.concordance.sample import Sample
from lexiscope.index.config import IndexConfig

PART = "part.safetensors"
KIND = "index-part"


class Share(NamedTuple):
    """Which part of how many, from 1."""

    number: int
    of: int

    @classmethod
    def parse(cls, text: str) -> Share:
        """From ``2/8``.

        Raises:
            InputError: it is none.
        """
        number, slash, of = text.partition("/")
        if not (slash and number.isdecimal() and of.isdecimal() and 1 <= int(number) <= int(of) <= 1 << 16):
            raise InputError(f"part {text!r} is none; write which of how many, such as 2/8")
        return cls(int(number), int(of))

    def rows(self, num_tokens: int) -> range:
        """Its rows: whole chunks, as evenly as they go."""
        chunks = -(-num_tokens // CHUNK_TOKENS)
        first, last = (chunks * number // self.of for number in (self.number - 1, self.number))
        return range(min(first * CHUNK_TOKENS, num_tokens), min(last * CHUNK_TOKENS, num_tokens))


def write_part(folder: Path, collected: Collected) -> None:
    """The file of a part."""
    counts_F = collected.counts_F
    firings = merged(collected.runs, 0, len(counts_F))
    run = Run(counts_F, firings.rows, firings.values)
    write_tensors(folder / PART, {**run.tensors(), **collected.sample.tensors()})


def read_parts(
    paths: Sequence[Path | str], settings: Mapping[str, Any], made_from: Sequence[Artifact], num_tokens: int
) -> Collected:
    """All parts together, in any order.

    Raises:
        InputError: they are of another index, or not all of one.
        ArtifactError: one is damaged.
    """
    config = IndexConfig.read(dict(settings["index"]), "the settings of the index")
    wanted = json.loads(json.dumps(settings)), [artifact.fingerprint for artifact in made_from]
    found: list[tuple[range, Collected]] = []
    for path in paths:
        artifact = open_artifact(path, KIND)
        own = dict(artifact.config)
        try:
            rows = range(*own.pop("rows"))
        except (KeyError, TypeError, ValueError):
            raise ArtifactError(f"{artifact.path} does not say which rows it holds; make the part again") from None
        if (own, [entry["fingerprint"] for entry in artifact.manifest["made_from"]]) != wanted:
            raise InputError(
                f"{artifact.path} is part of another index: of another SAE or store, or made with other settings; "
                "give the parts of one"
            )
        if rows:
            found.append((rows, _read(artifact, rows, settings["num_latents"])))
    found.sort(key=lambda part: part[0].start)
    end = 0
    for rows, _ in found:
        if rows.start != end:
            break
        end = rows.stop
    if end != num_tokens:
        raise InputError(f"the parts given hold the rows up to {end:,} of {num_tokens:,}; give all parts, each once")
    return joined([collected for _, collected in found], config)


def _read(artifact: Artifact, rows: range, num_latents: int) -> Collected:
    path = artifact.checked_file(PART)
    tensors = read_tensors(path)
    try:
        run, sample = Run.of_tensors(tensors), Sample.of_tensors(tensors)
        whole = (
            run.counts_F.dtype == np.int64
            and len(run.counts_F) == num_latents
            and int(run.counts_F.min(initial=0)) >= 0
            and int(run.counts_F.sum()) == len(run.rows) == len(run.values)
            and tensors["run/rows"].dtype == torch.int64
            and tensors["run/values"].dtype == torch.float32
            and rows.start <= int(run.rows.min(initial=rows.start))
            and int(run.rows.max(initial=rows.start)) < rows.stop
        )
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise ArtifactError(f"{path} is damaged: it holds no firings of such rows; make the part again")
    return Collected([run], sample)
