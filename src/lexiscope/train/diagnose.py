"""Diagnosis: what is wrong with activations, said before the first step. T tokens, D model width.

| sign, at a hook point | what follows |
| --- | --- |
| a value that is not finite | an error |
| all values are 0, or all tokens have the same activation | an error |
| root mean square beyond 1e±18: squares leave float32 | an error |
| fewer than half of the tokens have an activation of their own | a warning |
| one token in 1,000 holds more than half of the variance | a warning |
| one dimension in 100 holds more than 98 % of the variance | a warning |
| more than half of the dimensions never vary | a warning |

It looks at the sample and at the held-out activations, one pass over each in float64, and changes nothing.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint

DISTINCT = 0.5
HEAVY_TOKENS, HEAVY_TOKENS_SHARE = 1e-3, 0.5
HEAVY_DIMS, HEAVY_DIMS_SHARE = 0.01, 0.98
STILL_DIMS = 0.5
LEAST_TOKENS = 1000
"""Shares of fewer tokens say little."""
SMALLEST, LARGEST = 1e-18, 1e18
_CHUNK_TOKENS = 1024


class ActivationWarning(UserWarning):
    """Activations that an autoencoder will learn little from, unless something is done."""


class Look(NamedTuple):
    """What was seen of activations at one hook point."""

    distinct: int
    """Different ones."""
    broken: int
    """Those with a value that is not finite; nothing below is known if there are any."""
    rms: float
    still: int
    """Dimensions that never vary."""
    shares_D: Tensor
    """Of the variance, by dimension."""
    shares_T: Tensor
    """The same by token."""


def check(x_TD: Tensor, hooks: Sequence[HookPoint], widths: Sequence[int], what: str) -> None:
    """Say what is wrong with activations, the hook points side by side in D.

    Args:
        what: these are called, in messages.

    Raises:
        InputError: nothing could be learnt from them, or measured on them.
    """
    for hook, part_TD in zip(hooks, torch.split(x_TD, list(widths), dim=1), strict=True):
        seen = look(part_TD)
        if trouble := _trouble(seen, len(part_TD)):
            raise InputError(f"{what} activations at {hook}: {trouble}")
        for remark in _remarks(seen, len(part_TD)):
            warnings.warn(f"{what} activations at {hook}: {remark}", ActivationWarning, stacklevel=3)


@torch.no_grad()
def look(x_TD: Tensor) -> Look:
    """One pass for finite values, the mean and what is distinct, one for the spread."""
    odd_D = torch.randint(-(2**62), 2**62, x_TD.shape[1:], generator=torch.Generator().manual_seed(0)) | 1
    hashes: list[Tensor] = []
    broken, sum_D = 0, x_TD.new_zeros(x_TD.shape[1], dtype=torch.float64)
    for part_TD in _parts(x_TD):
        bits_TD = part_TD.float().contiguous().view(torch.int32).to(torch.int64)
        hashes.append((bits_TD * odd_D.to(x_TD.device)).sum(1))  # equal only if the bits are, but for bad luck
        broken += int((~part_TD.isfinite()).any(1).sum())
        sum_D += part_TD.double().sum(0)
    distinct = len(torch.unique(torch.cat(hashes)))
    if broken:
        return Look(distinct, broken, 0.0, 0, sum_D, sum_D)
    mean_D = sum_D / len(x_TD)
    squares_D, squares_T = torch.zeros_like(mean_D), []
    for part_TD in _parts(x_TD):
        squares_TD = (part_TD.double() - mean_D).square_()
        squares_D += squares_TD.sum(0)
        squares_T.append(squares_TD.sum(1))
    rms = float((squares_D / len(x_TD) + mean_D.square()).mean().sqrt())
    still_D = torch.stack([(part_TD == x_TD[0]).all(0) for part_TD in _parts(x_TD)]).all(0)
    total = squares_D.sum()
    return Look(distinct, 0, rms, int(still_D.sum()), squares_D / total, torch.cat(squares_T) / total)


def _parts(x_TD: Tensor) -> Iterator[Tensor]:
    return (x_TD[start : start + _CHUNK_TOKENS] for start in range(0, len(x_TD), _CHUNK_TOKENS))


def _trouble(seen: Look, tokens: int) -> str | None:
    """Why nothing can be learnt, and the next move."""
    if seen.broken:
        return (
            f"{seen.broken:,} of {tokens:,} are NaN or infinite; harvest again, with the model in float32 and the "
            "store in bfloat16 or float32"
        )
    if seen.rms == 0:
        return "all are 0, so nothing is written there; choose another hook point"
    if seen.distinct == 1:
        return f"all {tokens:,} tokens have the same; choose another hook point, or harvest text that is not all one"
    if not SMALLEST <= seen.rms <= LARGEST:
        return f"values of about {seen.rms:.1g} leave what float32 can square; choose another hook point"
    return None


def _remarks(seen: Look, tokens: int) -> Iterator[str]:
    """What will probably go wrong, and the likely remedy."""
    if tokens < LEAST_TOKENS:
        return
    if seen.distinct < DISTINCT * tokens:
        yield (
            f"only {seen.distinct:,} of {tokens:,} are different: the text repeats itself, or the hook point sees one "
            "token at a time; harvest other text, or a hook point further up"
        )
    few, share = _largest(seen.shares_T, HEAVY_TOKENS)
    if share > HEAVY_TOKENS_SHARE:
        yield (
            f"{few:,} of {tokens:,} tokens hold {share:.0%} of the variance, so that losses and scores are about "
            "little else; harvest text without what they are, or choose another hook point"
        )
    width = len(seen.shares_D)
    few, share = _largest(seen.shares_D, HEAVY_DIMS)
    if share > HEAVY_DIMS_SHARE and few < width:
        yield (
            f"{few:,} of {width:,} dimensions hold {share:.1%} of the variance, so that an FVU says little about the "
            "others; leave sae.init at balanced, or read after a norm (mlp_in)"
        )
    if seen.still > STILL_DIMS * width:
        yield f"{seen.still:,} of {width:,} dimensions never vary; is it the hook point that was meant?"


def _largest(shares: Tensor, part: float) -> tuple[int, float]:
    """How many these are, and what they hold."""
    few = max(1, round(part * len(shares)))
    return few, float(shares.topk(few).values.sum())
