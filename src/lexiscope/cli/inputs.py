"""Find what an artifact was made from, where the user does not name it."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ValidationError

from lexiscope.core.artifact import Artifact
from lexiscope.core.config import describe
from lexiscope.core.errors import ArtifactError, CorpusError, InputError
from lexiscope.harvest.rows import pack_for
from lexiscope.harvest.store import ActivationStore
from lexiscope.lm.loading import Dtype
from lexiscope.lm.model import LanguageModel
from lexiscope.lm.passage import Passage
from lexiscope.measure.heldout import text_of
from lexiscope.text.corpus import Corpus


def middle_hook(model: LanguageModel) -> str:
    """Where to look when nobody says: the residual stream after the first half of the blocks."""
    return f"resid_post.{(model.num_layers - 1) // 2}"


def identity(model: LanguageModel | None = None, corpus: Corpus | None = None) -> dict[str, Any]:
    """What must be the same in a manifest for it to be about this model and this text."""
    said: dict[str, Any] = {}
    if model is not None:
        said["model"] = {key: model.describe()[key] for key in ("fingerprint", "tokenizer_fingerprint", "dtype")}
    if corpus is not None:
        said["corpus"] = {key: corpus.describe()[key] for key in ("source", "seed", "split", "text_column")}
    return said


def open_store(sae: Artifact, path: Path | None) -> ActivationStore:
    """The store that was named, or the one that the autoencoder was trained on.

    Raises:
        InputError: it is no longer where it was, or it has other content now.
    """
    if path is not None:
        return ActivationStore.open(path)  # measuring and indexing check that it is of the same model
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


def open_model(store: ActivationStore, source: str | None, device: str) -> LanguageModel:
    """The model whose activations are in the store.

    Raises:
        InputError: it can't be loaded, or it is another model.
    """
    model = model_of(store.artifact, source, device)
    store.check_model(model)
    return model


def model_of(artifact: Artifact, source: str | None, device: str) -> LanguageModel:
    """The model that an artifact says it is about, or the one that was named, computing as that did.

    Raises:
        InputError: it can't be loaded.
        ArtifactError: the artifact does not say.
    """
    try:
        said = _Model.model_validate(artifact.manifest["sources"].get("model"))
    except ValidationError as error:
        raise ArtifactError(f"{artifact.path} does not say which model was harvested: {describe(error)}") from None
    if source is None:
        return LanguageModel(said.name, revision=said.revision, device=device, dtype=said.dtype, fetch=False)
    return LanguageModel(source, device=device, dtype=said.dtype)


class _Model(BaseModel):
    """What a manifest says of a model, as far as it is needed to load it again."""

    name: str
    revision: str | None = None
    dtype: Dtype


def heldout_of(sae: Artifact) -> dict[str, float]:
    """How an autoencoder does on held-out text, as its training found: ``l0`` and ``fvu``.

    Raises:
        ArtifactError: it does not say.
    """
    found: dict[str, float] = sae.manifest.get("heldout", {})
    _check_said(sae, found, "l0", "fvu")
    return found


def predictions_of(sae: Artifact) -> tuple[dict[str, float], dict[str, float]]:
    """``kl`` and ``cross_entropy`` of the model with an autoencoder that was finetuned, before and after.

    Raises:
        ArtifactError: it does not say.
    """
    found = sae.manifest.get("predictions", {})
    before, after = found.get("before", {}), found.get("after", {})
    for figures in (before, after):
        _check_said(sae, figures, "kl", "cross_entropy")
    return before, after


def _check_said(sae: Artifact, figures: Mapping[str, float], *names: str) -> None:
    if missing := set(names) - figures.keys():
        raise ArtifactError(f"{sae.path} does not say its held-out {', '.join(sorted(missing))}; train it again")


def passages(
    model: LanguageModel, store: ActivationStore, split: Literal["train", "heldout"], *, context: int, batch: int
) -> Iterator[Passage]:
    """Text of the corpus that the store was harvested from, in front of the model; training text comes without end.

    Raises:
        InputError: the corpus is not there, or a context is too long.
        CorpusError: the split has no text.
    """
    for epoch in itertools.count():
        documents = text_of(store, split, again=epoch).documents()
        read = False
        for tokens in pack_for(model, documents, context=context, batch=batch):
            if bool((tokens.mask_BC[:, :-1] & tokens.mask_BC[:, 1:]).any()):
                read = True
                yield Passage(model, tokens)
        if not read:
            raise CorpusError(f"the corpus of {store.artifact.path} has no {split} text; harvest more documents")
        if split == "heldout":
            return
