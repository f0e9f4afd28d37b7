"""Rank: whether a vector does more than others of its length, each of them added to every prompt.

A control that draws a new direction for every prompt says what directions do on average, which is next to nothing; of
any one direction it is as likely as not that it does more. So other features are tried one by one, as the feature was.
F other features, D width.
"""

from __future__ import annotations

import torch
from torch import Tensor

from lexiscope.core.progress import SILENT, Progress
from lexiscope.core.seeds import generator
from lexiscope.steer.effects.intervals import Share, share_of
from lexiscope.steer.effects.trial import Trial

MOST = 20
"""Of one of 21 directions that are alike, one in 21 does more than all others."""


def further_than(
    trial: Trial, vector_D: Tensor, others_FD: Tensor, seed: int, most: int = MOST, progress: Progress = SILENT
) -> Share | None:
    """Of other features at the same length, how many raise the goal less; None where there is no other."""
    drawn = torch.randperm(len(others_FD), generator=generator(seed, "rank"))[:most]
    if not len(drawn):
        return None
    own = trial.change(vector_D).mean()
    less = []
    with progress.task("Trying other features", total=len(drawn), unit="features") as task:
        for other in drawn.tolist():
            direction_D = torch.nn.functional.normalize(others_FD[other].float(), dim=0)
            less.append(bool(trial.change(vector_D.norm() * direction_D).mean() < own))
            task.advance(1)
    return share_of(less)
