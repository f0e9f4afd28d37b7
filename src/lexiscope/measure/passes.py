"""The three passes behind a scorecard: activations, predictions, concepts. Every dictionary sees the same tokens.

D model width, G documents, R redraws.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.progress import Task
from lexiscope.core.seeds import derive_seed
from lexiscope.harvest.store import ActivationStore
from lexiscope.lm.model import LanguageModel
from lexiscope.lm.passage import Replace
from lexiscope.measure import metrics
from lexiscope.measure.concepts import BANK
from lexiscope.measure.concepts.coverage import F1_BAR, MIN_POSITIVES, count_concepts, cover
from lexiscope.measure.concepts.reading import read_halves
from lexiscope.measure.concepts.report import ConceptReport
from lexiscope.measure.heldout import EXCERPT_CHARACTERS, Excerpts, heldout_rows
from lexiscope.measure.metric import Metric, PredictionMetric, Predictions, Reconstruction
from lexiscope.measure.metrics.firing_density import FiringDensity
from lexiscope.measure.metrics.fvu import Fvu
from lexiscope.measure.scores import Amount, Histogram, Losses, MetricScores, Score
from lexiscope.measure.splice import predict_spliced
from lexiscope.saes.base import Batch, SparseAutoencoder
from lexiscope.text.pack import TokenBatch, pack
from lexiscope.train.source import Sites

BATCH_TOKENS = 4096
LOGITS_PER_BATCH = 2**25
"""128 MiB of float32; a few copies of it are alive at once."""
LOSS_EXCERPT_CHARACTERS = 3_000
"""Shorter than for concepts, so that fewer tokens are still of many documents."""
REDRAWS = 300

Dictionaries = Mapping[str, SparseAutoencoder]


@dataclass(frozen=True)
class HeldoutText:
    """Text, and the model that reads it; at which hook points activations are taken and put back."""

    model: LanguageModel
    sites: Sites
    excerpts: Excerpts
    context: int
    """Tokens per context, BOS included."""

    def batches(self, characters: int) -> Iterator[TokenBatch]:
        """Excerpts of about so many characters, in contexts of the model."""
        batch = max(1, min(16, LOGITS_PER_BATCH // (self.context * self.model.vocab_size)))
        return pack(
            self.excerpts.documents(characters),
            self.model.tokenizer,
            context=self.context,
            batch=batch,
            bos=self.model.bos,
        )


class ReconstructionScores(NamedTuple):
    amount: Amount
    metrics: dict[str, MetricScores]
    density: Histogram


class PredictionScores(NamedTuple):
    amount: Amount
    metrics: dict[str, MetricScores]
    losses: Losses


@torch.no_grad()
def score_reconstructions(
    dictionaries: Dictionaries, store: ActivationStore, sites: Sites, tokens: int, seed: int, task: Task
) -> ReconstructionScores:
    """Metrics of reconstruction and firing on held-out rows of a store; of several sites also the FVU of each.

    Raises:
        InputError: the store has no held-out rows.
    """
    heldout = heldout_rows(store, tokens, seed)
    started = {name: _start(predictions=False) for name in dictionaries}
    at_sites = {hook: {name: _start_fvu() for name in dictionaries} for hook in sites.writes if len(sites.writes) > 1}
    widths = sites.widths(store)[1]
    for first in range(0, len(heldout.rows_T), BATCH_TOKENS):
        span = slice(first, first + BATCH_TOKENS)
        x_TD, y_TD = _rows(store, sites, heldout.rows_T[span])
        documents_T = torch.from_numpy(heldout.documents_T[span])
        for name, dictionary in dictionaries.items():
            device = dictionary.device
            x_TD, y_TD, documents_T = x_TD.to(device), y_TD.to(device), documents_T.to(device)
            codes = dictionary.encode(x_TD)
            seen = Reconstruction(y_TD, codes, dictionary.reconstruct(x_TD, codes), documents_T)
            for metric in started[name]:
                metric.add(seen)
            parts = zip(torch.split(seen.x_TD, widths, 1), torch.split(seen.x_hat_TD, widths, 1), strict=True)
            for fvus, (x_part, x_hat_part) in zip(at_sites.values(), parts, strict=False):
                fvus[name][0].add(replace(seen, x_TD=x_part, x_hat_TD=x_hat_part))
        task.advance(len(x_TD))
    documents = int(heldout.documents_T.max()) + 1
    first_column = next(iter(dictionaries))
    density = next(metric for metric in started[first_column] if isinstance(metric, FiringDensity))
    edges, counts = density.histogram()
    return ReconstructionScores(
        Amount(tokens=len(heldout.rows_T), documents=documents),
        {
            **scores_of(started, documents, seed),
            **{f"fvu at {hook}": scores_of(fvus, documents, seed)["fvu"] for hook, fvus in at_sites.items()},
        },
        Histogram(edges=edges, counts=counts),
    )


def score_predictions(
    dictionaries: Dictionaries,
    text: HeldoutText,
    means: Mapping[HookPoint, Tensor],
    tokens: int,
    seed: int,
    task: Task,
) -> PredictionScores:
    """Metrics of loss on held-out text, each dictionary's reconstruction spliced into the model.

    Args:
        means: what mean-ablation puts in, for every hook point written.

    Raises:
        InputError: the text has nothing to predict.
    """
    started = {name: _start(predictions=True) for name in dictionaries}
    replacements = {name: _reconstruct(dictionary) for name, dictionary in dictionaries.items()}
    places: dict[int, int] = {}
    read, sums = 0, torch.zeros(3, dtype=torch.float64)
    for batch in text.batches(LOSS_EXCERPT_CHARACTERS):
        for name, predictions in predict_spliced(text.model, text.sites, batch, means, replacements):
            ordinals = predictions.documents_T.tolist()
            documents_T = torch.tensor([places.setdefault(ordinal, len(places)) for ordinal in ordinals])
            seen = Predictions(**{**vars(predictions), "documents_T": documents_T.long()})
            for metric in started[name]:
                metric.add(seen)
        task.advance(len(ordinals))
        read += len(ordinals)
        sums += torch.stack([seen.clean_T, seen.mean_ablated_T, seen.zero_ablated_T]).double().sum(1)
        if read >= tokens:
            break
    if not read:
        raise InputError("the held-out text has no two tokens in a row to predict; give longer documents")
    clean, mean_ablation, zero_ablation = (sums / read).tolist()
    return PredictionScores(
        Amount(tokens=read, documents=len(places)),
        scores_of(started, len(places), seed),
        Losses(clean=clean, mean_ablation=mean_ablation, zero_ablation=zero_ablation),
    )


def score_concepts(dictionaries: Dictionaries, text: HeldoutText, tokens: int, seed: int, task: Task) -> ConceptReport:
    """Concept coverage on held-out text. A dictionary on which nothing ever fires is left out."""
    batches = text.batches(EXCERPT_CHARACTERS)
    chosen_on, scored_on = read_halves(
        text.model, text.sites.reads, dictionaries, batches, BANK, tokens=tokens, task=task
    )
    counts = count_concepts(BANK, chosen_on.labels, scored_on.labels)
    judged = sum(count.judged for count in counts)
    coverage = {}
    for name in dictionaries if judged else ():
        task.advance(0, note=f"matching {name}")
        codes = chosen_on.codes.pop(name), scored_on.codes.pop(name)
        if any(map(len, codes[0])):
            coverage[name] = cover(counts, chosen_on.labels, scored_on.labels, *codes, seed=seed)
    return ConceptReport(
        f1_bar=F1_BAR,
        min_positives=MIN_POSITIVES,
        documents_chosen_on=len(chosen_on.labels.documents),
        documents_scored_on=len(scored_on.labels.documents),
        judged=judged,
        concepts=counts,
        coverage=coverage,
    )


def _reconstruct(dictionary: SparseAutoencoder) -> Replace:
    return lambda x_TD: dictionary(x_TD.to(dictionary.device)).to(x_TD.device)


def _rows(store: ActivationStore, sites: Sites, rows_T: NDArray[np.int64]) -> Batch:
    """What is read and what is written at some rows of a store."""
    at = {hook: store.rows(hook, rows_T) for hook in {*sites.reads, *sites.writes}}
    input_TD, target_TD = (torch.cat([at[hook] for hook in hooks], dim=1) for hooks in sites)
    return Batch.same(input_TD) if sites.reads == sites.writes else Batch(input_TD, target_TD)


def _start_fvu() -> list[Metric[Any]]:
    metric = Fvu()
    metric.start()
    return [metric]


def _start(*, predictions: bool) -> list[Metric[Any]]:
    found = [metrics.find(name)() for name in metrics.names()]
    started = [metric for metric in found if isinstance(metric, PredictionMetric) == predictions]
    for metric in started:
        metric.start()
    return started


def scores_of(started: Mapping[str, list[Metric[Any]]], documents: int, seed: int) -> dict[str, MetricScores]:
    """Every metric's value and 95 % interval. The same redrawn documents for all, so that columns can be compared."""
    draw = np.random.default_rng(derive_seed(seed, "redraw documents"))
    counts_RG = torch.from_numpy(draw.multinomial(documents, [1 / documents] * documents, size=REDRAWS))
    by_metric = zip(*started.values(), strict=True)
    return {
        same[0].name: MetricScores(
            unit=same[0].unit,
            better=same[0].better,
            scores={name: _score(metric, counts_RG) for name, metric in zip(started, same, strict=True)},
        )
        for same in by_metric
    }


def _score(metric: Metric[Any], counts_RG: Tensor) -> Score:
    value = metric.finish()
    if not math.isfinite(value):
        return Score(value=None)
    redrawn_R = metric.redraw(counts_RG)
    if redrawn_R is None or counts_RG.shape[1] < 2 or not redrawn_R.isfinite().all():
        return Score(value=value)
    low, high = redrawn_R.quantile(torch.tensor([0.025, 0.975], dtype=torch.float64)).tolist()
    return Score(value=value, low=low, high=high)
