"""ConceptReport: how many concepts of the bank have a latent of their own, in an autoencoder and in baselines."""

from __future__ import annotations

from lexiscope.core.config import Config


class ConceptCount(Config):
    """A concept and how often it occurs in the text that was read."""

    name: str
    definition: str
    kinds: list[str]
    judged: bool
    """False where too few tokens have the concept (or lack it) in one of the halves."""
    positives_chosen_on: int
    positives_scored_on: int
    tokens_chosen_on: int
    tokens_scored_on: int


class BestLatent(Config):
    """The latent that tells one concept best."""

    concept: str
    latent: int | None
    """None where no latent fires on any positive token. At or above F: latent minus F, where it is negative."""
    threshold: float | None
    f1_chosen: float
    """On the half that the latent was chosen on, so too good."""
    f1: float
    average_precision: float
    chance_f1: float
    """F1 of the latent found the same way for the concept's labels shifted to other tokens."""


class Coverage(Config):
    """Concept coverage of one dictionary."""

    share: float
    """Share of judged concepts whose latent has F1 at or above the bar: the KPI."""
    low: float
    high: float
    """95 % interval of `share`, redrawing concepts."""
    mean_f1: float
    mean_average_precision: float
    chance_share: float
    chance_mean_f1: float
    latents: list[BestLatent]
    """One per judged concept."""


class ConceptReport(Config):
    """Concept coverage of several dictionaries on the same tokens."""

    f1_bar: float
    min_positives: int
    documents_chosen_on: int
    documents_scored_on: int
    judged: int
    """Concepts that count: the denominator of every share."""
    concepts: list[ConceptCount]
    coverage: dict[str, Coverage]
    """By name of the dictionary."""
