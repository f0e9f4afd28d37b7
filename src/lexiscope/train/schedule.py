"""Schedules: factors between 0 and 1 as pure functions of the step."""

from __future__ import annotations


def learning_rate_factor(step: int, steps: int, warmup_steps: int, decay_fraction: float) -> float:
    """Rises to 1 over the first ``warmup_steps``, stays, and falls linearly towards 0 over the last ``decay_fraction``.

    Step 0 has a factor above 0 and so has the last step: no step is wasted.
    """
    rise = (step + 1) / (warmup_steps + 1)
    decay_steps = decay_fraction * steps
    fall = (steps - step) / (decay_steps + 1)
    return min(1.0, rise, fall)


def sparsity_factor(progress: float, warmup_fraction: float) -> float:
    """Rises linearly from 0 to 1 over the first ``warmup_fraction`` of the run."""
    return 1.0 if warmup_fraction == 0 else min(1.0, progress / warmup_fraction)
