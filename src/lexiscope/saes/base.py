"""SparseAutoencoder: what every architecture is, from training to the last chart.

An architecture is one file in this folder: its formula and source, a frozen ``Config``, one final class. One class
serves training and use. T tokens, D model width, F latents.
"""

from __future__ import annotations

import itertools
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import safetensors
import torch
from pydantic import BaseModel, Field, ValidationError
from torch import Tensor, nn

from lexiscope.core.artifact import Artifact
from lexiscope.core.codes import SparseCodes
from lexiscope.core.config import MOST_QUOTED, describe
from lexiscope.core.disk import FileEntry
from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import ArtifactError, InputError, one_line
from lexiscope.core.hookpoint import HookPoint
from lexiscope.saes import weights
from lexiscope.saes.affine import Affine
from lexiscope.saes.parts import columns, without_gradients
from lexiscope.saes.settings import SaeConfig
from lexiscope.saes.weights import WEIGHTS


class Batch(NamedTuple):
    """What is read and what is to be reconstructed; the same tensor for an autoencoder.

    Several hook points, for a crosscoder, stand side by side in D.
    """

    input_TD: Tensor
    target_TD: Tensor

    @classmethod
    def same(cls, x_TD: Tensor) -> Self:
        """An autoencoder's."""
        return cls(x_TD, x_TD)


@dataclass(frozen=True)
class TrainingState:
    """What a loss may know about the run."""

    dead_F: Tensor
    """bool [F]: latents that have not fired for ``dead_after_tokens``."""
    sparsity_scale: float = 1.0
    """Factor of the sparsity penalty: its warm-up, or what a controller of L0 asks for."""
    progress: float = 1.0
    """Share of the run that is done, 0 to 1."""
    step: int = 0
    """Steps that are done."""
    quiet_F: Tensor | None = None
    """bool [F]: latents that have been silent for a while and may be on their way to be dead. None: the dead ones."""


class SparseAutoencoder(nn.Module, ABC):
    """A dictionary of directions and a rule that says which of them are in an activation.

    ``train()`` and ``eval()`` mode differ where an activation function does (a threshold that stands in for a choice
    over the whole batch); `create` and `load` give it in ``eval()`` mode.

    Attributes:
        config: the settings it was made with.
        width: D of what it reads.
        output_width: D of what it writes.
        num_latents: F.
        reads: where its activations come from, once known.
        writes: where its reconstructions belong.
        artifact: the folder it was loaded from, if it was.
    """

    config_type: ClassVar[type[SaeConfig]]

    def __init__(self, config: SaeConfig, width: int, output_width: int | None = None) -> None:
        super().__init__()
        self.config = config
        self.width = width
        self.output_width = width if output_width is None else output_width
        self.num_latents = config.latents(width)
        self.reads: tuple[HookPoint, ...] = ()
        self.writes: tuple[HookPoint, ...] = ()
        self.artifact: Artifact | None = None

    @classmethod
    @abstractmethod
    def from_sample(cls, config: Any, sample: Batch, *, seed: int = 0) -> Self:
        """An autoencoder before its first training step, started from a sample of its activations.

        Baselines are complete after this.
        """

    @abstractmethod
    def encode(self, x_TD: Tensor) -> SparseCodes:
        """Which latents are in each activation, and how much."""

    @abstractmethod
    def decode(self, codes: SparseCodes) -> Tensor:
        """What codes stand for, float [T, D]."""

    @abstractmethod
    def losses(self, batch: Batch, codes: SparseCodes, output_TD: Tensor, state: TrainingState) -> dict[str, Tensor]:
        """Named terms whose sum is minimised. Pure: calling it changes nothing.

        ``codes`` and ``output_TD`` are what `encode` and `reconstruct` gave for the batch.
        """

    @abstractmethod
    def absorb(self, source: Affine, target: Affine) -> None:
        """Take over the units of training: afterwards it reads and writes activations as harvested.

        What it gave for ``source(x)`` it then gives for x, undone by ``target``. The two are the same for an
        autoencoder. Codes come out in the units of the activations, where there is one scale.
        """

    @property
    @abstractmethod
    def directions_FD(self) -> Tensor:
        """What one unit of each latent adds to the output."""

    @property
    def hook(self) -> HookPoint | None:
        """The hook point it reads, where there is one."""
        return self.reads[0] if len(self.reads) == 1 else None

    @hook.setter
    def hook(self, hook: HookPoint | None) -> None:
        self.reads = self.writes = () if hook is None else (hook,)

    @property
    def device(self) -> torch.device:
        """Where its weights are."""
        return next(itertools.chain(self.parameters(), self.buffers())).device

    @property
    def unit_rows(self) -> tuple[nn.Parameter, ...]:
        """Weights whose rows the optimizer keeps at length 1."""
        return ()

    def reconstruct(self, x_TD: Tensor, codes: SparseCodes) -> Tensor:  # noqa: ARG002
        """The output for an input and its codes: `decode`, and whatever goes around the codes."""
        return self.decode(codes)

    def before_step(self, progress: float) -> None:
        """Called before every step of a training, with the share of it that is done: 0 at first, below 1 at last."""

    def after_step(self, codes: SparseCodes) -> None:
        """Called once after every optimizer step with the codes of its batch: running numbers move here only."""

    def start(self, sample_TD: Tensor, l0: float | None = None) -> None:
        """Set the thresholds or biases of first weights on a sample: mean L0 becomes ``l0``.

        None: the L0 that the settings promise, or some guess. Architectures without thresholds have nothing to set.
        """

    def steer(self, excess: float) -> None:
        """Called once after every optimizer step of a run that steers L0, with log(L0 / what it should be by now)."""

    def calibrate(self, x_TD: Tensor, l0: float | None = None) -> None:
        """Set what stands in for the training's choice over a batch, on held-out activations: mean L0 becomes ``l0``.

        None: the L0 that the settings promise. Architectures that choose token by token have nothing to set.
        """

    def encoder(self) -> Callable[[Tensor], SparseCodes]:
        """A function that gives the latents that fire, as `encode` does: for a few tokens at a time, many times over.

        It takes these weights as they are now, and holds no gradients.
        """

        @without_gradients
        def encode(x_TD: Tensor) -> SparseCodes:
            return self.encode(x_TD).fired()

        return encode

    def reader(self, latents: Sequence[int]) -> Callable[[Tensor], Tensor]:
        """A function from activations [T, D] to those of some latents alone, [T, J], as `encode` gives them.

        It takes these weights as they are now, and holds no gradients.
        """

        @without_gradients
        def read(x_TD: Tensor) -> Tensor:
            return columns(self.encode(x_TD), latents)

        return read

    def forward(self, x_TD: Tensor) -> Tensor:
        return self.reconstruct(x_TD, self.encode(x_TD))

    def settings(self) -> dict[str, Any]:
        """What a manifest says about it, besides the training: enough to build it again."""
        return {
            "sae": self.config.model_dump(mode="json"),
            "width": self.width,
            "output_width": self.output_width,
            "num_latents": self.num_latents,
            "hook": None if self.hook is None else str(self.hook),
            "reads": [str(hook) for hook in self.reads],
            "writes": [str(hook) for hook in self.writes],
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
        if hook is not None:
            self.hook = hook
        with write_artifact(out, "sae", config=self.settings(), made_from=made_from, sources=sources) as draft:
            draft.notes.update(notes or {})
            draft.known[WEIGHTS] = self.write_weights(draft.path)

    def write_weights(self, folder: Path, dtype: torch.dtype = torch.float32) -> FileEntry:
        """Write what `read_weights` reads: matrices in ``dtype``, everything with one number per latent as it is.

        Returns size and hash of the file.
        """
        return weights.write(self.state_dict(), folder, dtype)

    @classmethod
    def read_weights(cls, settings: Mapping[str, Any], folder: Path) -> Self:
        """Build it again from `settings` and a folder that `write_weights` filled.

        Raises:
            ArtifactError: the settings or the weights are not what this architecture has.
        """
        where = f"{folder / WEIGHTS} and its settings"
        try:
            said = _Saved.model_validate(settings)
            config = cls.config_type.model_validate(said.sae)
            with torch.device("meta"):  # whatever sizes the settings claim, memory is taken for what is in the file
                claimed = cls(config, said.width, said.output_width).state_dict()
            weights.check(claimed, folder / WEIGHTS)
            sae = cls(config, said.width, said.output_width)
            weights.fill(sae.state_dict(), folder / WEIGHTS)
            sae.reads = tuple(HookPoint.parse(hook) for hook in said.reads)
            sae.writes = tuple(HookPoint.parse(hook) for hook in said.writes)
        except ValidationError as error:
            raise ArtifactError(f"{where} do not make a {cls.__name__} ({describe(error)}); train it again") from None
        except (InputError, RuntimeError, OSError, safetensors.SafetensorError) as error:
            why = one_line(str(error), MOST_QUOTED)
            raise ArtifactError(f"{where} do not make a {cls.__name__} ({why}); train it again") from None
        return sae.eval()


class _Saved(BaseModel):
    """What of `SparseAutoencoder.settings` is needed to build it again."""

    sae: dict[str, Any]
    width: int = Field(ge=1, lt=2**31)
    output_width: int = Field(ge=1, lt=2**31)
    reads: list[str]
    writes: list[str]
