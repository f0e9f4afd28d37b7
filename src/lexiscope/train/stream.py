"""Stream: activations read once for every autoencoder that learns from them. T tokens, D model width."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from functools import cache
from typing import NamedTuple

from lexiscope.core.seeds import derive_seed
from lexiscope.saes import Batch
from lexiscope.saes.affine import Affine
from lexiscope.train.config import TrainConfig
from lexiscope.train.diagnose import check
from lexiscope.train.normalise import Normalisation, fit
from lexiscope.train.source import ActivationSource, Sites, batches_at, join, take_rows

SAMPLE_TOKENS = 32_768
"""Activations from which the normalisation and the first weights are taken."""


class Units(NamedTuple):
    """Of what is read and what is written."""

    source: Affine
    target: Affine

    def __call__(self, batch: Batch) -> Batch:
        if batch.input_TD is batch.target_TD:
            return Batch.same(self.source(batch.input_TD))
        return Batch(self.source(batch.input_TD), self.target(batch.target_TD))


class Stream:
    """A sample, held-out batches and training batches at some hook points, in any units of training.

    Everything is a function of the store and of ``data_seed``, ``batch_tokens`` and ``heldout_tokens`` in the settings.

    Raises:
        InputError: too few activations, or such that nothing could be learnt from.
    """

    def __init__(self, store: ActivationSource, sites: Sites, config: TrainConfig) -> None:
        assert config.data_seed is not None
        self.store, self.sites = store, sites
        self.widths = sites.widths(store)
        self._batch_tokens, self._seed = config.batch_tokens, config.data_seed
        sample = take_rows(store, sites, SAMPLE_TOKENS, seed=derive_seed(self._seed, "sample"), split="train")
        self._sample: Batch | None = join(sample)
        self._check(self._sample, "sampled")
        self.heldout = take_rows(
            store, sites, config.heldout_tokens, seed=derive_seed(self._seed, "heldout"), split="heldout"
        )
        self._check(join(self.heldout), "held-out")
        self.units = cache(self._units)
        self.sample = cache(self._normal_sample)

    def _check(self, batch: Batch, what: str) -> None:
        """Of what is written only what is not read too."""
        check(batch.input_TD, self.sites.reads, self.widths[0], what)
        if batch.input_TD is not batch.target_TD:
            check(batch.target_TD, self.sites.writes, self.widths[1], what)

    def _units(self, how: Normalisation) -> Units:
        assert self._sample is not None
        source = fit(self._sample.input_TD, how, self.widths[0])
        if self._sample.input_TD is self._sample.target_TD:
            return Units(source, source)
        return Units(source, fit(self._sample.target_TD, how, self.widths[1]))

    def _normal_sample(self, how: Normalisation) -> Batch:
        assert self._sample is not None
        return self.units(how)(self._sample)

    def normal_heldout(self, how: Normalisation) -> Iterator[Batch]:
        """Made anew each time: kept in every kind of units they would take as much memory as a step."""
        return (self.units(how)(batch) for batch in self.heldout)

    def forget_sample(self) -> None:
        """Once every member has started: it is larger than a batch by far."""
        self._sample = None
        self.sample.cache_clear()

    def batches(
        self, kinds: Collection[Normalisation], first: int = 0
    ) -> Iterator[tuple[int, dict[Normalisation, Batch]]]:
        """Training batches without end and their numbers, from ``first`` on, in every kind of units that is asked for.

        Where a reader stands is this one number: the order is a function of the store and the seed.
        """
        seed = derive_seed(self._seed, "batches")
        stream = batches_at(self.store, self.sites, batch_tokens=self._batch_tokens, seed=seed, skip_batches=first)
        for number, batch in enumerate(stream, first):
            yield number, {how: self.units(how)(batch) for how in kinds}
