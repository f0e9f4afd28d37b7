"""Steps: interventions with everything looked up, as arithmetic on the activations of features.

N tokens, J features that are touched, C of them by one step, S tokens of a source, E width of what is written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.core.seeds import derive_seed
from lexiscope.steer.interventions import Ablate, Add, Clamp, Patch, Scale
from lexiscope.steer.strength import Strength


class Tokens(NamedTuple):
    """Where some tokens stand."""

    rows_N: Tensor
    positions_N: Tensor


class Lookup(NamedTuple):
    """What a step needs to know of the model, the dictionary and the text it was indexed on."""

    column: dict[int, int]
    """Of each feature that is touched."""
    activation: Callable[[int, Strength], float]
    mean_over_tokens: Callable[[int], float]
    codes: Callable[[str | SparseCodes], SparseCodes]
    lead: int
    """Tokens before the text: 1 where contexts start with BOS."""
    device: torch.device


@dataclass(frozen=True)
class Step(ABC):
    """One intervention on named features."""

    columns_C: Tensor
    share: float

    def __call__(self, f_NJ: Tensor, chosen_N: Tensor | None, tokens: Tokens) -> None:
        """Change activations in place, on the chosen tokens (None: on all)."""
        before_NC = f_NJ[:, self.columns_C]
        after_NC = self.after(before_NC, chosen_N, tokens)
        if self.share != 1:
            after_NC = before_NC + self.share * (after_NC - before_NC)
        if chosen_N is not None:
            after_NC = torch.where(chosen_N[:, None], after_NC, before_NC)
        f_NJ[:, self.columns_C] = after_NC

    @abstractmethod
    def after(self, f_NC: Tensor, chosen_N: Tensor | None, tokens: Tokens) -> Tensor:
        """What they become; of tokens that are not chosen it does not matter."""


@dataclass(frozen=True)
class _Set(Step):
    to_C: Tensor
    where_it_fires: bool

    def after(self, f_NC: Tensor, chosen_N: Tensor | None, tokens: Tokens) -> Tensor:  # noqa: ARG002
        return torch.where(f_NC != 0, self.to_C, f_NC) if self.where_it_fires else self.to_C.expand_as(f_NC)


@dataclass(frozen=True)
class _Times(Step):
    by: float

    def after(self, f_NC: Tensor, chosen_N: Tensor | None, tokens: Tokens) -> Tensor:  # noqa: ARG002
        return f_NC * self.by


@dataclass(frozen=True)
class _Plus(Step):
    by_C: Tensor

    def after(self, f_NC: Tensor, chosen_N: Tensor | None, tokens: Tokens) -> Tensor:  # noqa: ARG002
        return f_NC + self.by_C


@dataclass(frozen=True)
class _Resampled(Step):
    source_SC: Tensor
    features: tuple[int, ...]
    seed: int

    def after(self, f_NC: Tensor, chosen_N: Tensor | None, tokens: Tokens) -> Tensor:
        """Token by token, so that it does not matter which others are in the same pass."""
        out_NC = f_NC.clone()
        fires_NC = f_NC != 0 if chosen_N is None else (f_NC != 0) & chosen_N[:, None]
        for token, place in fires_NC.nonzero().tolist():
            row, position = int(tokens.rows_N[token]), int(tokens.positions_N[token])
            draw = derive_seed(self.seed, "resample", self.features[place], row, position) % len(self.source_SC)
            out_NC[token, place] = self.source_SC[draw, place]
        return out_NC


@dataclass(frozen=True)
class _Patched(Step):
    source_SC: Tensor
    from_position: int | None

    def after(self, f_NC: Tensor, chosen_N: Tensor | None, tokens: Tokens) -> Tensor:
        rows_N = source_rows(len(self.source_SC), self.from_position, chosen_N, tokens)
        return self.source_SC[rows_N.to(f_NC.device)]


def source_rows(length: int, from_position: int | None, chosen_N: Tensor | None, tokens: Tokens) -> Tensor:
    """The row of the source that each token takes, on the CPU; row 0 for those that are not chosen.

    Raises:
        InputError: the source has no such token.
    """
    if from_position is not None:
        if not -length <= from_position < length:
            raise InputError(f"there is no token {from_position} in a source of {length}; choose another from_position")
        return torch.full((len(tokens.rows_N),), from_position % length)
    positions_N = tokens.positions_N if chosen_N is None else tokens.positions_N * chosen_N.cpu()
    if len(positions_N) and int(positions_N.max()) >= length:
        raise InputError(
            f"position {int(positions_N.max())} is to be patched from a source of {length} tokens; name positions that "
            "it has, or one from_position for all"
        )
    return positions_N


def make_step(given: Clamp | Scale | Add | Ablate | Patch, look: Lookup) -> Step:
    """The step of an intervention on named features."""
    features = given.features or ()
    columns_C = torch.tensor([look.column[feature] for feature in features], device=look.device)

    def row(values: Sequence[float]) -> Tensor:
        return torch.tensor(values, device=look.device)

    match given:
        case Clamp():
            to = row([look.activation(feature, given.to) for feature in features])
            return _Set(columns_C, given.share, to, where_it_fires=False)
        case Scale():
            return _Times(columns_C, given.share, given.by)
        case Add():
            return _Plus(columns_C, given.share, row([look.activation(feature, given.by) for feature in features]))
        case Ablate(to="resample"):
            assert given.source is not None
            source_SC = columns_of(look.codes(given.source), features)[look.lead :]
            if not len(source_SC):
                raise InputError("ablate: the source has no token to draw from; give a longer prompt")
            return _Resampled(columns_C, given.share, source_SC.to(look.device), features, given.seed)
        case Ablate():
            values = [look.mean_over_tokens(feature) if given.to == "mean" else 0.0 for feature in features]
            return _Set(columns_C, given.share, row(values), where_it_fires=True)
        case Patch():
            source_SC = columns_of(look.codes(given.source), features).to(look.device)
            return _Patched(columns_C, given.share, source_SC, given.from_position)


def columns_of(codes: SparseCodes, features: Sequence[int]) -> Tensor:
    """Activations of some features on every token, [S, C]."""
    device = codes.latents.device
    column_F = torch.full((codes.num_latents,), -1, device=device)
    column_F[list(features)] = torch.arange(len(features), device=device)
    columns_N = column_F[codes.latents]
    mine_N = columns_N >= 0
    out_SC = codes.values.new_zeros(codes.num_tokens, len(features))
    out_SC[codes.tokens()[mine_N], columns_N[mine_N]] = codes.values[mine_N]
    return out_SC


@dataclass(frozen=True)
class Ceiling:
    """Caps: the projection of activations on some directions, one after another."""

    directions_CE: Tensor
    to_C: Tensor
    share: float

    def __call__(self, y_NE: Tensor, chosen_N: Tensor | None) -> Tensor:
        """Change y in place; gives which tokens changed, bool [N]."""
        changed_N = torch.zeros(len(y_NE), dtype=torch.bool, device=y_NE.device)
        for w_E, to in zip(self.directions_CE, self.to_C, strict=True):
            size = w_E.square().sum()
            if not size:  # a row of zeros has no direction
                continue
            over_N = (y_NE @ w_E / size - to).clamp_min_(0) * self.share
            if chosen_N is not None:
                over_N *= chosen_N
            changed_N |= over_N > 0
            y_NE -= over_N[:, None] * w_E
        return changed_N


def difference(after: SparseCodes, before: SparseCodes, share: float) -> SparseCodes:
    """Share · (after - before), entries that are the same in both left out."""
    keys_M = torch.cat([codes.tokens() * codes.num_latents + codes.latents for codes in (after, before)])
    keys_K, which_M = torch.unique(keys_M, return_inverse=True)
    values_K = torch.zeros(len(keys_K), device=keys_M.device)
    values_K.index_add_(0, which_M, torch.cat([after.values, -before.values]))
    keep_K = values_K != 0
    keys_K, values_K = keys_K[keep_K], values_K[keep_K] * share
    tokens_K = keys_K // before.num_latents
    offsets = torch.zeros(before.num_tokens + 1, dtype=torch.int64, device=keys_M.device)
    torch.cumsum(torch.bincount(tokens_K, minlength=before.num_tokens), 0, out=offsets[1:])
    return SparseCodes(offsets, keys_K % before.num_latents, values_K, before.num_latents)


def rows_of(codes: SparseCodes, rows_N: Tensor) -> SparseCodes:
    """Some rows of codes, in this order; one may come several times."""
    counts_N = codes.counts()[rows_N]
    offsets = torch.zeros(len(rows_N) + 1, dtype=torch.int64, device=rows_N.device)
    torch.cumsum(counts_N, 0, out=offsets[1:])
    within = torch.arange(int(offsets[-1]), device=rows_N.device) - offsets[:-1].repeat_interleave(counts_N)
    entries = codes.offsets[rows_N].repeat_interleave(counts_N) + within
    return SparseCodes(offsets, codes.latents[entries], codes.values[entries], codes.num_latents)
