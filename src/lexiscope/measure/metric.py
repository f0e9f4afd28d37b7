"""Metric: one number about an autoencoder. `metrics/` holds one per file; this file holds what they share.

A metric is started, sees batches, and is finished. It keeps sums and divides once, at the end, so the size of a batch
cannot move it. T tokens, D model width, F latents, G documents, R redraws, S columns of sums.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar, Generic, Literal, TypeVar

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes

Better = Literal["higher", "lower", "neither"]
Seen = TypeVar("Seen")


@dataclass(frozen=True)
class Reconstruction:
    """A batch of activations, their codes, and what the codes decode to."""

    x_TD: Tensor
    codes: SparseCodes
    x_hat_TD: Tensor
    documents_T: Tensor
    """Which of the measured documents each token is from: int64, 0..G-1."""


@dataclass(frozen=True)
class Predictions:
    """A batch of next-token predictions: the loss of the model in nats as it is, and with its activation replaced."""

    clean_T: Tensor
    spliced_T: Tensor
    """Replaced by the reconstruction."""
    mean_ablated_T: Tensor
    zero_ablated_T: Tensor
    divergence_T: Tensor
    """KL(clean ‖ spliced) of the whole next-token distribution, in nats."""
    documents_T: Tensor


class Metric(ABC, Generic[Seen]):
    """One number, from batches of ``Seen``: a `Reconstruction` or `Predictions`."""

    name: ClassVar[str]
    unit: ClassVar[str]
    better: ClassVar[Better]

    @abstractmethod
    def start(self) -> None:
        """Forget everything that was seen."""

    @abstractmethod
    def add(self, seen: Seen) -> None:
        """Take in one batch."""

    @abstractmethod
    def finish(self) -> float:
        """The number for everything seen since `start`; NaN where there is nothing to divide by."""

    def redraw(self, counts_RG: Tensor) -> Tensor | None:
        """The number when document g counts ``counts_RG[r, g]`` times, [R]; None if it is not a mean over documents."""
        del counts_RG
        return None


class AdditiveMetric(Metric[Seen]):
    """A metric made of columns that add up over tokens. The sums are kept per document, for the bootstrap."""

    @abstractmethod
    def columns(self, seen: Seen) -> Tensor:
        """What each token contributes to each sum, float64 [T, S]."""

    @abstractmethod
    def value(self, sums_S: Tensor) -> float:
        """The number, from the sums over all tokens."""

    def start(self) -> None:
        self._sums_GS: Tensor | None = None

    def add(self, seen: Seen) -> None:
        columns_TS = self.columns(seen).double()
        documents_T: Tensor = seen.documents_T  # type: ignore[attr-defined]
        documents = max(int(documents_T.max()) + 1 if len(documents_T) else 0, self._documents())
        sums_GS = columns_TS.new_zeros(documents, columns_TS.shape[1])
        if self._sums_GS is not None:
            sums_GS[: len(self._sums_GS)] = self._sums_GS
        self._sums_GS = sums_GS.index_add_(0, documents_T, columns_TS)

    def finish(self) -> float:
        return float("nan") if self._sums_GS is None else self.value(self._sums_GS.sum(0))

    def redraw(self, counts_RG: Tensor) -> Tensor | None:
        if self._sums_GS is None:
            return None
        sums_RS = counts_RG[:, : len(self._sums_GS)].double() @ self._sums_GS
        return torch.tensor([self.value(sums_S) for sums_S in sums_RS], dtype=torch.float64)

    def _documents(self) -> int:
        return 0 if self._sums_GS is None else len(self._sums_GS)


class ReconstructionMetric(AdditiveMetric[Reconstruction]):
    """An additive metric of reconstructions."""


class PredictionMetric(AdditiveMetric[Predictions]):
    """An additive metric of what splicing does to predictions."""


class FiringMetric(Metric[Reconstruction]):
    """A metric of how often each latent fires: on ``firings_F[f]`` of all tokens seen.

    It gets no error bar: a redrawn set of documents lacks a third of them, so rare latents would look dead.
    """

    @abstractmethod
    def value(self, firings_F: Tensor, tokens: int) -> float:
        """The number, from counts over at least one token."""

    def start(self) -> None:
        self._firings_F: Tensor | None = None
        self._tokens = 0

    def add(self, seen: Reconstruction) -> None:
        firings_F = seen.codes.firings()
        self._firings_F = firings_F if self._firings_F is None else self._firings_F + firings_F
        self._tokens += seen.codes.num_tokens

    def finish(self) -> float:
        if self._firings_F is None or not self._tokens or not len(self._firings_F):
            return float("nan")
        return self.value(self._firings_F, self._tokens)


def divide(numerator: Tensor | float, denominator: Tensor | float) -> float:
    """The one division at the end; NaN when there is nothing to divide by."""
    return float(numerator) / float(denominator) if float(denominator) else float("nan")


def column(values_T: Tensor) -> Tensor:
    """A column of ones beside one of values: the sums that make a mean, [T, 2]."""
    return torch.stack([values_T.double(), torch.ones_like(values_T, dtype=torch.float64)], 1)
