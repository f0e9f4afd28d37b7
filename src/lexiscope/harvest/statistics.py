"""What the activations at one hook point look like: offset, spread, norms and outlier dimensions.

T tokens, D model width. All sums are float64 over the stored values, and each figure is one division at the end.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from lexiscope.core.disk import FileEntry
from lexiscope.core.errors import ArtifactError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.tensors import write_tensors

OUTLIER_FACTOR = 6.0
"""A dimension is an outlier if its root mean square exceeds this many times the median over dimensions."""

_CHUNK_TOKENS = 1024  # a chunk in float64 stays in cache: twice as fast as one pass over a whole batch


@dataclass(frozen=True)
class SiteStatistics:
    """Statistics of one hook point.

    Attributes:
        tokens: rows counted.
        mean_D: mean activation, float64.
        std_D: standard deviation of every dimension (divided by T), float64.
        mean_norm: mean of ‖x‖.
        max_norm: largest ‖x‖.
    """

    tokens: int
    mean_D: Tensor
    std_D: Tensor
    mean_norm: float
    max_norm: float

    @property
    def rms_norm(self) -> float:
        """Root of the mean of ‖x‖²."""
        return float(self._rms_D.square().sum().sqrt())

    @property
    def offset_ratio(self) -> float:
        """‖mean_D‖ / ‖std_D‖, from 0.

        Far above 1, an autoencoder that does not subtract the mean starts with many dead latents.
        """
        spread = float(self.std_D.norm())
        return float(self.mean_D.norm()) / spread if spread else float("inf")

    @property
    def outlier_dims(self) -> list[int]:
        """Dimensions whose root mean square exceeds `OUTLIER_FACTOR` times the median one, largest first."""
        limit = OUTLIER_FACTOR * torch.quantile(self._rms_D, 0.5)
        order = self._rms_D.argsort(descending=True)
        return [dim for dim in order.tolist() if self._rms_D[dim] > limit]

    @property
    def outlier_variance_share(self) -> float:
        """Share of the total variance that lies in the outlier dimensions, 0 to 1."""
        variance_D = self.std_D.square()
        total = float(variance_D.sum())
        return float(variance_D[self.outlier_dims].sum()) / total if total else 0.0

    def summary(self) -> dict[str, Any]:
        """The figures for a manifest; ``None`` where a figure is infinite."""
        ratio = self.offset_ratio
        return {
            "tokens": self.tokens,
            "mean_norm": self.mean_norm,
            "rms_norm": self.rms_norm,
            "max_norm": self.max_norm,
            "offset_ratio": None if ratio == float("inf") else ratio,
            "outlier_dims": self.outlier_dims,
            "outlier_variance_share": self.outlier_variance_share,
        }

    @property
    def _rms_D(self) -> Tensor:
        return (self.mean_D.square() + self.std_D.square()).sqrt()


class RunningStatistics:
    """Sums over rows seen so far."""

    def __init__(self, width: int) -> None:
        self._tokens = 0
        self._sum_D = torch.zeros(width, dtype=torch.float64)
        self._square_sum_D = torch.zeros(width, dtype=torch.float64)
        self._norm_sum = 0.0
        self._max_norm = 0.0

    def add(self, x_TD: Tensor) -> None:
        for start in range(0, len(x_TD), _CHUNK_TOKENS):
            wide_TD = x_TD[start : start + _CHUNK_TOKENS].to(torch.float64, copy=True)
            ones_T = wide_TD.new_ones(len(wide_TD))
            # Sums as products with ones: a matrix-vector product is twice as fast as torch.sum over rows.
            self._sum_D += (ones_T @ wide_TD).cpu()
            wide_TD.square_()
            self._square_sum_D += (ones_T @ wide_TD).cpu()
            norms_T = wide_TD.sum(1).sqrt_()
            self._norm_sum += float(norms_T.sum())
            self._max_norm = max(self._max_norm, float(norms_T.max()))
        self._tokens += len(x_TD)

    def state(self) -> dict[str, Tensor]:
        """For `restore`."""
        norms = torch.tensor([self._tokens, self._norm_sum, self._max_norm], dtype=torch.float64)
        return {"sum_D": self._sum_D, "square_sum_D": self._square_sum_D, "norms": norms}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on after a `state`."""
        self._sum_D, self._square_sum_D = state["sum_D"], state["square_sum_D"]
        tokens, self._norm_sum, self._max_norm = state["norms"].tolist()
        self._tokens = int(tokens)

    def finish(self) -> SiteStatistics:
        """At least one row must have been added."""
        mean_D = self._sum_D / self._tokens
        variance_D = (self._square_sum_D / self._tokens - mean_D.square()).clamp_min(0)
        return SiteStatistics(self._tokens, mean_D, variance_D.sqrt(), self._norm_sum / self._tokens, self._max_norm)


def save_statistics(path: Path, statistics: Mapping[HookPoint, SiteStatistics]) -> FileEntry:
    """Returns size and hash of the file."""
    tensors = {}
    for hook, site in statistics.items():
        tensors[f"{hook}/mean"] = site.mean_D
        tensors[f"{hook}/std"] = site.std_D
        tensors[f"{hook}/norms"] = torch.tensor([site.tokens, site.mean_norm, site.max_norm], dtype=torch.float64)
    return write_tensors(path, tensors)


def load_statistics(path: Path, hook: HookPoint) -> SiteStatistics:
    """Raises ArtifactError: the file is damaged or lacks the hook point."""
    try:
        tensors = load_file(path)
        mean_D, std_D, norms = (tensors[f"{hook}/{name}"] for name in ("mean", "std", "norms"))
        parts = (mean_D, std_D, norms)
        if any(part.ndim != 1 or part.dtype != torch.float64 or not part.isfinite().all() for part in parts):
            raise ValueError("other tensors")  # noqa: TRY301
        if len(mean_D) != len(std_D):
            raise ValueError("two widths")  # noqa: TRY301
        tokens, mean_norm, max_norm = norms.tolist()
        return SiteStatistics(int(tokens), mean_D, std_D, mean_norm, max_norm)
    except (OSError, ValueError, KeyError, safetensors.SafetensorError):
        raise ArtifactError(f"{path} is damaged: no statistics of {hook} in it; harvest again") from None
