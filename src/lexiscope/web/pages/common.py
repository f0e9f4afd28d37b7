"""What pages share."""

from __future__ import annotations

from typing import Annotated, Any

from fastapi import Depends, Request

from lexiscope.web.folder.kin import short_corpus, short_model
from lexiscope.web.folder.library import Dictionary, Library
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


async def library(request: Request) -> Library:
    """Not worth a thread, and so no coroutine waits for one."""
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
        model=short_model(str(sources.get("model", {}).get("name", "unknown"))),
        corpus=short_corpus(str(corpus.get("source", "unknown"))),
        licences=[str(licence) for licence in corpus.get("licences", [])],
        sae_fingerprint=sae and sae["fingerprint"],
        index_fingerprint=dictionary.artifact.fingerprint,
        made_with=manifest["software"].get("lexiscope", "an unknown version"),
    )
