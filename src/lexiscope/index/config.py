"""How much the index keeps about each feature."""

from __future__ import annotations

from pydantic import Field

from lexiscope.core.config import Config


class IndexConfig(Config):
    """Sizes of the index. The defaults give about 60 examples for a feature that fires often."""

    strongest: int = Field(20, ge=1)
    """Examples with the highest activations, from different contexts."""
    per_band: int = Field(4, ge=0)
    """Examples drawn from each tenth of the activation range."""
    weakest: int = Field(4, ge=0)
    """Examples with the smallest activations."""
    tokens_before: int = Field(24, ge=0)
    """Length of the window to the left of the token that fires; it never leaves the context."""
    tokens_after: int = Field(12, ge=0)
    """Length of the window to its right."""
    logit_tokens: int = Field(12, ge=1)
    """How many of the most promoted, and of the most suppressed, tokens are kept."""
    frequent_tokens: int = Field(12, ge=1)
    """How many of the tokens that a feature fires on most often are kept."""
    neighbours: int = Field(8, ge=1)
    """How many of the features with the most similar decoder direction are kept."""
    firings_at_once: int = Field(2**26, ge=1)
    """Firings held in memory together, about 40 bytes each while they are sorted. A dictionary that fires more often is
    indexed in several passes over the store."""
