"""Settings that architectures share; each adds its own in its file."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

from pydantic import Field, model_validator
from torch import Tensor

from lexiscope.core.config import Config
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.saes.initialise import Init, initial_directions

MOST_LATENTS = 2**31 - 1
"""Kernels number latents in 32 bits."""


class SaeConfig(Config):
    """Settings that every architecture has. ``architecture`` is the name of its file."""

    architecture: str

    def latents(self, width: int) -> int:
        """F for this model width."""
        raise NotImplementedError

    @property
    def remedies(self) -> tuple[str, ...]:
        """Terms of the training that keep latents alive, by name: what a run uses unless told otherwise."""
        return ()

    @property
    def fixed_l0(self) -> float | None:
        """L0 that the architecture itself guarantees in training. None: a penalty decides."""
        return None

    @property
    def bears_high_rates(self) -> bool:
        """Whether its latents stay alive at learning rates above what is usual, in narrow models."""
        return False

    @property
    def needs_target_l0(self) -> bool:
        """Whether its penalty has no coefficient of its own, so that a run has to steer L0."""
        return False

    def for_sites(self, reads: Sequence[HookPoint], writes: Sequence[HookPoint], widths: Sequence[int]) -> Self:  # noqa: ARG002
        """These settings, completed for what is to be read and written. ``widths``: D of each hook point read.

        Raises:
            InputError: this architecture does not read and write so; the message names one that does.
        """
        if len(reads) > 1 or len(writes) > 1:
            raise InputError(
                f"{self.architecture} reads and writes one hook point, not {', '.join(map(str, reads))}; "
                "architecture crosscoder takes several"
            )
        if tuple(reads) != tuple(writes):
            raise InputError(
                f"{self.architecture} is an autoencoder, it writes what it reads; architecture transcoder goes from "
                f"{reads[0]} to {writes[0]}"
            )
        return self


class SizedConfig(SaeConfig):
    """Settings of an architecture whose number of latents is free. Give one of the two; neither means expansion 16."""

    expansion: float | None = Field(None, gt=0)
    """Latents per dimension of the activations."""
    num_latents: int | None = Field(None, ge=1, le=MOST_LATENTS)
    """F itself."""
    init: Init = "balanced"
    """Directions before the first step: see `lexiscope.saes.initialise`."""
    init_variance: float | None = Field(None, gt=0, le=1)
    """Share of the variance that the active subspace holds. None: 0.99."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.expansion is not None and self.num_latents is not None:
            raise ValueError("give expansion or num_latents, not both")
        if self.init_variance is not None and self.init != "subspace":
            raise ValueError(f"init_variance is for init = subspace; init is {self.init}")
        return self

    def latents(self, width: int) -> int:
        if self.num_latents is not None:
            return self.num_latents
        expansion = 16 if self.expansion is None else self.expansion
        if width * expansion > MOST_LATENTS:
            raise InputError(f"expansion {expansion:g} of {width:,} dimensions is more than {MOST_LATENTS:,} latents")
        return max(1, round(width * expansion))

    def initial_directions(self, sample_TD: Tensor, num_latents: int, *, seed: int = 0) -> Tensor:
        """Unit rows to start with, float32 [F, D], for activations like these."""
        return initial_directions(self.init, sample_TD, num_latents, variance_share=self.init_variance, seed=seed)
