"""Spending: how many features are used per token at inference, chosen after training.

A feature's contribution to a token is as long as |f| · ‖W_dec‖, in the units of what is written. Each rule keeps the
longest contributions of something: of a token, of a sequence, of all that are long enough; or the features that come
first in the dictionary, which is what nested dictionaries (Matryoshka) are trained for. Contributions as long as one
another are kept in the order of their features' numbers, so that the same codes always give the same choice.

T tokens, F latents, N entries of the codes.
"""

from __future__ import annotations

import re
from typing import Annotated, Literal

import numpy as np
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
    """As `parse` reads it."""
    field = _FIELDS.get(spending.rule)
    return spending.rule if field is None else f"{spending.rule}={getattr(spending, field):g}"


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
        allowed_G = np.full(codes.num_tokens, spending.features)
    else:
        groups_T = torch.zeros(codes.num_tokens, dtype=torch.int64)
        if sequences_T is not None:
            groups_T = torch.cat([groups_T[:1], (sequences_T.diff() != 0).long().cumsum(0)])
        allowed_G = np.floor(np.bincount(groups_T.numpy()) * spending.features_per_token)
    groups_N = groups_T.numpy()[codes.tokens().cpu().numpy()]
    keep_N = _rank(groups_N, contributions_N.cpu().numpy(), codes.latents.cpu().numpy()) < allowed_G[groups_N]
    return torch.from_numpy(keep_N).to(codes.latents.device)


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


def _rank(groups_N: np.ndarray, contributions_N: np.ndarray, latents_N: np.ndarray) -> np.ndarray:
    """Place of every entry within its group, the longest contribution first."""
    order_N = np.lexsort((latents_N, -contributions_N, groups_N))
    sorted_N = groups_N[order_N]
    rank_N = np.empty(len(order_N), np.int64)
    rank_N[order_N] = np.arange(len(order_N)) - np.searchsorted(sorted_N, sorted_N)
    return rank_N
