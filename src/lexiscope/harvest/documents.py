"""The documents behind a store's rows, kept as Parquet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lexiscope.core.errors import ArtifactError
from lexiscope.core.parquet import literal
from lexiscope.text.document import HELDOUT_SHARE, heldout_rank

LEAST_HELDOUT_SHARE = 0.05
"""Of the tokens of a store."""


class DocumentInfo(NamedTuple):
    """One document: its id, kind and licence, how many of its tokens are stored, and whether it is held out."""

    id: str
    kind: str
    licence: str
    tokens: int
    heldout: bool


def hold_out_enough(documents: Sequence[DocumentInfo]) -> tuple[list[DocumentInfo], float]:
    """The same documents, with more of them held out where those that always are hold too few tokens; and the share.

    The next in the queue of `heldout_rank` are added until `LEAST_HELDOUT_SHARE` of the tokens is held out; one
    document (with its pieces) is always left to train on.
    """
    ranks = [heldout_rank(document.id) for document in documents]
    wanted = LEAST_HELDOUT_SHARE * sum(document.tokens for document in documents)
    limit = HELDOUT_SHARE
    for rank in sorted(set(ranks))[:-1]:
        if sum(item.tokens for item, own in zip(documents, ranks, strict=True) if own < limit) >= wanted:
            break
        limit = max(limit, math.nextafter(rank, 1))
    return [item._replace(heldout=own < limit) for item, own in zip(documents, ranks, strict=True)], limit


def write_documents(path: Path, documents: Sequence[DocumentInfo]) -> None:
    """One row per document, in order of ordinal, which is written as the column ``document``."""
    import duckdb
    import numpy as np

    columns = {
        name: np.array(values, dtype=kind)
        for (name, kind), values in zip(
            (("id", object), ("kind", object), ("licence", object), ("tokens", np.int64), ("heldout", bool)),
            zip(*documents, strict=True),
            strict=True,
        )
    }
    with duckdb.connect() as database:
        database.register("documents", {"document": np.arange(len(documents)), **columns})
        database.table("documents").write_parquet(str(path), compression="zstd")


def read_documents(path: Path) -> list[DocumentInfo]:
    """Raises ArtifactError: the file is damaged."""
    import duckdb

    try:
        with duckdb.connect() as database:
            found = database.execute(
                "SELECT id, kind, licence, tokens, heldout FROM read_parquet(?) ORDER BY document", [literal(path)]
            )
            return [DocumentInfo(*row) for row in found.fetchall()]
    except duckdb.Error:
        raise ArtifactError(f"{path} is damaged; harvest again") from None
