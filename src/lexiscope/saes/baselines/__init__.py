"""Dictionaries that learn little or nothing, behind the interface of an autoencoder: the floor under every score."""

from __future__ import annotations

from torch import Tensor

from lexiscope.core.seeds import derive_seed
from lexiscope.saes import topk
from lexiscope.saes.base import Batch, SparseAutoencoder
from lexiscope.saes.baselines import mean_only, neurons, pca, random_dictionary
from lexiscope.saes.baselines.permuted import permute_decoder
from lexiscope.saes.registry import create
from lexiscope.saes.settings import SaeConfig

__all__ = [
    "fit_all",
    "fit_mean_only",
    "fit_neurons",
    "fit_pca",
    "fit_random_dictionary",
    "fit_untrained",
    "permute_decoder",
]


def fit_neurons(sample_TD: Tensor, *, k: int | None = None) -> neurons.Neurons:
    """The model's own coordinates, centred on the sample; all of them, or the k largest per token."""
    return neurons.Neurons.from_sample(neurons.Config(k=k), Batch.same(sample_TD))


def fit_pca(sample_TD: Tensor, *, k: int | None) -> pca.Pca:
    """Principal directions of the sample; the k largest per token, or all."""
    return pca.Pca.from_sample(pca.Config(k=k), Batch.same(sample_TD))


def fit_random_dictionary(
    sample_TD: Tensor, *, num_latents: int, k: int, seed: int = 0
) -> random_dictionary.RandomDictionary:
    """Random directions around the mean of the sample."""
    config = random_dictionary.Config(num_latents=num_latents, k=k)
    return random_dictionary.RandomDictionary.from_sample(config, Batch.same(sample_TD), seed=seed)


def fit_mean_only(sample_TD: Tensor) -> mean_only.MeanOnly:
    """The mean of the sample, whatever the input."""
    return mean_only.MeanOnly.from_sample(mean_only.Config(), Batch.same(sample_TD))


def fit_untrained(sample: Tensor | Batch, config: SaeConfig, *, seed: int = 0) -> SparseAutoencoder:
    """An autoencoder of any architecture as training would find it at its first step."""
    return create(config, sample, seed=seed)


def fit_all(sample_TD: Tensor, *, num_latents: int, k: int, seed: int = 0) -> dict[str, SparseAutoencoder]:
    """Every baseline by name, those that choose latents at the same L0. Neurons keep all their coordinates."""
    return {
        "mean_only": fit_mean_only(sample_TD),
        "neurons": fit_neurons(sample_TD),
        "pca": fit_pca(sample_TD, k=k),
        "random_dictionary": fit_random_dictionary(sample_TD, num_latents=num_latents, k=k, seed=seed),
        # Another seed, or it would have the random dictionary's directions.
        "untrained": fit_untrained(
            sample_TD, topk.Config(num_latents=num_latents, k=k), seed=derive_seed(seed, "untrained")
        ),
    }
