"""Build the index: read the store in order, and write down for every feature where it fires and what it does.

T tokens, N firings of one feature, F latents, V vocabulary. The store is encoded chunk by chunk and firings stay sparse
(`Firings`); the files that are written are specified in `lexiscope.index.tables`.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from lexiscope.core.checkpoint import Checkpoints, Keeping
from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.progress import SILENT, Progress
from lexiscope.core.rows import pack, unpack
from lexiscope.core.seeds import derive_seed
from lexiscope.harvest.store import ActivationStore
from lexiscope.index.config import IndexConfig
from lexiscope.index.directions import LogitEffects, logit_effects, neighbours
from lexiscope.index.examples import Example, choose
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.index.firings import Rows, Values, collect
from lexiscope.index.histogram import Histogram
from lexiscope.index.tables import (
    DOCUMENTS,
    EXAMPLES,
    FEATURES,
    TOKENS,
    ExampleTable,
    Measured,
    write_documents,
    write_features,
    write_tokens,
)
from lexiscope.index.tokens import TokenStatistics
from lexiscope.index.windows import Windows
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder

EVERY = sys.maxsize
"""Checkpoints of an index are one per pass over the store, and all are needed."""
RESIDUAL_SITES = {"embed", "resid_pre", "resid_post", "attn_out", "mlp_out"}
"""Sites whose activations are part of the residual stream, so that a direction there acts on the logits directly."""


def build_index(
    sae: SparseAutoencoder,
    model: LanguageModel,
    store: ActivationStore,
    *,
    out: Path | str,
    config: IndexConfig | None = None,
    seed: int = 0,
    progress: Progress = SILENT,
) -> FeatureIndex:
    """Describe every latent of an autoencoder on the text of a store.

    A dictionary that needs several passes over the store has a checkpoint after each: the same call goes on with the
    next one.

    Args:
        out: folder of the new artifact, of kind "index".
        seed: draws the examples of the activation bands.

    Raises:
        InputError: the autoencoder, the model and the store do not belong together, or ``out`` is taken.
    """
    config = config or IndexConfig()
    hooks = _shared_hooks(sae, model, store)
    text = _Text(store, model.tokenizer.vocab_size, config)
    settings = {
        "index": config.model_dump(mode="json"),
        "hook": " + ".join(map(str, hooks)),
        "num_latents": sae.num_latents,
    }
    made_from = [store.artifact, *([sae.artifact] if sae.artifact else [])]
    sources = {**store.artifact.manifest["sources"], "model": model.describe()}
    with write_artifact(
        out, "index", config=settings, seed=seed, made_from=made_from, sources=sources, keeping=Keeping(keep=EVERY)
    ) as draft:
        with torch.no_grad():
            effects = _effects(sae, model, (sae.writes or hooks)[-1], config)
        measured: list[Measured] = []
        examples = ExampleTable(store)
        for described in _earlier(draft.checkpoints):
            described.add_to(measured, examples)
        for block in collect(
            sae, store, hooks, firings_at_once=config.firings_at_once, low=len(measured), progress=progress
        ):
            described = _Described(block.low, [], [])
            with progress.task("Describing features", block.high - block.low, "features") as task:
                for latent in range(block.low, block.high):
                    rows_N, values_N = block.of(latent)
                    histogram = Histogram.of(values_N)
                    described.measured.append(text.measure(rows_N, values_N, histogram))
                    random = np.random.default_rng(derive_seed(seed, "examples", latent))
                    chosen = choose(rows_N, values_N, histogram, text.windows, config, random) if len(rows_N) else []
                    described.examples.append(chosen)
                    task.advance(1)
            described.add_to(measured, examples)
            if block.high < sae.num_latents:
                draft.checkpoints.save(block.high, *described.state())
        live_F = torch.tensor([row.firings > 0 for row in measured])
        beside = neighbours(sae.directions_FD.detach(), live_F, config.neighbours)
        write_features(draft.path / FEATURES, measured, effects, beside)
        examples.write(draft.path / EXAMPLES)
        write_tokens(draft.path / TOKENS, model.tokenizer, text.occurrences_V)
        write_documents(draft.path / DOCUMENTS, store.documents())
        draft.notes |= {"num_tokens": store.num_tokens, "kinds": text.kind_shares()}
    return FeatureIndex.open(out)


class _Described(NamedTuple):
    """What one pass over the store has told of the latents from ``low`` on, in order."""

    low: int
    measured: list[Measured]
    examples: list[list[Example]]

    def add_to(self, measured: list[Measured], examples: ExampleTable) -> None:
        measured += self.measured
        for latent, chosen in enumerate(self.examples, self.low):
            examples.add(latent, chosen)

    def state(self) -> tuple[dict[str, torch.Tensor], dict[str, Any]]:
        """For a checkpoint."""
        flat = [example for chosen in self.examples for example in chosen]
        counts = torch.tensor([len(chosen) for chosen in self.examples])
        tensors = {**pack(self.measured, "measured/"), **pack(flat, "example/"), "examples": counts}
        return tensors, {"low": self.low}


def _earlier(checkpoints: Checkpoints) -> Iterator[_Described]:
    """The passes of an interrupted run, in order."""
    for checkpoint in checkpoints.all():
        flat = iter(unpack(checkpoint.tensors, Example, "example/"))
        counts = checkpoint.tensors["examples"].tolist()
        examples = [list(islice(flat, count)) for count in counts]
        yield _Described(checkpoint.values["low"], unpack(checkpoint.tensors, Measured, "measured/"), examples)


class _Text:
    """What is known about every token of the store.

    Attributes:
        tokens_T: int32 token ids.
        occurrences_V: how often each token id occurs.
        kinds: the kinds of document, sorted.
        kinds_T: int8, index of the kind of each token's document.
        windows: the text around rows.
    """

    def __init__(self, store: ActivationStore, vocab_size: int, config: IndexConfig) -> None:
        self._keep = config.frequent_tokens
        self.tokens_T = np.asarray(store.tokens_T).astype(np.int32)
        if int(self.tokens_T.max()) >= vocab_size:
            raise InputError(
                f"{store.artifact.path} has token {self.tokens_T.max()}, but the model's tokenizer only {vocab_size}; "
                "name the model that was harvested"
            )
        self.occurrences_V = np.bincount(self.tokens_T, minlength=vocab_size)
        self.windows = Windows(self.tokens_T, np.asarray(store.contexts_T), config.tokens_before, config.tokens_after)
        documents = store.documents()
        self.kinds = sorted({document.kind for document in documents})
        kind_of_document = np.array([self.kinds.index(document.kind) for document in documents], dtype=np.int8)
        self.kinds_T = kind_of_document[np.asarray(store.documents_T)]

    def measure(self, rows_N: Rows, values_N: Values, histogram: Histogram) -> Measured:
        """What the firings of one latent say."""
        preceding_M = self.tokens_T[rows_N[self.windows.has_previous(rows_N)] - 1]
        statistics = TokenStatistics.of(self.tokens_T[rows_N], values_N, preceding_M, self.occurrences_V, self._keep)
        kinds = np.bincount(self.kinds_T[rows_N], minlength=len(self.kinds)) / max(len(rows_N), 1)
        return Measured.of(values_N, len(self.tokens_T), histogram, statistics, kinds.astype(np.float32))

    def kind_shares(self) -> dict[str, float]:
        """Share of the tokens in each kind of document."""
        shares = np.bincount(self.kinds_T, minlength=len(self.kinds)) / max(len(self.kinds_T), 1)
        return dict(zip(self.kinds, shares.tolist(), strict=True))


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
) -> LogitEffects | None:
    """Direct logit effects of what is written, at the last hook point if there are several.

    None where a direction is not one of the residual stream.
    """
    if written.site not in RESIDUAL_SITES:
        return None
    return logit_effects(model, sae.directions_FD[:, -model.width :], config.logit_tokens)
