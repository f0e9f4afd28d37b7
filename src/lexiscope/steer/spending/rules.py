"""Spending: how many features are used per token at inference, chosen after training.

A feature's contribution to a token is as long as |f| · ‖W_dec‖, in the units of what is written. Each rule keeps the
longest contributions of something: of a token, of a sequence, of all that are long enough; or the features that come
first in the dictionary, which is what nested dictionaries (Matryoshka) are trained for. Of contributions as long as one
another those that the codes name first are kept.

T tokens, F latents, N entries of the codes.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import torch
from pydantic import Field, TypeAdapter, ValidationError
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.config import Config
from lexiscope.core.errors import InputError

_Amount = Annotated[float, Field(ge=0, allow_inf_nan=False)]


class EveryFeature(Config):
    """All that fire: what the dictionary gives."""

    rule: Literal["all"] = "all"


class PerToken(Config):
    """The same number for every token."""

    rule: Literal["k"] = "k"
    features: int = Field(ge=0)


class LongEnough(Config):
    """Contributions of at least some length: simple tokens get few, others many. Works while a text is generated."""

    rule: Literal["threshold"] = "threshold"
    length: _Amount


class PerSequence(Config):
    """The longest contributions of a whole sequence, so many per token on average. Needs the sequence's end."""

    rule: Literal["budget"] = "budget"
    features_per_token: _Amount


class First(Config):
    """The first latents of the dictionary."""

    rule: Literal["prefix"] = "prefix"
    latents: int = Field(ge=0)


Spending = Annotated[EveryFeature | PerToken | LongEnough | PerSequence | First, Field(discriminator="rule")]
_FIELDS = {"k": "features", "threshold": "length", "budget": "features_per_token", "prefix": "latents"}
_WRITTEN = re.compile(r"(?P<rule>[a-z]+)(?:=(?P<amount>[^=]+))?")
_ADAPTER: TypeAdapter[Spending] = TypeAdapter(Spending)


def parse(text: str) -> Spending:
    """From how it is written: ``all``, ``k=8``, ``threshold=0.5``, ``budget=12.5`` or ``prefix=1024``.

    Raises:
        InputError: it is none of these.
    """
    match = _WRITTEN.fullmatch(text.strip())
    given = {} if match is None else {"rule": match["rule"], _FIELDS.get(match["rule"], "amount"): match["amount"]}
    try:
        return _ADAPTER.validate_python({name: value for name, value in given.items() if value is not None})
    except ValidationError:
        raise InputError(
            f"{text!r} says no number of features; write all, k=8, threshold=0.5, budget=12.5 or prefix=1024"
        ) from None


def written(spending: Spending) -> str:
    """As `parse` reads it, to the last digit."""
    field = _FIELDS.get(spending.rule)
    return spending.rule if field is None else f"{spending.rule}={getattr(spending, field)!r}".removesuffix(".0")


def spend(codes: SparseCodes, lengths_F: Tensor, spending: Spending, sequences_T: Tensor | None = None) -> Tensor:
    """Which entries are kept, bool [N].

    Args:
        lengths_F: of the decoder's rows.
        sequences_T: for a budget: which sequence each token is of, ascending; None: all of one.
    """
    if isinstance(spending, EveryFeature):
        return torch.ones(len(codes), dtype=torch.bool, device=codes.latents.device)
    if isinstance(spending, First):
        return codes.latents < spending.latents
    contributions_N = codes.values.detach().abs() * lengths_F[codes.latents]
    if isinstance(spending, LongEnough):
        return contributions_N >= spending.length
    if isinstance(spending, PerToken):
        groups_T = torch.arange(codes.num_tokens)
        allowed_G = torch.full((codes.num_tokens,), spending.features)
    else:
        groups_T = torch.zeros(codes.num_tokens, dtype=torch.int64)
        if sequences_T is not None:
            groups_T = torch.cat([groups_T[:1], (sequences_T.diff() != 0).long().cumsum(0)])
        allowed_G = (torch.bincount(groups_T) * spending.features_per_token).floor()
    allowed_G = allowed_G.to(codes.latents.device)
    groups_N = groups_T.to(codes.latents.device)[codes.tokens()]
    return _rank(groups_N, contributions_N) < allowed_G[groups_N]


def threshold_for(codes: SparseCodes, lengths_F: Tensor, features_per_token: float) -> LongEnough:
    """The length that so many contributions per token exceed on average on some text.

    Raises:
        InputError: fewer fire.
    """
    wanted = round(features_per_token * codes.num_tokens)
    contributions_N = codes.values.detach().abs() * lengths_F[codes.latents]
    if not 1 <= wanted <= len(contributions_N):
        raise InputError(
            f"{features_per_token:g} features per token can't be spent where {len(codes) / codes.num_tokens:.3g} fire; "
            "give a smaller number, above 0"
        )
    return LongEnough(length=float(contributions_N.sort(descending=True).values[wanted - 1]))


def _rank(groups_N: Tensor, contributions_N: Tensor) -> Tensor:
    """Place of every entry within its group, the longest contribution first.

    The bits of positive floats sort as the floats do, so group and length make one integer to sort by.
    """
    bits_N = contributions_N.float().view(torch.int32).long()
    order_N = ((groups_N << 32) | (0x7FFFFFFF - bits_N)).argsort(stable=True)
    sorted_N = groups_N[order_N]
    rank_N = torch.empty_like(order_N)
    rank_N[order_N] = torch.arange(len(order_N), device=order_N.device) - torch.searchsorted(sorted_N, sorted_N)
    return rank_N
