"""Activation: which latents of a linear encoder fire, and what firing costs.

An architecture file that has a class ``Activation`` offers it to every architecture with a linear encoder: a transcoder
or a Matryoshka autoencoder takes any of them by the file's name. T tokens, D model width, F latents.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor, nn

from lexiscope.core.codes import SparseCodes
from lexiscope.core.config import Config
from lexiscope.saes.parts import without_gradients

if TYPE_CHECKING:
    from lexiscope.saes.base import Batch, TrainingState
    from lexiscope.saes.dictionary import LinearDictionary


class Options(Config):
    """Settings of an activation function."""

    @property
    def remedies(self) -> tuple[str, ...]:
        """Terms of the training that keep its latents alive, by name: what a run uses unless told otherwise."""
        return ()

    @property
    def fixed_l0(self) -> float | None:
        """L0 that the activation itself guarantees in training. None: a penalty decides."""
        return None

    @property
    def bears_high_rates(self) -> bool:
        """Whether its latents stay alive at learning rates above what is usual, in narrow models."""
        return False

    @property
    def needs_target_l0(self) -> bool:
        """Whether its penalty has no coefficient of its own, so that a run has to steer L0."""
        return False


class Activation(nn.Module, ABC):
    """Turns scores W_enc (x - centre) + b_enc into codes. May own weights, one per latent."""

    options_type: ClassVar[type[Options]]

    def __init__(self, options: Options, num_latents: int) -> None:
        super().__init__()
        self.options = options
        self.num_latents = num_latents

    @abstractmethod
    def encode(self, x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor) -> SparseCodes:
        """The latents that fire. In training mode entries of value 0 may be among them, if a gradient needs them."""

    def alone(self, latents: Sequence[int]) -> Callable[[Tensor, Tensor], Tensor] | None:  # noqa: ARG002
        """From scores of some latents [T, J] and their biases [J] to their codes, dense and without gradients.

        None: whether a latent fires depends on the others.
        """
        return None

    def reader(
        self, latents: Sequence[int], centre_D: Tensor, W_FD: Tensor, b_F: Tensor
    ) -> Callable[[Tensor], Tensor] | None:
        """A function from activations [T, D] to codes of some latents [T, J], dense and without gradients.

        None: there is no shorter way than to `encode` and look.
        """
        if (fires := self.alone(latents)) is None:
            return None
        chosen = list(latents)
        W_JD, b_J = W_FD.detach()[chosen], b_F.detach()[chosen]
        centre_D = centre_D.detach()

        @without_gradients
        def read(x_TD: Tensor) -> Tensor:
            return fires(torch.addmm(b_J, x_TD - centre_D, W_JD.T), b_J)

        return read

    def penalties(
        self,
        dictionary: LinearDictionary,  # noqa: ARG002
        batch: Batch,  # noqa: ARG002
        codes: SparseCodes,  # noqa: ARG002
        output_TD: Tensor,  # noqa: ARG002
        state: TrainingState,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        """Named terms beside the reconstruction; the one that L0 answers to is called "sparsity". Pure."""
        return {}

    @property
    def unit_rows(self) -> bool:
        """Whether decoder rows must be held at length 1, because codes could otherwise shrink into long rows."""
        return True

    @property
    def fixed_l0(self) -> float | None:
        """L0 that the activation itself guarantees in training. None: a penalty decides."""
        return self.options.fixed_l0

    def before_step(self, progress: float) -> None:
        """Called before every step of a training, with the share of it that is done."""

    def after_step(self, codes: SparseCodes) -> None:
        """Called once after every optimizer step with the codes of its batch."""

    def steer(self, excess: float) -> None:
        """Help a penalty to hold L0; ``excess`` is log(L0 / what it should be by now)."""

    def calibrate(self, x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor, l0: float) -> None:
        """Set thresholds so that the mean L0 on these activations is ``l0``."""

    def start(self, x_TD: Tensor, centre_D: Tensor, W_FD: Tensor, b_F: Tensor, l0: float) -> None:
        """The same before the first step, when biases may move too."""
        self.calibrate(x_TD, centre_D, W_FD, b_F, l0)

    def absorb_centre(self, by_centre_F: Tensor) -> None:
        """Take over that the encoder no longer sees centred inputs: W_enc x is this much larger, b_enc smaller."""

    def absorb(self, scale: float) -> None:
        """Take over a change of units: scores become 1 / scale as large."""
