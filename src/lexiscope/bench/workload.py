"""What is trained on while the clock runs: sizes, and activations from a seeded sparse dictionary.

This file and the others that a worker process reads import torch and the standard library only, because a worker may
run in the interpreter of another library. T tokens, D model width, F latents, K active, G true directions.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import torch
from torch import Tensor

MEAN_ACTIVE = 20.0
"""True directions in a token, on average."""
RING = 4
"""Different batches; they are used in turn."""


@dataclass(frozen=True)
class Workload:
    """The sizes of a step."""

    name: str
    width: int
    num_latents: int
    k: int
    tokens: int
    """Activations per step."""
    dead_fraction: float = 0.0
    """Share of the latents that are declared dead before every step, so that the remedy for dead latents works."""
    device: str = "cpu"

    def miniature(self) -> Workload:
        """The same step in small, to load code and warm up."""
        return dataclasses.replace(self, width=64, num_latents=256, k=min(self.k, 8), tokens=128)

    @property
    def prefixes(self) -> list[int]:
        """Widths of the nested dictionaries of a Matryoshka autoencoder: every one half of the next."""
        return [self.num_latents >> halvings for halvings in (4, 3, 2, 1, 0)]

    def dead_latents(self) -> Tensor:
        """Which latents are declared dead: evenly spread, the same in every library."""
        count = round(self.dead_fraction * self.num_latents)
        return (torch.arange(count) * self.num_latents // max(count, 1)).to(self.device)

    def batches(self, seed: int = 0) -> list[Tensor]:
        """`RING` batches [T, D] of the same dictionary.

        Direction g of 2 · D unit directions fires with a probability falling as 1 / sqrt(g + 1), `MEAN_ACTIVE` of them
        in a mean token, with a strength of 1 + |N(0, 1)|; a little noise is added and the mean squared norm is D.
        """
        rng = torch.Generator().manual_seed(seed)
        num_directions = 2 * self.width
        directions_GD = torch.randn(num_directions, self.width, generator=rng)
        directions_GD /= directions_GD.norm(dim=1, keepdim=True)
        rate_G = torch.arange(1, num_directions + 1).rsqrt()
        rate_G = (MEAN_ACTIVE * rate_G / rate_G.sum()).clamp(max=0.5)
        return [self._batch(directions_GD, rate_G, rng).to(self.device) for _ in range(RING)]

    def _batch(self, directions_GD: Tensor, rate_G: Tensor, rng: torch.Generator) -> Tensor:
        shape = (self.tokens, len(rate_G))
        fires = torch.rand(shape, generator=rng) < rate_G
        strength = 1 + torch.randn(shape, generator=rng).abs()
        x_TD = (fires * strength) @ directions_GD + 0.01 * torch.randn(self.tokens, self.width, generator=rng)
        return x_TD * math.sqrt(self.width / float(x_TD.square().sum(1).mean()))


WORKLOADS = {
    "A": Workload("A", width=512, num_latents=8192, k=32, tokens=4096),
    "B": Workload("B", width=768, num_latents=24576, k=32, tokens=2048),
    "A-dead": Workload("A-dead", width=512, num_latents=8192, k=32, tokens=4096, dead_fraction=0.1),
    "quick": Workload("quick", width=256, num_latents=4096, k=32, tokens=1024),
}
ARCHITECTURES = ["topk", "batch_topk", "jumprelu", "relu_l1", "gated", "matryoshka"]
