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
import torch
from pydantic import BaseModel, Field, ValidationError, model_validator
from torch import Tensor, nn

from lexiscope.core.artifact import Artifact
from lexiscope.core.codes import SparseCodes
from lexiscope.core.config import MOST_QUOTED, Config, describe
from lexiscope.core.disk import FileEntry
from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import ArtifactError, InputError, one_line
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.tensors import write_tensors
from lexiscope.saes.affine import Affine
from lexiscope.saes.initialise import Init, initial_directions

WEIGHTS = "sae.safetensors"
FLOATS = ("F16", "BF16", "F32", "F64")
"""Number formats of weights, as safetensors names them."""
MOST_LATENTS = 2**31 - 1
"""Kernels number latents in 32 bits."""


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
        tensors = {
            name: tensor.to(dtype) if tensor.ndim > 1 and tensor.is_floating_point() else tensor
            for name, tensor in self.state_dict().items()
        }
        return write_tensors(folder / WEIGHTS, tensors)

    @classmethod
    def read_weights(cls, settings: Mapping[str, Any], folder: Path) -> Self:
        """Build it again from `settings` and a folder that `write_weights` filled.

        Raises:
            ArtifactError: the settings or the weights are not what this architecture has.
        """
        where = f"{folder / WEIGHTS} and its settings"
        try:
            said = _Saved.model_validate(settings)
            config = cls.config_type.read(said.sae, where)
            with torch.device(
                "meta"
            ):  # whatever sizes the settings claim, memory is taken only for what is in the file
                _check(cls(config, said.width, said.output_width).state_dict(), folder / WEIGHTS)
            sae = cls(config, said.width, said.output_width)
            _fill(sae.state_dict(), folder / WEIGHTS)
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


def _check(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Raises RuntimeError: the file has other tensors."""
    with safetensors.safe_open(file, framework="pt") as saved:
        found = {name: saved.get_slice(name) for name in saved.keys()}  # noqa: SIM118  it is no mapping
        shapes = {name: (tuple(part.get_shape()), part.get_dtype()) for name, part in found.items()}
    if different := tensors.keys() ^ shapes.keys():
        raise RuntimeError(f"different tensors: {', '.join(sorted(different))}")
    for name, (shape, dtype) in shapes.items():
        if shape != tensors[name].shape:
            raise RuntimeError(f"{name} is {list(shape)}, not {list(tensors[name].shape)}")
        if dtype not in FLOATS:
            raise RuntimeError(f"{name} is {dtype}, not one of {', '.join(FLOATS)}")


def _fill(tensors: Mapping[str, Tensor], file: Path) -> None:
    """Copy a file's tensors, opening it for each: what has been read of an open file counts as memory.

    Raises:
        RuntimeError: one of them is not finite.
    """
    for name, tensor in tensors.items():
        with safetensors.safe_open(file, framework="pt") as saved:
            tensor.copy_(saved.get_tensor(name))
        if not bool(tensor.isfinite().all()):
            raise RuntimeError(f"{name} is not finite")
