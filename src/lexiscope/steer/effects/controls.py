"""Controls: other things that could have done it, at the same length.

A feature steers by a vector added to the activations. What it does says little before it is known what a vector of the
same length does that points anywhere (noise), that is another feature of the dictionary, that points the other way, or
that anyone gets without a dictionary: the difference of the mean activations where the goal is met and where it is
not. And what a few words in front of the prompt do.

B prompts, C tokens per context, D width, F features.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Literal

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.seeds import generator
from lexiscope.lm.model import LanguageModel
from lexiscope.steer.effects.goals import Prompts

Control = Literal[
    "noise", "random feature", "wrong sign", "prompt only", "difference in means", "difference in means at its best"
]


@contextmanager
def adding(model: LanguageModel, hook: HookPoint, vectors: Tensor) -> Iterator[None]:
    """Inside the block a vector is added at every token but special ones (BOS, padding), in generation at new ones too.

    For a feature's direction this is what the intervention `Add` does; here the vector may be anything.

    Args:
        vectors: [D] for all contexts or [B, D], one for each. Gradients flow to it.
    """
    rows_B1D = (vectors if vectors.ndim == 2 else vectors[None])[:, None]
    special = torch.tensor(sorted(model.tokenizer.special_ids), dtype=torch.int64)

    def add(x_BCD: Tensor) -> Tensor:
        now = model.under_way
        added_BCD = rows_B1D.to(x_BCD.device, x_BCD.dtype)
        if now is None or now.tokens_BC is None:
            return x_BCD + added_BCD
        text_BC = ~torch.isin(now.tokens_BC, special.to(now.tokens_BC.device))
        return x_BCD + added_BCD * text_BC[:, :, None].to(x_BCD.device)

    with model.splice({hook: add}):
        yield


def noise(rows: int, width: int, norm: float, seed: int) -> Tensor:
    """Directions drawn evenly from the sphere, a new one for every prompt, [B, D]."""
    drawn_BD = torch.randn(rows, width, generator=generator(seed, "noise"))
    return torch.nn.functional.normalize(drawn_BD, dim=1) * norm


def random_features(directions_FD: Tensor, live: Sequence[int], rows: int, norm: float, seed: int) -> Tensor:
    """Directions of other live features, a new one for every prompt, [B, D].

    Raises:
        InputError: there is no other live feature.
    """
    if not live:
        raise InputError("there is no other live feature to compare with; train the dictionary longer")
    drawn_B = torch.randint(len(live), (rows,), generator=generator(seed, "random feature"))
    chosen_BD = directions_FD[torch.tensor(list(live))[drawn_B]].float()
    return torch.nn.functional.normalize(chosen_BD, dim=1) * norm


def difference_in_means(x_ND: Tensor, wanted_N: Tensor) -> Tensor:
    """Mean activation of the wanted tokens less that of the others, length 1, [D].

    Raises:
        InputError: one of the two kinds is missing, or they do not differ.
    """
    if wanted_N.all() or not wanted_N.any():
        raise InputError("a difference of means needs wanted and unwanted activations; give some of both")
    difference_D = x_ND[wanted_N].float().mean(0) - x_ND[~wanted_N].float().mean(0)
    if not difference_D.any():
        raise InputError("wanted and unwanted activations have the same mean; give others")
    return torch.nn.functional.normalize(difference_D, dim=0)


def with_prefix(model: LanguageModel, prompts: Prompts, prefix: Sequence[int]) -> Prompts:
    """The prompts with some tokens in front of each, BOS still first; measured at the same tokens as before.

    Raises:
        InputError: they are too long for the model now.
    """
    lead = prompts.contexts.lead
    texts = [
        [*prefix, *tokens_C[attention_C][lead:].tolist()]
        for tokens_C, attention_C in zip(prompts.contexts.tokens_BC, prompts.contexts.attention_BC, strict=True)
    ]
    longer = Prompts.of(model, texts, prompts.documents)
    measured_BC = torch.zeros_like(longer.measured_BC)
    measured_BC[:, lead + len(prefix) :] = prompts.measured_BC[:, lead:]
    if lead:  # a prediction from BOS alone is made after the prefix now
        measured_BC[:, len(prefix) : lead + len(prefix)] |= prompts.measured_BC[:, :lead]
    return longer._replace(measured_BC=measured_BC)
