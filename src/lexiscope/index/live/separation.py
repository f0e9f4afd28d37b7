"""How well features tell wanted units from unwanted ones, and how well the best of them does when labels mean nothing.

N firings, U units, A features that fire on any unit, P labellings.
"""

from __future__ import annotations

import itertools
import math
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lexiscope.core.seeds import generator

Unit = Literal["text", "token"]
_NUMBERS_AT_ONCE = 1 << 22


class Units(NamedTuple):
    """Strengths of features on units, those that are not 0."""

    features_N: Tensor
    units_N: Tensor
    strengths_N: Tensor
    wanted_U: Tensor
    """bool"""


class Scores(NamedTuple):
    """For the features that fire, ascending; columns are labellings."""

    features_A: Tensor
    auroc_AP: Tensor
    difference_AP: Tensor


def score(units: Units, wanted_UP: Tensor) -> Scores:
    """AUROC and difference of means of every feature for every labelling, a bool column with both kinds in it.

    Units on which a feature is silent are tied at 0, below all others.
    """
    order_N = units.strengths_N.argsort()
    order_N = order_N[units.features_N[order_N].argsort(stable=True)]
    strengths_N, owners_N = units.strengths_N[order_N].double(), units.units_N[order_N]
    features_A, place_N, count_A = _runs(units.features_N[order_N])
    first_A = count_A.cumsum(0) - count_A
    # Mean rank of equal strengths of one feature, from 1, the silent units not counted.
    _, tied_N, times_M = _runs(torch.stack([place_N.double(), strengths_N], 1))
    ends_M = times_M.cumsum(0)
    rank_N = (ends_M - (times_M - 1) / 2)[tied_N] - first_A[place_N]
    silent_A = len(wanted_UP) - count_A
    weight_N = rank_N + (silent_A[place_N] - 1) / 2  # above the mean rank of the silent ones

    wanted_P = wanted_UP.sum(0).double()
    unwanted_P = len(wanted_UP) - wanted_P
    ranks_AP, own_AP = (torch.zeros(len(features_A), wanted_UP.shape[1], dtype=torch.float64) for _ in range(2))
    labels_UP = wanted_UP.double()
    step = max(_NUMBERS_AT_ONCE // max(wanted_UP.shape[1], 1), 1)
    for start in range(0, len(order_N), step):
        part = slice(start, start + step)
        labels_NP = labels_UP[owners_N[part]]
        ranks_AP.index_add_(0, place_N[part], labels_NP * weight_N[part, None])
        own_AP.index_add_(0, place_N[part], labels_NP * strengths_N[part, None])
    all_A = torch.zeros(len(features_A), dtype=torch.float64).index_add_(0, place_N, strengths_N)
    ranks_AP += wanted_P * ((silent_A + 1) / 2)[:, None]
    auroc_AP = (ranks_AP - wanted_P * (wanted_P + 1) / 2) / (wanted_P * unwanted_P)
    difference_AP = own_AP / wanted_P - (all_A[:, None] - own_AP) / unwanted_P
    return Scores(features_A, auroc_AP, difference_AP)


def _runs(rows_N: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """The first of each run of equal rows, which run each row is of, and how long the runs are."""
    first, run_N, length = torch.unique_consecutive(rows_N, return_inverse=True, return_counts=True, dim=0)
    return first, run_N, length


def relabellings(wanted_U: Tensor, unit: Unit, most: int, seed: int) -> tuple[Tensor, bool]:
    """Labellings that keep the number of wanted units, bool [U, P], and whether they are all that there are."""
    count, number = int(wanted_U.sum()), len(wanted_U)
    random = generator(seed, "relabelling")
    if unit == "token":
        every = number - 1 <= most
        shifts = torch.arange(1, number) if every else 1 + torch.randperm(number - 1, generator=random)[:most]
        return torch.stack([wanted_U.roll(int(shift)) for shift in shifts], 1), every
    if math.comb(number, count) <= most:
        chosen = torch.tensor(list(itertools.combinations(range(number), count)))
        labels_PU = torch.zeros(len(chosen), number, dtype=torch.bool)
        return labels_PU.scatter_(1, chosen, value=True).T, True
    draws = [torch.randperm(number, generator=random)[:count] for _ in range(most)]
    labels_PU = torch.zeros(most, number, dtype=torch.bool)
    return labels_PU.scatter_(1, torch.stack(draws), value=True).T, False


def fisher(wanted_fires: int, wanted: int, unwanted_fires: int, unwanted: int) -> float:
    """Chance of at least so many wanted units among those that fire, if firing had nothing to do with it."""
    fires, number = wanted_fires + unwanted_fires, wanted + unwanted
    ways = sum(
        math.comb(wanted, count) * math.comb(unwanted, fires - count)
        for count in range(wanted_fires, min(wanted, fires) + 1)
    )
    return ways / math.comb(number, fires)
