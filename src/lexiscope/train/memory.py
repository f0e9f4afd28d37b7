"""How much memory a run will need, before it starts.

Everything large is a tensor of known shape: what the dictionary keeps, what a step makes, what the run reads. The peak
is the largest of three moments: the start (the sample beside the new weights), a step, and the end, when what was
written is read back. Of the program itself, what is loaded already is known, and what is yet to be loaded is little.
T tokens, D width, F latents.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch

from lexiscope.core.memory import running_bytes
from lexiscope.saes.registry import class_of
from lexiscope.saes.settings import SaeConfig
from lexiscope.train.config import TrainConfig
from lexiscope.train.stream import SAMPLE_TOKENS

FLOAT = 4
ENTRY = 60
"""Bytes of one active entry in a step: index, value and gradient, sorted both ways."""
STEP_TENSORS = 9
"""Tensors [T, D] at once: as read and normalised, centred, output, its error, those of the last step, spare blocks."""
MOMENTS = {32: 2.0, 8: 0.5 * (1 + FLOAT / 256)}
"""Bytes of Adam's two moments per byte of weights, for each number of bits; 8 come with a scale for 256 of them."""
SHORTLIST = 2
"""Bytes per encoder weight in the bfloat16 copy that selection makes."""
PER_THREAD = 8 * 2**20
"""Of selection: a block of tokens and what is kept of their scores."""
CODE = 20 * 2**20
"""Modules that a run loads."""


class Estimate(NamedTuple):
    """Peak of a process, in bytes."""

    parts: dict[str, int]
    """At that moment: what, and how much."""

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    def __str__(self) -> str:
        largest = sorted(self.parts.items(), key=lambda part: -part[1])[:3]
        return f"{self.total / 1e9:.2f} GB ({', '.join(f'{name} {size / 1e9:.2f}' for name, size in largest)})"


def estimate(
    members: Sequence[tuple[SaeConfig, TrainConfig]],
    width: int,
    output_width: int | None = None,
    *,
    l0: float = 128,
    heldout_rows: int | None = None,
    running: int | None = None,
) -> Estimate:
    """Peak memory of a run, or of a sweep's members side by side, on a processor: to about 10 %.

    Args:
        members: settings with everything chosen.
        width: D of what is read; ``output_width`` of what is written, if that is another.
        l0: latents per token to reckon with where the settings fix none; so many fire at first.
        heldout_rows: how many there are. None: enough.
        running: bytes that the process holds already. None: what this one does.
    """
    config = members[0][1]
    both = width if output_width is None else width + output_width
    heldout_tokens = config.heldout_tokens if heldout_rows is None else min(config.heldout_tokens, heldout_rows)
    sample, heldout, batch = (FLOAT * tokens * both for tokens in (SAMPLE_TOKENS, heldout_tokens, config.batch_tokens))
    sizes = [_sizes(sae_config, width, output_width or width) for sae_config, _ in members]
    weights, trained = sum(size.weights for size in sizes), sum(size.trained for size in sizes)
    moments = sum(MOMENTS[asked.optimizer_bits] * size.trained for size, (_, asked) in zip(sizes, members, strict=True))
    selection = max(SHORTLIST * size.latents * width for size in sizes) + PER_THREAD * torch.get_num_threads()
    active = max(min(asked.fixed_l0 or l0, size.latents) for size, (asked, _) in zip(sizes, members, strict=True))
    moment = {
        "start": {"sample, as read and normalised": 2 * sample},
        "step": {
            "gradients": trained,
            "moments of Adam": int(moments),
            "activations of a step": STEP_TENSORS * batch,
            "codes of a step": int(ENTRY * active * config.batch_tokens),
            "selection": selection,
        },
        "end": {
            "weights read back": max(size.weights for size in sizes) * 3 // 2,
            "held-out activations, normalised": 2 * heldout,
            "selection": selection,
        },
    }
    largest = max(moment.values(), key=lambda parts: sum(parts.values()))
    program = (running_bytes() if running is None else running) + CODE
    return Estimate({"program": program, "weights": weights, "held-out activations": heldout, **largest})


class _Sizes(NamedTuple):
    """Of one autoencoder: latents, and bytes of all that is kept and of what is trained."""

    latents: int
    weights: int
    trained: int


def _sizes(config: SaeConfig, width: int, output_width: int) -> _Sizes:
    with torch.device("meta"):  # shapes without memory
        sae = class_of(config.architecture)(config, width, output_width)
    return _Sizes(
        sae.num_latents,
        sum(tensor.nbytes for tensor in sae.state_dict().values()),
        sum(parameter.nbytes for parameter in sae.parameters() if parameter.requires_grad),
    )
