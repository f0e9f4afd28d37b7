"""Steps: interventions with everything looked up, as arithmetic on the activations of features.

N tokens, J features that are touched, C of them by one step, S tokens of a source, E width of what is written.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Self

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.core.seeds import derive_seed
from lexiscope.saes.parts import columns
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

    columns_C: Tensor | slice | None
    """None: all of them, in their order."""
    share: float

    def __call__(self, f_NJ: Tensor, chosen_N: Tensor | None, tokens: Callable[[], Tokens]) -> Tensor:
        """The activations with those of the chosen tokens (None: of all) changed."""
        before_NC = f_NJ if self.columns_C is None else f_NJ[:, self.columns_C]
        after_NC = self.after(before_NC, chosen_N, tokens)
        if self.share != 1:
            after_NC = before_NC + self.share * (after_NC - before_NC)
        if chosen_N is not None:
            after_NC = torch.where(chosen_N[:, None], after_NC, before_NC)
        if self.columns_C is None:
            return after_NC
        out_NJ = f_NJ.clone()
        out_NJ[:, self.columns_C] = after_NC
        return out_NJ

    @abstractmethod
    def after(self, f_NC: Tensor, chosen_N: Tensor | None, tokens: Callable[[], Tokens]) -> Tensor:
        """What they become; of tokens that are not chosen it does not matter."""


@dataclass(frozen=True)
class _Set(Step):
    to_C: Tensor
    where_it_fires: bool

    def after(self, f_NC: Tensor, chosen_N: Tensor | None, tokens: Callable[[], Tokens]) -> Tensor:  # noqa: ARG002
        return torch.where(f_NC != 0, self.to_C, f_NC) if self.where_it_fires else self.to_C.expand_as(f_NC)


@dataclass(frozen=True)
class _Times(Step):
    by: float

    def after(self, f_NC: Tensor, chosen_N: Tensor | None, tokens: Callable[[], Tokens]) -> Tensor:  # noqa: ARG002
        return f_NC * self.by


@dataclass(frozen=True)
class _Plus(Step):
    by_C: Tensor

    def after(self, f_NC: Tensor, chosen_N: Tensor | None, tokens: Callable[[], Tokens]) -> Tensor:  # noqa: ARG002
        return f_NC + self.by_C


@dataclass(frozen=True)
class _Resampled(Step):
    source_SC: Tensor
    features: tuple[int, ...]
    seed: int

    def after(self, f_NC: Tensor, chosen_N: Tensor | None, tokens: Callable[[], Tokens]) -> Tensor:
        """Token by token, so that it does not matter which others are in the same pass."""
        out_NC = f_NC.clone()
        rows_N, positions_N = tokens()
        fires_NC = f_NC != 0 if chosen_N is None else (f_NC != 0) & chosen_N[:, None]
        for token, place in fires_NC.nonzero().tolist():
            row, position = int(rows_N[token]), int(positions_N[token])
            draw = derive_seed(self.seed, "resample", self.features[place], row, position) % len(self.source_SC)
            out_NC[token, place] = self.source_SC[draw, place]
        return out_NC


@dataclass(frozen=True)
class _Patched(Step):
    source_SC: Tensor
    from_position: int | None

    def after(self, f_NC: Tensor, chosen_N: Tensor | None, tokens: Callable[[], Tokens]) -> Tensor:
        rows_N = source_rows(self.source_SC, self.from_position, chosen_N, tokens)
        return self.source_SC[rows_N].expand_as(f_NC)


def source_rows(
    source_SX: Tensor, from_position: int | None, chosen_N: Tensor | None, tokens: Callable[[], Tokens]
) -> Tensor | int:
    """The row of the source that each token takes, or all of them; row 0 for those that are not chosen.

    Raises:
        InputError: the source has no such token.
    """
    length = len(source_SX)
    if from_position is not None:
        if not -length <= from_position < length:
            raise InputError(f"there is no token {from_position} in a source of {length}; choose another from_position")
        return from_position % length
    positions_N = tokens().positions_N
    if chosen_N is not None:
        positions_N = positions_N * chosen_N.cpu()
    if len(positions_N) and int(positions_N.max()) >= length:
        raise InputError(
            f"position {int(positions_N.max())} is to be patched from a source of {length} tokens; name positions that "
            "it has, or one from_position for all"
        )
    return positions_N.to(source_SX.device)


def make_step(given: Clamp | Scale | Add | Ablate | Patch, look: Lookup) -> Step:
    """The step of an intervention on named features."""
    features = tuple(sorted(given.features or ()))  # in the order of the columns, so that no step has to look for them
    places = [look.column[feature] for feature in features]
    columns_C = _columns(places, len(look.column), look.device)

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
            source_SC = columns(look.codes(given.source), features)[look.lead :]
            if not len(source_SC):
                raise InputError("ablate: the source has no token to draw from; give a longer prompt")
            return _Resampled(columns_C, given.share, source_SC.to(look.device), features, given.seed)
        case Ablate():
            values = [look.mean_over_tokens(feature) if given.to == "mean" else 0.0 for feature in features]
            return _Set(columns_C, given.share, row(values), where_it_fires=True)
        case Patch():
            source_SC = columns(look.codes(given.source), features).to(look.device)
            return _Patched(columns_C, given.share, source_SC, given.from_position)


def _columns(places: Sequence[int], of: int, device: torch.device) -> Tensor | slice | None:
    if list(places) == list(range(of)):
        return None
    start, stop = places[0], places[0] + len(places)
    return slice(start, stop) if list(places) == list(range(start, stop)) else torch.tensor(places, device=device)


@dataclass(frozen=True)
class Whole:
    """All features of another prompt."""

    source_SJ: Tensor
    """Those that are named besides."""
    decoded_SE: Tensor
    """What they add, without the dictionary's bias."""
    from_position: int | None
    share: float

    def __call__(
        self, decoded_NE: Tensor, f_NJ: Tensor, chosen_N: Tensor | None, tokens: Callable[[], Tokens]
    ) -> tuple[Tensor, Tensor]:
        """What is added to the activation, [N, E], and to the features that are named besides, [N, J]."""
        rows_N = source_rows(self.decoded_SE, self.from_position, chosen_N, tokens)
        by_NE = self._towards(self.decoded_SE[rows_N], decoded_NE, chosen_N)
        return by_NE, self._towards(self.source_SJ[rows_N], f_NJ, chosen_N) if f_NJ.shape[1] else f_NJ

    def _towards(self, source_NX: Tensor, here_NX: Tensor, chosen_N: Tensor | None) -> Tensor:
        by_NX = source_NX - here_NX
        if self.share != 1:
            by_NX = self.share * by_NX
        return by_NX if chosen_N is None else by_NX * chosen_N[:, None].to(by_NX)


@dataclass(frozen=True)
class Ceiling:
    """Caps: the projection of activations on some directions, one after another."""

    rows: Sequence[tuple[Tensor, float, float]]
    """Each direction with its squared length, and the most that there may be along it."""
    share: float

    @classmethod
    def of(cls, directions_CE: Tensor, to: Sequence[float], share: float) -> Self:
        """A row of zeros has no direction and is left out."""
        sizes = directions_CE.square().sum(1).tolist()
        return cls([row for row in zip(directions_CE, sizes, to, strict=True) if row[1]], share)

    def __call__(self, y_NE: Tensor, chosen_N: Tensor | None) -> Tensor:
        """Change y in place; gives which tokens changed, bool [N]."""
        changed_N = torch.zeros(len(y_NE), dtype=torch.bool, device=y_NE.device)
        for w_E, size, most in self.rows:
            over_N = (y_NE @ w_E / size - most).clamp_min_(0)
            if self.share != 1:
                over_N *= self.share
            if chosen_N is not None:
                over_N *= chosen_N
            changed_N |= over_N > 0
            y_NE -= over_N[:, None] * w_E
        return changed_N
