"""Recipes: what a verb can be told, as typed tables of a TOML file."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from lexiscope.core.config import Config
from lexiscope.harvest.dtypes import StoredDtype

MOST_BATCH = 2**16
"""Contexts in front of a model at once."""


class HarvestRecipe(Config):
    """Table ``[harvest]``."""

    model: str = "demo"
    """``demo``, a Hugging Face name, or a local folder."""
    corpus: str = "demo"
    """What `lexiscope.text.corpus.Corpus` reads."""
    split: Literal["all", "train", "heldout"] = "all"
    """Which documents to read. A store holds some of them out by itself: leave this at ``all`` to train on it."""
    text_column: str = "text"
    hooks: list[str] = Field(default_factory=list)
    """Hook points; none means the residual stream after the middle block."""
    tokens: int = Field(2_000_000, ge=1)
    context: int | None = Field(None, ge=2)
    """Tokens per context. None: 256, or as many as the model takes."""
    batch: int = Field(32, ge=1, le=MOST_BATCH)
    dtype: StoredDtype = "bfloat16"
    """How activations are stored."""
    model_dtype: Literal["float32", "bfloat16", "float16"] = "float32"
    """How the model computes."""
    seed: int = 0


class TrainRecipe(Config):
    """Table ``[train]``: where the activations are, and two tables of their owners."""

    hook: str | list[str] | None = None
    """Which hook point of the store to read; may be left out if it has one. Several for a crosscoder."""
    target: str | list[str] | None = None
    """Which to write, for a transcoder. None: the same."""
    sae: dict[str, Any] = Field(default_factory=lambda: {"architecture": "topk"})
    """Settings of the architecture named in it."""
    optimise: dict[str, Any] = Field(default_factory=dict)
    """Settings of the training run."""
    recovery: dict[str, Any] = Field(default_factory=dict)
    """Checkpoints, and what becomes of spikes."""
    grid: dict[str, Any] = Field(default_factory=dict)
    """A sweep: keys such as ``"sae.k"`` with a list of values each; every combination is trained."""
    members: list[dict[str, Any]] = Field(default_factory=list)
    """A sweep: tables ``{ sae = {…}, optimise = {…} }`` of what is different, one per autoencoder."""


class FinetuneRecipe(Config):
    """Table ``[finetune]``."""

    loss: Literal["kl", "cross_entropy"] = "kl"
    """What the model's predictions are compared with: its own without the autoencoder, or the text."""
    weight: float = Field(1.0, gt=0)
    """Of the model's loss against the reconstruction."""
    context: int = Field(128, ge=2)
    batch: int = Field(16, ge=1, le=MOST_BATCH)
    """Contexts per step."""
    tokens: int = Field(500_000, ge=1)
    """Tokens to learn from."""
    lr: float = Field(1e-4, gt=0)
    """Small: the dictionary is there already."""
    optimise: dict[str, Any] = Field(default_factory=dict)
    """Other settings of the training run."""
