"""How much the index keeps about each feature."""

from __future__ import annotations

from pydantic import Field

from lexiscope.core.config import Config


class IndexConfig(Config):
    """Sizes of the index. All firings are kept, whatever these are."""

    activation_bits: int = Field(17, ge=8, le=24)
    """Significant bits of an activation that are kept. 17 are off by at most 8 millionths of it, about what the order
    of a sum in float32 changes; 24 keep it as it is and take almost a byte more per firing."""
    logit_tokens: int = Field(10, ge=1)
    """How many of the most promoted, and of the most suppressed, tokens are kept."""
    frequent_tokens: int = Field(6, ge=1)
    """How many of the tokens that a feature fires on most often are kept for lists and search."""
    neighbours: int = Field(8, ge=1)
    """How many of the features with the most similar decoder direction are kept."""
    sampled_codes: int = Field(2**24, ge=0)
    """Codes kept for what fires together, 4 bytes each, and at most a quarter of all where these are more than 2^22."""
    firings_at_once: int = Field(2**24, ge=1, lt=2**32)
    """Firings held in memory together, about 60 bytes each while they are sorted. Does not show in the result."""
