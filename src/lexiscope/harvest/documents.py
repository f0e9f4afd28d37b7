"""The documents behind a store's rows, kept as Parquet."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from lexiscope.core.errors import ArtifactError
from lexiscope.core.parquet import connect, scan, trouble
from lexiscope.text.document import HELDOUT_SHARE, heldout_rank

LEAST_HELDOUT_SHARE = 0.05
"""Of the tokens of a store."""
MOST_NAME_BYTES = 1 << 16
"""Of a document's id."""
_COLUMNS = "document::BIGINT document, id::VARCHAR id, kind::VARCHAR kind, licence::VARCHAR licence, "
_COLUMNS += "tokens::BIGINT tokens, heldout::BOOLEAN heldout"
_MEASURE = """
SELECT count(*), max(greatest(strlen(id), strlen(kind), strlen(licence))),
       count(*) FILTER (WHERE tokens < 0 OR (id || kind || licence || heldout || tokens || document) IS NULL)
FROM listed
"""


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
    import numpy as np

    columns = {
        name: np.array(values, dtype=kind)
        for (name, kind), values in zip(
            (("id", object), ("kind", object), ("licence", object), ("tokens", np.int64), ("heldout", bool)),
            zip(*documents, strict=True),
            strict=True,
        )
    }
    with connect() as database:
        database.register("documents", {"document": np.arange(len(documents)), **columns})
        database.table("documents").write_parquet(str(path), compression="zstd")


def read_documents(path: Path, at_most: int) -> list[DocumentInfo]:
    """What `write_documents` wrote.

    Raises:
        ArtifactError: the file is damaged, or lists more than ``at_most``.
    """
    import duckdb

    try:
        with connect() as database:
            database.execute(f"CREATE VIEW listed AS SELECT {_COLUMNS} FROM {scan(path)}")  # noqa: S608  our own names
            number, longest, wrong = database.execute(_MEASURE).fetchone()  # a small file may claim to hold a lot
            if not number or number > at_most or wrong or longest > MOST_NAME_BYTES:
                raise ArtifactError(f"{path} does not fit its store; harvest again")
            found = database.execute("FROM listed ORDER BY document").fetchall()
            return [DocumentInfo(*row[1:]) for row in found]
    except (duckdb.Error, RuntimeError) as error:  # RuntimeError: names that are not UTF-8
        raise trouble(path, error, "harvest again") from None
