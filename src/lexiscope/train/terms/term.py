"""Term: the interface of what a training adds. T tokens, D model width, F latents."""

from __future__ import annotations

from abc import ABC
from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.config import Config
from lexiscope.core.errors import InputError
from lexiscope.saes import Batch, SparseAutoencoder, TrainingState
from lexiscope.saes.dictionary import LinearDictionary
from lexiscope.train.adam import Adam
from lexiscope.train.dead import DeadLatents


class TermConfig(Config):
    """Settings of a term; its file's name is its name."""


@dataclass(frozen=True)
class AfterStep:
    """What a term may use once the weights have moved."""

    batch: Batch
    codes: SparseCodes
    output_TD: Tensor
    optimizer: Adam
    dead: DeadLatents
    step: int
    steps: int
    """Steps of the whole run."""


class Term(ABC):
    """Adds losses, changes weights after a step, or both.

    Raises:
        InputError: it makes no sense for this autoencoder.
    """

    config_type: ClassVar[type[TermConfig]]

    def __init__(self, config: TermConfig, sae: SparseAutoencoder) -> None:
        self.config = config
        self.sae = sae

    def losses(
        self,
        batch: Batch,  # noqa: ARG002
        codes: SparseCodes,  # noqa: ARG002
        output_TD: Tensor,  # noqa: ARG002
        state: TrainingState,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        """Named terms of the loss. They change no weights and no gradients."""
        return {}

    def add_gradients(self) -> None:  # noqa: B027  not every term has some
        """Called after the backward pass: adds to the gradients of the weights what is not in the graph of `losses`."""

    def after_step(self, done: AfterStep) -> None:  # noqa: B027  not every term has one
        """Called once after every optimizer step."""

    def remembers(self, step: int, steps: int, batch_tokens: int) -> int:  # noqa: ARG002
        """How many of the last batches it holds once ``step`` of all ``steps`` are done. A run that goes on from a
        checkpoint gives them to `see_again`.
        """
        return 0

    def see_again(self, batch: Batch) -> None:  # noqa: B027  not every term remembers
        """A batch from before the checkpoint, the oldest first."""


def linear(sae: SparseAutoencoder, term: str) -> LinearDictionary:
    """The autoencoder, for a term that needs an encoder and a decoder with one row per latent.

    Raises:
        InputError: it has no such weights.
    """
    if not isinstance(sae, LinearDictionary):
        raise InputError(
            f"{term} needs an encoder row for every latent, which {sae.config.architecture} has not; leave it out"
        )
    return sae
