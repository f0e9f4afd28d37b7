"""Document: one piece of text with a stable name, and which side of the held-out split it is on."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass

HELDOUT_SHARE = 0.1
_PIECE = re.compile(r"#\d+$")


@dataclass(frozen=True)
class Document:
    """One text.

    Attributes:
        id: stable name with its source in front: ``stdlib:json/decoder.py``. The pieces of a document that was too
            long end in ``#0``, ``#1`` and so on.
        kind: ``code``, ``docs``, ``prose`` or ``generated``.
        licence: SPDX id, or ``unknown``.
    """

    id: str
    text: str
    kind: str
    licence: str


def whole_id(document_id: str) -> str:
    """The id of the whole document that a piece is of; of a whole document, its own."""
    return _PIECE.sub("", document_id)


def heldout_rank(document_id: str) -> float:
    """Where a document stands in the queue to be held out, 0 to 1, by hash of its id; pieces stand together."""
    digest = hashlib.sha256(whole_id(document_id).encode("utf-8", "surrogatepass")).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def is_heldout(document_id: str, share: float = HELDOUT_SHARE) -> bool:
    """Whether a document is held out: a tenth of ids, by hash. All pieces of one document are on the same side."""
    return heldout_rank(document_id) < share
