"""Build the index: read the store in order, and write down for every feature where it fires and what it does.

T tokens, F latents, V vocabulary. Codes are gathered and merged as `lexiscope.index.concordance.firings` says; the
files that are written are specified in `lexiscope.index.tables.write` and `lexiscope.index.concordance`.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from lexiscope.core import memory
from lexiscope.core.artifact import Artifact, open_artifact
from lexiscope.core.checkpoint import Keeping
from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.progress import SILENT, Progress
from lexiscope.harvest.store import ActivationStore
from lexiscope.index.concordance.collect import Collected, collect, joined
from lexiscope.index.concordance.firings import merged, ranges
from lexiscope.index.concordance.table import FIRINGS_PER_FILE, write_firings
from lexiscope.index.concordance.text import Text, write_text
from lexiscope.index.config import IndexConfig
from lexiscope.index.directions.effects import (
    RESIDUAL_SITES,
    EffectShapes,
    LogitEffects,
    describe_effects,
    effect_matrix,
)
from lexiscope.index.directions.neighbours import neighbours
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.index.parts import KIND as PART_KIND
from lexiscope.index.parts import Share, read_parts, write_part
from lexiscope.index.tables.summary import Summary, TextFacts
from lexiscope.index.tables.write import DOCUMENTS, TOKENS, write_documents, write_features, write_tokens
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder

EVERY = sys.maxsize
"""Each checkpoint of an index holds other rows, and all are needed."""


def build_index(
    sae: SparseAutoencoder,
    model: LanguageModel,
    store: ActivationStore,
    *,
    out: Path | str,
    config: IndexConfig | None = None,
    parts: Sequence[Path | str] = (),
    keeping: Keeping | None = None,
    progress: Progress = SILENT,
) -> FeatureIndex:
    """Describe every latent of an autoencoder on the text of a store, in one pass over it.

    An interrupted call goes on from its last checkpoint, with the same bytes in the end.

    Args:
        out: folder of the new artifact, of kind "index".
        parts: what `build_part` wrote, all of it: then nothing is encoded here.
        keeping: how often to write a checkpoint; they hold every firing so far.

    Raises:
        InputError: the autoencoder, the model and the store do not belong together, or ``out`` is taken.
    """
    config = config or IndexConfig()
    hooks = _shared_hooks(sae, model, store)
    text, facts = _text(store, model.tokenizer.vocab_size)
    settings, made_from, sources = _identity(sae, model, store, hooks, config)
    given = read_parts(parts, settings, made_from, store.num_tokens) if parts else None
    with write_artifact(
        out, "index", config=settings, made_from=made_from, sources=sources, keeping=_keeping_all(keeping)
    ) as draft:
        with torch.no_grad():
            effects = _effects(sae, model, (sae.writes or hooks)[-1], config)
        collected = given or joined([collect(sae, store, hooks, config, draft.checkpoints, progress)], config)
        summary = _write_firings(draft.path, collected, facts, config, progress)
        live_F = torch.from_numpy(summary.firings_B > 0)
        beside = neighbours(sae.directions_FD.detach(), live_F, config.neighbours)
        write_features(draft.path, summary, store.num_tokens, effects, beside)
        collected.sample.write(draft.path)
        write_text(draft.path, text)
        write_tokens(draft.path / TOKENS, model.tokenizer, np.bincount(text.tokens_T, minlength=facts.vocab_size))
        write_documents(draft.path / DOCUMENTS, store.documents())
        draft.notes |= {"num_tokens": store.num_tokens, "kinds": _kind_shares(store, facts)}
    memory.release()
    return FeatureIndex.open(out)


def build_part(
    sae: SparseAutoencoder,
    model: LanguageModel,
    store: ActivationStore,
    share: Share,
    *,
    out: Path | str,
    config: IndexConfig | None = None,
    keeping: Keeping | None = None,
    progress: Progress = SILENT,
) -> Artifact:
    """Encode one share of the rows of a store: a part of an index, which `build_index` joins with the others.

    Raises:
        InputError: the autoencoder, the model and the store do not belong together, or ``out`` is taken.
    """
    config = config or IndexConfig()
    hooks = _shared_hooks(sae, model, store)
    settings, made_from, sources = _identity(sae, model, store, hooks, config)
    rows = share.rows(store.num_tokens)
    settings["rows"] = [rows.start, rows.stop]
    with write_artifact(
        out, PART_KIND, config=settings, made_from=made_from, sources=sources, keeping=_keeping_all(keeping)
    ) as draft:
        write_part(draft.path, collect(sae, store, hooks, config, draft.checkpoints, progress, rows))
    memory.release()
    return open_artifact(out, PART_KIND)


def _identity(
    sae: SparseAutoencoder,
    model: LanguageModel,
    store: ActivationStore,
    hooks: Sequence[HookPoint],
    config: IndexConfig,
) -> tuple[dict[str, Any], list[Artifact], dict[str, Any]]:
    """Settings, artifacts and other sources that say which index this is."""
    settings = {
        "index": config.model_dump(mode="json"),
        "hook": " + ".join(map(str, hooks)),
        "num_latents": sae.num_latents,
    }
    made_from = [store.artifact, *([sae.artifact] if sae.artifact else [])]
    return settings, made_from, {**store.artifact.manifest["sources"], "model": model.describe()}


def _keeping_all(keeping: Keeping | None) -> Keeping:
    return (keeping or Keeping()).model_copy(update={"keep": EVERY})


def _write_firings(
    folder: Path, collected: Collected, facts: TextFacts, config: IndexConfig, progress: Progress
) -> Summary:
    """The files of the firings; returns a row for every feature."""
    parts = []
    with progress.task("Writing firings", int(collected.counts_F.sum()), "firings") as task:
        for low, high in ranges(collected.counts_F, FIRINGS_PER_FILE):
            firings = merged(collected.runs, low, high)
            if not np.isfinite(firings.values).all():
                raise InputError("the SAE gives activations that are no finite numbers on this store; check both")
            write_firings(folder, firings)
            parts.append(Summary.of(firings, facts, config.frequent_tokens))
            task.advance(len(firings.rows))
    return Summary.joined(parts)


def _text(store: ActivationStore, vocab_size: int) -> tuple[Text, TextFacts]:
    """What is known about every token of a store."""
    text = Text.of_rows(*map(np.asarray, (store.tokens_T, store.contexts_T, store.documents_T, store.positions_T)))
    if int(text.tokens_T.max()) >= vocab_size:
        raise InputError(
            f"{store.artifact.path} has token {text.tokens_T.max()}, but the model's tokenizer only {vocab_size}; "
            "name the model that was harvested"
        )
    kinds = _kinds(store)
    kinds_D = np.array([kinds.index(document.kind) for document in store.documents()], np.int32)
    documents_T = np.ascontiguousarray(store.documents_T, np.int32)
    return text, TextFacts(text.tokens_T, vocab_size, documents_T, kinds_D, len(kinds))


def _kinds(store: ActivationStore) -> list[str]:
    return sorted({document.kind for document in store.documents()})


def _kind_shares(store: ActivationStore, facts: TextFacts) -> dict[str, float]:
    """Share of the tokens by kind of document, in order of the kinds."""
    tokens_D = np.bincount(facts.documents_T, minlength=len(facts.kinds_D))
    tokens_C = np.bincount(facts.kinds_D, weights=tokens_D, minlength=facts.num_kinds)
    return dict(zip(_kinds(store), (tokens_C / store.num_tokens).tolist(), strict=True))


def _shared_hooks(sae: SparseAutoencoder, model: LanguageModel, store: ActivationStore) -> tuple[HookPoint, ...]:
    """The hook points that the autoencoder reads, once it is certain that all three belong together.

    Raises:
        InputError: they do not.
    """
    hooks = sae.reads or (store.hooks[0],)
    store.check_model(model)
    if sae.artifact is not None:
        store.check_same_model(sae.artifact)
    width = sum(store.width(hook) for hook in hooks)
    if sae.width != width:
        at = " + ".join(map(str, hooks))
        raise InputError(f"the SAE has width {sae.width}, the store {width} at {at}; give the store it was trained on")
    return hooks


def _effects(
    sae: SparseAutoencoder, model: LanguageModel, written: HookPoint, config: IndexConfig
) -> tuple[LogitEffects, EffectShapes] | None:
    """Direct logit effects of what is written, at the last hook point if there are several.

    None where a direction is not one of the residual stream.
    """
    if written.site not in RESIDUAL_SITES:
        return None
    directions_FD = sae.directions_FD[:, -model.width :]
    return describe_effects(effect_matrix(model), directions_FD, keep=config.logit_tokens)
