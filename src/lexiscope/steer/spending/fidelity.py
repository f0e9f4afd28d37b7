"""Fidelity: what each way of spending features costs, against what it saves. On held-out text, the same for all.

Multiply-adds per token are counted beside the time. Decoding is the features kept. Encoding is the whole encoder, since
which features are kept is known only after it; of a nested dictionary whose latents fire each for itself, the prefix.
T tokens, D width read, E width written, F latents.
"""

from __future__ import annotations

import time
from collections.abc import Sequence

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.config import Config
from lexiscope.core.errors import InputError
from lexiscope.core.progress import SILENT, Progress
from lexiscope.harvest.store import ActivationStore
from lexiscope.lm.model import LanguageModel
from lexiscope.lm.passage import Replace
from lexiscope.measure.heldout import Excerpts, text_of
from lexiscope.measure.metric import Metric, Predictions, Reconstruction
from lexiscope.measure.metrics.fvu import Fvu
from lexiscope.measure.metrics.kl_divergence import KlDivergence
from lexiscope.measure.metrics.loss_difference import LossDifference
from lexiscope.measure.metrics.loss_recovered_mean_ablation import LossRecoveredMeanAblation
from lexiscope.measure.passes import LOSS_EXCERPT_CHARACTERS, HeldoutText, scores_of
from lexiscope.measure.scores import Score
from lexiscope.measure.splice import predict_spliced
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.saes.dictionary import LinearDictionary
from lexiscope.steer.spending.rules import First, Spending, spend, written
from lexiscope.text.corpus import Corpus
from lexiscope.text.pack import TokenBatch
from lexiscope.train.source import choose_sites

_METRICS = (Fvu, KlDivergence, LossDifference, LossRecoveredMeanAblation)


class Point(Config):
    """One way of spending."""

    spending: str
    """As `lexiscope.steer.spending.rules.parse` reads it."""
    features_per_token: float
    most_features: int
    """On one token."""
    scores: dict[str, Score]
    """Metrics of `lexiscope.measure.metrics` by name, with 95 % intervals over documents."""
    encode_operations: int
    """Multiply-adds per token."""
    decode_operations: float
    decode_microseconds: float
    """Measured per token on this machine, choosing included."""


class Curve(Config):
    """Several, in the order asked for."""

    hook: str
    architecture: str
    tokens: int
    documents: int
    clean_loss: float
    """Nats per token of the model as it is."""
    encode_microseconds: float
    points: tuple[Point, ...]


@torch.no_grad()
def curve(
    sae: SparseAutoencoder,
    model: LanguageModel,
    store: ActivationStore,
    spendings: Sequence[Spending],
    *,
    corpus: Corpus | None = None,
    tokens: int = 20_000,
    seed: int = 0,
    progress: Progress = SILENT,
) -> Curve:
    """Measure ways of spending features.

    Args:
        store: activations that the autoencoder was trained on; its means are what mean-ablation puts in.
        corpus: held-out text. None: the held-out documents of the corpus that the store was made from.
        tokens: predictions to measure on, about.

    Raises:
        InputError: nothing to compare, autoencoder, model and store do not belong together, or no held-out text.
    """
    if not spendings:
        raise InputError("there is nothing to compare; give at least one way of spending, such as k=8")
    store.check_model(model)
    sites = choose_sites(store, sae.reads, sae.writes)
    context = min(int(store.artifact.config["context"]), model.max_context)
    text = HeldoutText(model, sites, Excerpts(corpus or text_of(store)), context)
    means = {hook: store.statistics(hook).mean_D.float() for hook in sites.writes}
    meters = {written(spending): _Meter(spending) for spending in spendings}
    desk = _Desk(sae)
    replacements = {name: desk.replacement(meter) for name, meter in meters.items()}
    places: dict[int, int] = {}
    read, clean = 0, 0.0
    with progress.task("Measuring fidelity", total=tokens, unit="tokens") as task:
        for batch in text.batches(LOSS_EXCERPT_CHARACTERS):
            desk.turn(batch, places)
            for name, predictions in predict_spliced(model, sites, batch, means, replacements):
                meters[name].add(predictions, places)
            count = len(predictions.clean_T)
            clean += float(predictions.clean_T.double().sum())
            read += count
            task.advance(count)
            if read >= tokens:
                break
    if not read:
        raise InputError("the held-out text has no two tokens in a row to predict; give longer documents")
    return Curve(
        hook=" + ".join(map(str, sites.reads)),
        architecture=sae.config.architecture,
        tokens=read,
        documents=len(places),
        clean_loss=clean / read,
        encode_microseconds=1e6 * desk.seconds / desk.tokens,
        points=tuple(meter.point(name, sae, len(places), seed) for name, meter in meters.items()),
    )


class _Meter:
    """What is summed up for one way of spending."""

    def __init__(self, spending: Spending) -> None:
        self.spending = spending
        self.metrics: dict[str, Metric[Reconstruction] | Metric[Predictions]] = {kind.name: kind() for kind in _METRICS}
        for metric in self.metrics.values():
            metric.start()
        self.tokens = self.features = self.most = 0
        self.seconds = 0.0

    def spend(self, codes: SparseCodes, counts: Tensor, seconds: float) -> None:
        self.tokens += codes.num_tokens
        self.features += len(codes)
        self.most = max(self.most, int(counts.max()) if len(counts) else 0)
        self.seconds += seconds

    def add(self, predictions: Predictions, places: dict[int, int]) -> None:
        documents_T = torch.tensor([places[ordinal] for ordinal in predictions.documents_T.tolist()])
        seen = Predictions(**{**vars(predictions), "documents_T": documents_T.long()})
        for name in ("kl_divergence", "loss_difference", "loss_recovered_mean_ablation"):
            self.metrics[name].add(seen)  # type: ignore[arg-type]

    def point(self, name: str, sae: SparseAutoencoder, documents: int, seed: int) -> Point:
        scored = {metric: scores_of({name: [kept]}, documents, seed) for metric, kept in self.metrics.items()}
        per_token = self.features / self.tokens
        return Point(
            spending=name,
            features_per_token=per_token,
            most_features=self.most,
            scores={metric: of[metric].scores[name] for metric, of in scored.items()},
            encode_operations=sae.width * _encoded(sae, self.spending),
            decode_operations=sae.output_width * per_token,
            decode_microseconds=1e6 * self.seconds / self.tokens,
        )


class _Desk:
    """Encodes every batch once, for all ways of spending."""

    def __init__(self, sae: SparseAutoencoder) -> None:
        self._sae = sae
        self._lengths_F = torch.linalg.vector_norm(sae.directions_FD.detach().float(), dim=1)
        self._codes: SparseCodes | None = None
        self.tokens, self.seconds = 0, 0.0

    def turn(self, batch: TokenBatch, places: dict[int, int]) -> None:
        """To the next batch."""
        mask_BC = torch.as_tensor(batch.mask_BC)
        self._codes = None
        self._sequences_T = torch.arange(len(mask_BC)).repeat_interleave(mask_BC.sum(1))
        ordinals = torch.as_tensor(batch.documents_BC)[mask_BC].tolist()
        self._documents_T = torch.tensor([places.setdefault(ordinal, len(places)) for ordinal in ordinals])

    def replacement(self, meter: _Meter) -> Replace:
        def replace(x_TD: Tensor) -> Tensor:
            x_TD = x_TD.to(self._sae.device)
            if self._codes is None:
                began = time.perf_counter()
                self._codes = self._sae.encode(x_TD).fired()
                self.seconds += time.perf_counter() - began
                self.tokens += len(x_TD)
            began = time.perf_counter()
            kept = self._codes.keep(spend(self._codes, self._lengths_F, meter.spending, self._sequences_T))
            y_TE = self._sae.reconstruct(x_TD, kept)
            meter.spend(kept, kept.counts(), time.perf_counter() - began)
            if y_TE.shape == x_TD.shape and self._sae.reads == self._sae.writes:
                seen = Reconstruction(x_TD, kept, y_TE, self._documents_T.to(x_TD.device))
                meter.metrics["fvu"].add(seen)  # type: ignore[arg-type]
            return y_TE

        return replace


def _encoded(sae: SparseAutoencoder, spending: Spending) -> int:
    """Latents whose scores have to be known."""
    if isinstance(spending, First) and isinstance(sae, LinearDictionary) and sae.activation.alone([]) is not None:
        return min(spending.latents, sae.num_latents)
    return sae.num_latents
