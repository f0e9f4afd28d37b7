"""Writing on from a text, one token at a time.

Shapes: B contexts, C tokens per context, V vocabulary.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor

from lexiscope.core.config import quoted
from lexiscope.core.errors import InputError

LEAST_TEMPERATURE = 1e-4
"""Above 0; less is the likeliest token, and divides by next to nothing."""


@torch.no_grad()
def next_tokens(
    module: Any,
    tokens_BC: Tensor,
    *,
    max_new_tokens: int,
    temperature: float,
    seed: int,
    cache: bool,
    end_ids: Collection[int],
    pad_id: int,
) -> Iterator[Tensor]:
    """The tokens that follow, one for each context at a time, int64 [B]; a context that has ended gives ``pad_id``.

    A model that offers no cache of keys and values runs the whole text at each step.
    """
    generator = torch.Generator(tokens_BC.device).manual_seed(seed)
    ends = torch.tensor(sorted(end_ids), device=tokens_BC.device)
    ended_B = torch.zeros(len(tokens_BC), dtype=torch.bool, device=tokens_BC.device)
    text_BC, past = tokens_BC, None
    while text_BC.shape[1] < tokens_BC.shape[1] + max_new_tokens and not ended_B.all():
        step_BC = text_BC if past is None else text_BC[:, -1:]
        reuse: dict[str, Any] = {} if past is None else {"past_key_values": past}
        output = module(input_ids=step_BC, use_cache=cache, **reuse)
        past = getattr(output, "past_key_values", None) if cache else None
        next_B = torch.where(ended_B, pad_id, _choose(output.logits[:, -1].float(), temperature, generator))
        ended_B |= torch.isin(next_B, ends)
        text_BC = torch.cat([text_BC, next_B[:, None]], dim=1)
        yield next_B


def check_drawing(temperature: float, seed: int) -> None:
    """Raises InputError: tokens can't be drawn in this way."""
    if temperature != 0 and not LEAST_TEMPERATURE <= temperature < math.inf:
        raise InputError(
            f"tokens can't be drawn at a temperature of {temperature}; give 0 or from {LEAST_TEMPERATURE} on"
        )
    if not -(2**63) <= seed < 2**63:
        raise InputError(f"the seed {quoted(seed)} is too long; give one of at most 18 digits")


def _choose(logits_BV: Tensor, temperature: float, generator: torch.Generator) -> Tensor:
    if bool(logits_BV.isnan().any()):
        raise InputError("the predictions are no numbers any more; whatever changes the model is too strong, give less")
    if temperature == 0:
        return logits_BV.argmax(-1)
    return torch.multinomial((logits_BV / temperature).softmax(-1), 1, generator=generator)[:, 0]
