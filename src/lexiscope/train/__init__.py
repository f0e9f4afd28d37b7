"""Training: one loop, its schedules, what watches it, and the check before anything is saved."""

from __future__ import annotations

from lexiscope.train.config import TrainConfig
from lexiscope.train.run import sweep, train

__all__ = ["TrainConfig", "sweep", "train"]
