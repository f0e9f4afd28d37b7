"""Affine: the change of units between activations as harvested and activations as trained on. D model width."""

from __future__ import annotations

from typing import NamedTuple, Self

import torch
from torch import Tensor


class Affine(NamedTuple):
    """z = (x - centre) · scale, the scale one positive number per dimension."""

    centre_D: Tensor
    scale_D: Tensor

    @classmethod
    def uniform(cls, centre_D: Tensor, scale: float) -> Self:
        """The same scale in every dimension."""
        return cls(centre_D, torch.full_like(centre_D, scale))

    def __call__(self, x_TD: Tensor) -> Tensor:
        return (x_TD - self.centre_D).mul_(self.scale_D)

    def undo(self, z_TD: Tensor) -> Tensor:
        """What z was made from."""
        return z_TD / self.scale_D + self.centre_D

    def inverse(self) -> Self:
        """The change of units that undoes this one."""
        return type(self)(-self.centre_D * self.scale_D, 1 / self.scale_D)

    @property
    def has_one_scale(self) -> bool:
        """Whether all dimensions share it."""
        return bool(self.scale_D.min() == self.scale_D.max())

    @property
    def scale(self) -> float:
        """The one scale, where all dimensions share it.

        Raises:
            ValueError: they do not.
        """
        if not self.has_one_scale:
            raise ValueError("the dimensions have different scales")
        return float(self.scale_D[0])
