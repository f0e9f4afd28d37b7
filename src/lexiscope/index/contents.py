"""Contents: what an open index holds, checked when it is opened. F features, V vocabulary."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, Field, ValidationError

from lexiscope.core.artifact import Artifact
from lexiscope.core.config import describe
from lexiscope.core.errors import ArtifactError
from lexiscope.core.manifest import MANIFEST
from lexiscope.index.concordance.sample import SAMPLE, Sample
from lexiscope.index.concordance.table import FiringTable
from lexiscope.index.concordance.text import TEXT, Text, read_text
from lexiscope.index.describing.describe import Describer
from lexiscope.index.tables.database import Database
from lexiscope.index.tables.listing import Listing


class Said(BaseModel):
    """What of its manifest an index needs."""

    num_latents: int = Field(ge=0, lt=2**31)
    num_tokens: int = Field(ge=1, lt=2**63)
    hook: str
    kinds: dict[str, float]

    @classmethod
    def by(cls, artifact: Artifact) -> Self:
        """Raises ArtifactError: the manifest is none of an index."""
        try:
            return cls.model_validate({**artifact.config, **artifact.manifest})
        except ValidationError as error:
            raise ArtifactError(f"{artifact.path / MANIFEST}: {describe(error)}; build the index again") from None


@dataclass(frozen=True)
class Contents:
    """Attributes:
    pieces: the text of every token, by id.
    """

    said: Said
    database: Database
    text: Text
    sample: Sample
    firings: FiringTable
    listing: Listing
    describer: Describer
    pieces: list[str]

    @classmethod
    def read(cls, artifact: Artifact) -> Self:
        """Open the files of an index.

        Raises:
            ArtifactError: one of them is damaged.
            ValueError: they do not belong together.
        """
        said = Said.by(artifact)
        database = Database(artifact, said.num_latents)
        text = read_text(artifact.checked_file(TEXT))
        sample = Sample.read(artifact.checked_file(SAMPLE), text.num_rows, said.num_latents)
        firings = FiringTable(artifact, text.num_rows)
        pieces, occurrences_V = database.tokens()
        if int(text.tokens_T.max()) >= len(pieces):
            raise ValueError("tokens that have no text")
        listing = Listing(database.columns(), said.num_tokens)
        if int(listing.columns["max_row"].max(initial=-1)) >= text.num_rows:
            raise ValueError("rows that are not of this text")
        return cls(said, database, text, sample, firings, listing, Describer(text, occurrences_V), pieces)

    @property
    def firings_F(self) -> NDArray[np.int64]:
        """How often each feature fires."""
        firings_F: NDArray[np.int64] = self.listing.columns["firings"]
        return firings_F

    def words(self, tokens: list[int]) -> list[str]:
        """The text of some tokens."""
        return [self.pieces[token] for token in tokens]
