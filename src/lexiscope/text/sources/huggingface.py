"""Hugging Face datasets by name, streamed: ``hf:<dataset>`` or ``hf:<dataset>:<configuration>``, its ``train`` split.

The only home of ``datasets``, which comes with the extra ``hf``. Needs the network, or the dataset in the local cache.
"""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from typing import Any, TypeVar

from lexiscope.core.errors import CorpusError, InputError
from lexiscope.core.seeds import derive_seed
from lexiscope.text.document import Document
from lexiscope.text.report import ReadReport

Item = TypeVar("Item")
_SHUFFLE_BUFFER_RECORDS = 1000
"""Records held to be given in seeded order; further apart than that they stay in the dataset's order."""


class HuggingFace:
    """A streamed dataset.

    Raises:
        InputError: ``datasets`` is not installed.
        CorpusError: the dataset can't be opened, or has no such column.
    """

    endless = False

    def __init__(self, name: str, text_column: str) -> None:
        try:
            import datasets
        except ImportError:
            raise InputError(
                "Hugging Face datasets need the extra 'hf': pip install 'lexiscope[hf]'; "
                "without it there are 'stdlib', 'installed', 'generated' and local files"
            ) from None
        self._name, _, configuration = name.partition(":")
        self._text_column = text_column
        try:
            self._stream: Any = datasets.load_dataset(self._name, configuration or None, split="train", streaming=True)
        except Exception as error:  # noqa: BLE001 - network, hub and script errors have no common base
            raise CorpusError(f"dataset {self._name!r} can't be opened: {_first_line(error)}") from None
        columns = self._stream.column_names
        if columns is not None and text_column not in columns:
            raise CorpusError(
                f"dataset {self._name!r} has no column {text_column!r}; it has {', '.join(columns)}; "
                "name one as text_column"
            )

    def documents(self, seed: int, report: ReadReport) -> Iterator[Document]:
        licence = self._stream.info.license or "unknown"
        try:
            for number, record in _shuffled_within_buffer(enumerate(self._stream), seed):
                text = record.get(self._text_column)
                if isinstance(text, str):
                    yield Document(f"hf:{self._name}/{number}", text, "prose", licence)
                else:
                    report.skip(f"{self._text_column!r} that is not a string")
        except Exception as error:  # noqa: BLE001 - see above
            raise CorpusError(f"dataset {self._name!r} broke off while reading: {_first_line(error)}") from None

    def revision(self) -> str:
        """The commit on the hub, or "unknown" when it can't be asked."""
        try:
            import huggingface_hub

            return f"hub {huggingface_hub.HfApi().dataset_info(self._name, timeout=10).sha}"
        except Exception:  # noqa: BLE001 - see above
            return "unknown"


def _shuffled_within_buffer(records: Iterable[Item], seed: int) -> Iterator[Item]:
    """Our own: the library's also shuffles shards, and then the number of a record changes with the seed."""
    rng = random.Random(derive_seed(seed, "hf"))
    buffer: list[Item] = []
    for record in records:
        if len(buffer) < _SHUFFLE_BUFFER_RECORDS:
            buffer.append(record)
        else:
            place = rng.randrange(_SHUFFLE_BUFFER_RECORDS)
            yield buffer[place]
            buffer[place] = record
    rng.shuffle(buffer)
    yield from buffer


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]
