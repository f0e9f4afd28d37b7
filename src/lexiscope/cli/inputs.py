"""Find what an artifact was made from, where the user does not name it."""

from __future__ import annotations

from pathlib import Path

from lexiscope.core.artifact import Artifact
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.harvest.store import ActivationStore
from lexiscope.lm.model import LanguageModel


def open_store(sae: Artifact, path: Path | None) -> ActivationStore:
    """The store that was named, or the one that the autoencoder was trained on.

    Raises:
        InputError: it is no longer where it was, or it has other content now.
    """
    if path is not None:
        return ActivationStore.open(path)
    source = sae.source("store")
    if source is None:
        raise InputError(f"{sae.path} does not say which store it was trained on; name one with --store")
    try:
        store = ActivationStore.open(source["path"])
    except ArtifactError as error:
        raise InputError(
            f"the store that {sae.path} was trained on can't be used: {error}; name one with --store"
        ) from None
    if store.artifact.fingerprint != source["fingerprint"]:
        raise InputError(f"{source['path']} is not the store that {sae.path} was trained on; name one with --store")
    return store


def open_model(store: Artifact, source: str | None, device: str) -> LanguageModel:
    """The model whose activations are in the store.

    Raises:
        InputError: it can't be loaded, or it is another model.
    """
    stated = store.manifest["sources"]["model"]
    revision = stated["revision"] if source is None else None
    model = LanguageModel(source or stated["name"], revision=revision, device=device)
    if model.fingerprint != stated["fingerprint"]:
        raise InputError(
            f"{model.name} is not the model that {store.path} was harvested from ({stated['name']}, other weights); "
            "name that one with --model"
        )
    return model
