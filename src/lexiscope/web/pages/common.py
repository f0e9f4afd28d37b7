"""What pages share."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from fastapi import Depends, Request

from lexiscope.web.library import Dictionary, Library
from lexiscope.web.view import View


class DictionaryFacts(View):
    """Which dictionary a page is about."""

    name: str
    path: str
    """Its folder, relative to the one that is shown."""
    architecture: str
    hook: str
    num_features: int
    num_tokens: int
    """Tokens of text that were indexed."""
    model: str
    corpus: str
    licences: list[str]
    sae_fingerprint: str | None
    index_fingerprint: str
    made_with: str
    """Version of Lexiscope that wrote the index."""


def library(request: Request) -> Library:
    found: Library = request.app.state.library
    return found


AnyLibrary = Annotated[Library, Depends(library)]


def facts(dictionary: Dictionary, library: Library) -> DictionaryFacts:
    manifest: Any = dictionary.artifact.manifest
    sources = manifest["sources"]
    corpus = sources.get("corpus", {})
    sae = dictionary.artifact.source("sae")
    settings = dictionary.sae.config.get("sae", {}) if dictionary.sae else {}
    return DictionaryFacts(
        name=dictionary.name,
        path=dictionary.artifact.path.relative_to(library.root).as_posix(),
        architecture=str(settings.get("architecture", "unknown architecture")),
        hook=dictionary.artifact.config["hook"],
        num_features=dictionary.artifact.config["num_latents"],
        num_tokens=manifest["num_tokens"],
        model=_short_name(str(sources.get("model", {}).get("name", "unknown"))),
        corpus="+".join(_short_source(part) for part in str(corpus.get("source", "unknown")).split("+")),
        licences=[str(licence) for licence in corpus.get("licences", [])],
        sae_fingerprint=sae and sae["fingerprint"],
        index_fingerprint=dictionary.artifact.fingerprint,
        made_with=manifest["software"].get("lexiscope", "an unknown version"),
    )


def _short_name(model: str) -> str:
    """A model from a folder goes by the folder's name; a name of the hub stays whole."""
    return Path(model).name if Path(model).is_absolute() else model


def _short_source(part: str) -> str:
    """One source of a corpus: a path goes by its last part, even a piece of one that has a ``+`` in it."""
    return part if part.startswith("hf:") else Path(part).name
