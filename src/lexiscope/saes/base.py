"""SparseAutoencoder: what every architecture is, from training to the last chart.

An architecture is one file in this folder: its formula and source, a frozen ``Config``, one final class. One class
serves training and use. T tokens, D model width, F latents.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import safetensors
import safetensors.torch
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from lexiscope.core.artifact import Artifact, write_artifact
from lexiscope.core.codes import SparseCodes
from lexiscope.core.config import Config
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.hookpoint import HookPoint

WEIGHTS = "sae.safetensors"


class Batch(NamedTuple):
    """What is read and what is to be reconstructed; the same tensor for an autoencoder."""

    input_TD: Tensor
    target_TD: Tensor


@dataclass(frozen=True)
class TrainingState:
    """What a loss may know about the run."""

    dead_F: Tensor
    """bool [F]: latents that have not fired for ``dead_after_tokens``."""
    sparsity_scale: float = 1.0
    """Factor of the sparsity penalty, 0 to 1: its warm-up."""


class SaeConfig(Config):
    """Settings that every architecture has. ``architecture`` is the name of its file."""

    architecture: str

    def latents(self, width: int) -> int:
        """F for this model width."""
        raise NotImplementedError


class SizedConfig(SaeConfig):
    """Settings of an architecture whose number of latents is free. Give one of the two; neither means expansion 16."""

    expansion: float | None = Field(None, gt=0)
    """Latents per dimension of the activations."""
    num_latents: int | None = Field(None, ge=1)
    """F itself."""

    @model_validator(mode="after")
    def _one_of_two(self) -> Self:
        if self.expansion is not None and self.num_latents is not None:
            raise ValueError("give expansion or num_latents, not both")
        return self

    def latents(self, width: int) -> int:
        if self.num_latents is not None:
            return self.num_latents
        return max(1, round(width * (16 if self.expansion is None else self.expansion)))


class SparseAutoencoder(nn.Module, ABC):
    """A dictionary of directions and a rule that says which of them are in an activation.

    Attributes:
        config: the settings it was made with.
        width: D.
        num_latents: F.
        hook: where its activations come from, once known.
        artifact: the folder it was loaded from, if it was.
    """

    config_type: ClassVar[type[SaeConfig]]

    def __init__(self, config: SaeConfig, width: int) -> None:
        super().__init__()
        self.config = config
        self.width = width
        self.num_latents = config.latents(width)
        self.hook: HookPoint | None = None
        self.artifact: Artifact | None = None

    @classmethod
    @abstractmethod
    def from_sample(cls, config: Any, sample_TD: Tensor, *, seed: int = 0) -> Self:
        """An autoencoder before its first training step, started from a sample of its activations.

        Baselines are complete after this.
        """

    @abstractmethod
    def encode(self, x_TD: Tensor) -> SparseCodes:
        """Which latents are in each activation, and how much."""

    @abstractmethod
    def decode(self, codes: SparseCodes) -> Tensor:
        """The activations that codes stand for, float [T, D]."""

    @abstractmethod
    def losses(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, state: TrainingState) -> dict[str, Tensor]:
        """Named terms whose sum is minimised. Pure: calling it changes nothing.

        ``codes`` and ``output_TD`` are what `encode` and `decode` gave for the batch.
        """

    @abstractmethod
    def absorb(self, centre_D: Tensor, scale: float) -> None:
        """Take over a normalisation: afterwards x gives what (x - centre) · scale gave, in the units of x."""

    @property
    @abstractmethod
    def directions_FD(self) -> Tensor:
        """What one unit of each latent adds to the output."""

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    def after_step(self) -> None:
        """Called once after every optimizer step: put the weights back where they must be."""

    def forward(self, x_TD: Tensor) -> Tensor:
        return self.decode(self.encode(x_TD))

    def settings(self) -> dict[str, Any]:
        """What a manifest says about it, besides the training: enough to build it again."""
        return {
            "sae": self.config.model_dump(mode="json"),
            "width": self.width,
            "num_latents": self.num_latents,
            "hook": None if self.hook is None else str(self.hook),
        }

    def save(
        self,
        out: Path | str,
        *,
        hook: HookPoint | None = None,
        made_from: Sequence[Artifact] = (),
        sources: Mapping[str, Any] | None = None,
        notes: Mapping[str, Any] | None = None,
    ) -> None:
        """Write an artifact of kind "sae".

        Raises:
            InputError: ``out`` is taken or can't be written.
        """
        self.hook = hook or self.hook
        with write_artifact(out, "sae", config=self.settings(), made_from=made_from, sources=sources) as draft:
            draft.notes.update(notes or {})
            self.write_weights(draft.path)

    def write_weights(self, folder: Path) -> None:
        tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in self.state_dict().items()}
        safetensors.torch.save_file(tensors, folder / WEIGHTS)

    @classmethod
    def read_weights(cls, settings: Mapping[str, Any], folder: Path) -> Self:
        """Build it again from `settings` and a folder that `write_weights` filled.

        Raises:
            ArtifactError: the settings or the weights are not what this architecture has.
        """
        where = f"{folder / WEIGHTS} and its settings"
        try:
            sae = cls(cls.config_type.read(settings["sae"], where), settings["width"])
            sae.load_state_dict(safetensors.torch.load_file(folder / WEIGHTS))
        except (InputError, KeyError, TypeError, RuntimeError, OSError, safetensors.SafetensorError) as error:
            raise ArtifactError(f"{where} do not make a {cls.__name__} ({error}); train it again") from None
        sae.hook = None if settings.get("hook") is None else HookPoint.parse(settings["hook"])
        return sae
