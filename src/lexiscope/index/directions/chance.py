"""Chance: what directions without meaning give, without which no cosine between two directions says anything.

The cosine c of two directions drawn uniformly from the sphere in D dimensions has a density ∝ (1 - c²)^((D - 3) / 2).
The largest of n of them stays below c with a chance of (1 - P(cosine ≥ c))^n.
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

SHARE = 0.05
"""Of dictionaries without meaning that still exceed a limit of chance."""
_STEPS = 1 << 16
_LEAST_WIDTH = 4
_SHUFFLES = 64


@lru_cache(maxsize=64)
def largest_by_chance(num_cosines: float, width: int, share: float = SHARE) -> float:
    """The cosine that the largest of so many random ones exceeds with a chance of ``share``."""
    if width < _LEAST_WIDTH:
        return 1.0
    cosines = np.arange(_STEPS) / _STEPS
    density = np.exp((width - 3) / 2 * np.log1p(-(cosines**2)))
    above = density[::-1].cumsum()[::-1]
    above /= 2 * above[0]  # a half of all cosines is positive
    single = -math.expm1(math.log1p(-share) / max(num_cosines, 1))
    return float(cosines[min(int(np.searchsorted(-above, -single)), _STEPS - 1)])


def closest_pair_by_chance(num_directions: int, width: int) -> float:
    """The cosine that no two of so many random directions reach, but for a chance of 5 %."""
    return largest_by_chance(num_directions * (num_directions - 1) / 2, width)


def shuffled(direction_D: Tensor, *, seed: int = 0, number: int = _SHUFFLES) -> Tensor:
    """A direction with its coordinates in other orders, [number, D]: as long and as spread out, but of no meaning."""
    generator = torch.Generator().manual_seed(seed)
    return torch.stack([direction_D[torch.randperm(len(direction_D), generator=generator)] for _ in range(number)])
