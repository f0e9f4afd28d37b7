"""Notes: what people and models write about the features of one autoencoder, in one SQLite file beside its index.

    with Notes.open("runs/demo/index") as notes:
        notes.labels.add(123, "opening brackets", By(author="ana"))
        notes.search("bracket*").hits[0].feature

An index is sealed; its notes are ``index.notes.sqlite`` beside it. They name the autoencoder they are on and outlive
the index. Every row says who wrote it, when and with what; nothing is overwritten or deleted. When a call that writes
has returned, what it wrote survives a kill and a power cut.
"""

from __future__ import annotations

from pathlib import Path
from types import TracebackType
from typing import Self

from pydantic import BaseModel, Field, ValidationError

from lexiscope.core.artifact import open_artifact
from lexiscope.core.config import describe
from lexiscope.core.errors import ArtifactError
from lexiscope.core.manifest import MANIFEST
from lexiscope.core.sqlite import notes_beside
from lexiscope.index.notes.database import Database
from lexiscope.index.notes.exchange import Exchange
from lexiscope.index.notes.labels import Labels
from lexiscope.index.notes.lists import Lists, Results
from lexiscope.index.notes.marks import Bookmarks, Ratings, Tags, Texts
from lexiscope.index.notes.place import Dictionary
from lexiscope.index.notes.search import Search


class _Said(BaseModel):
    num_latents: int = Field(ge=0, lt=2**31)


class Notes:
    """Open notes. Safe to share between threads; other processes may have the same file open.

    Attributes:
        labels, ratings, bookmarks, tags, texts, lists, results: what was written, by kind.
        search: full-text search over labels, notes and tags.
        exchange: JSON Lines and CSV.
    """

    def __init__(self, path: Path | str, dictionary: Dictionary, *, readonly: bool = False) -> None:
        self.database = Database(Path(path).absolute(), dictionary, readonly=readonly)
        self.labels = Labels(self.database)
        self.ratings = Ratings(self.database)
        self.bookmarks = Bookmarks(self.database)
        self.tags = Tags(self.database)
        self.texts = Texts(self.database)
        self.lists = Lists(self.database)
        self.results = Results(self.database)
        self.search = Search(self.database)
        self.exchange = Exchange(self.database)

    @classmethod
    def open(cls, index: Path | str, *, readonly: bool = False) -> Notes:
        """The notes of an index. A file is made when something is first written.

        Args:
            readonly: nothing can be written; works in a folder where nothing may be.

        Raises:
            ArtifactError: there is no index, or what lies beside it are no notes, or of a newer version.
            InputError: the notes are on another autoencoder, or can't be read.
            DamageError: the file is damaged.
        """
        artifact = open_artifact(index, "index")
        made_from = artifact.source("sae")
        if made_from is None:
            raise ArtifactError(f"{artifact.path / MANIFEST} doesn't say of which SAE it is; build the index again")
        try:
            said = _Said.model_validate({**artifact.config, **artifact.manifest})
        except ValidationError as error:
            raise ArtifactError(f"{artifact.path / MANIFEST}: {describe(error)}; build the index again") from None
        return cls(notes_beside(index), Dictionary(made_from["fingerprint"], said.num_latents), readonly=readonly)

    @property
    def path(self) -> Path:
        return self.database.path

    @property
    def readonly(self) -> bool:
        return self.database.readonly

    def close(self) -> None:
        """Twice does no harm."""
        self.database.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
