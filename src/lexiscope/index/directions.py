"""What follows from a feature's decoder direction alone: its direct effect on the logits, and the features beside it.

F latents, D model width, V vocabulary, K entries kept.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.index.effects import LogitEffects, logit_effects

__all__ = ["LogitEffects", "Neighbours", "logit_effects", "neighbours"]

_ROWS_AT_ONCE = 256


class Neighbours(NamedTuple):
    """Features with the largest decoder cosine, most similar first; -1 fills up where there are fewer than K."""

    features_FK: Tensor
    cosines_FK: Tensor


def neighbours(directions_FD: Tensor, live_F: Tensor, keep: int) -> Neighbours:
    """For every feature the live features whose decoder directions are most similar, itself left out."""
    unit_FD = torch.nn.functional.normalize(directions_FD.float().cpu(), dim=1)
    keep = min(keep, len(unit_FD))
    features, cosines = [], []
    for start in range(0, len(unit_FD), _ROWS_AT_ONCE):
        cosines_NF = unit_FD[start : start + _ROWS_AT_ONCE] @ unit_FD.T
        cosines_NF[:, ~live_F] = -torch.inf
        own = torch.arange(len(cosines_NF))
        cosines_NF[own, own + start] = -torch.inf
        best = cosines_NF.topk(keep)
        cosines.append(best.values)
        features.append(best.indices.where(best.values.isfinite(), -1))
    return Neighbours(torch.cat(features), torch.cat(cosines))
