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
from pydantic import BaseModel, Field, NonNegativeInt, ValidationError

from lexiscope.core.artifact import Artifact, open_artifact
from lexiscope.core.config import describe
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.manifest import MANIFEST
from lexiscope.core.tensors import read_tensors, write_tensors
from lexiscope.index.concordance.collect import CHUNK_TOKENS, Collected, joined
from lexiscope.index.concordance.firings import Run, merged
from lexiscope.index.concordance.sample import TENSORS, Sample
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


class Part(NamedTuple):
    """What is known of some rows."""

    rows: range
    collected: Collected


class _Said(BaseModel):
    """What of its config a part needs."""

    num_latents: int = Field(ge=1, lt=2**31)
    rows: tuple[NonNegativeInt, NonNegativeInt]


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
    found: list[Part] = []
    for path in paths:
        artifact = open_artifact(path, KIND)
        own = {name: value for name, value in artifact.config.items() if name != "rows"}
        if (own, [entry["fingerprint"] for entry in artifact.manifest["made_from"]]) != wanted:
            raise InputError(
                f"{artifact.path} is part of another index: of another SAE or store, or made with other settings; "
                "give the parts of one"
            )
        part = read_part(artifact)
        if len(part.rows):
            found.append(part)
    found.sort(key=lambda part: part.rows.start)
    end = 0
    for part in found:
        if part.rows.start != end:
            break
        end = part.rows.stop
    if end != num_tokens:
        raise InputError(f"the parts given hold the rows up to {end:,} of {num_tokens:,}; give all parts, each once")
    return joined([part.collected for part in found], config)


def read_part(artifact: Artifact) -> Part:
    """One part.

    Raises:
        ArtifactError: it is damaged.
    """
    try:
        said = _Said.model_validate(dict(artifact.config))
    except ValidationError as error:
        raise ArtifactError(f"{artifact.path / MANIFEST}: {describe(error)}; make the part again") from None
    rows = range(*said.rows)
    path = artifact.checked_file(PART)
    tensors = read_tensors(path)
    try:
        run = Run.of_tensors(tensors)
        sample = Sample.checked({name: tensors[name] for name in TENSORS}, rows.stop, said.num_latents)
        whole = (
            run.counts_F.dtype == np.int64
            and run.counts_F.shape == (said.num_latents,)
            and run.rows.shape == run.values.shape == (int(run.counts_F.sum()),)
            and 0 <= int(run.counts_F.min(initial=0)) <= int(run.counts_F.max(initial=0)) <= len(run.rows)
            and tensors["run/rows"].dtype in {torch.int32, torch.int64}
            and tensors["run/values"].dtype == torch.float32
            and rows.start <= int(run.rows.min(initial=rows.start))
            and int(run.rows.max(initial=rows.start)) < max(rows.stop, rows.start + 1)
        )
    except (KeyError, TypeError, ValueError):
        whole = False
    if not whole:
        raise ArtifactError(f"{path} is damaged: it holds no firings of such rows; make the part again")
    return Part(rows, Collected([run], sample))
