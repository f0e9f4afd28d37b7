"""How to find the few large numbers of a matrix in stock torch operators, without sorting its rows.

Latents that lie ``F / size`` apart are a group. The largest of every group come from one pass that vectorises well, and
all the rest reads only groups that have something to offer. T rows, F columns, G groups, N found.
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes

LARGEST_GROUP = 16


class Maxima(NamedTuple):
    """The largest of every group: group g holds columns g, g + G, g + 2 G, …"""

    size: int
    largest_TG: Tensor


class Found(NamedTuple):
    """Places in a matrix, rows ascending."""

    rows_N: Tensor
    columns_N: Tensor


def maxima(keys_TF: Tensor, *, at_least: int = 1) -> Maxima:
    """In groups as large as is useful, and small enough for there to be ``at_least`` so many, if F allows it."""
    width = keys_TF.shape[1]
    size = LARGEST_GROUP
    while size > 1 and (width % size or width // size < at_least):
        size //= 2
    if size == 1:
        return Maxima(1, keys_TF)
    return Maxima(size, keys_TF.view(len(keys_TF), size, width // size).amax(1))


def below_kth(top: Maxima, k: int) -> Tensor | None:
    """Numbers [T] that the k-th largest key of every row reaches; None: there are not enough groups.

    The k-th largest of group maxima: k groups have a member that large. With four times as many groups as k, it falls
    short of about one key in seven more than k.
    """
    largest_TG = top.largest_TG
    num_groups = largest_TG.shape[1]
    if num_groups < 2 * k:
        return None
    fold = 1
    while num_groups % (2 * fold) == 0 and num_groups // (2 * fold) >= 4 * k:
        fold *= 2
    if fold > 1:
        largest_TG = largest_TG.view(len(largest_TG), fold, num_groups // fold).amax(1)
    return largest_TG.topk(k, dim=1, sorted=False).values.amin(1)


def groups_at(top: Maxima, floor_T: Tensor, *, strictly: bool = False) -> Found:
    """The groups with a key of at least the floor of its row, or above it."""
    rows, groups = _reach(top.largest_TG, floor_T[:, None], strictly).nonzero().unbind(1)
    return Found(rows, groups)


def members_at(keys_TF: Tensor, top: Maxima, hits: Found, floor_T: Tensor, *, strictly: bool = False) -> Found:
    """Every place where a key of these groups is at least the floor of its row, or above it."""
    if top.size == 1:
        return hits
    num_groups = top.largest_TG.shape[1]
    members = keys_TF.view(len(keys_TF), top.size, num_groups).permute(0, 2, 1)[hits]
    hit, member = _reach(members, floor_T[hits.rows_N][:, None], strictly).nonzero().unbind(1)
    return Found(hits.rows_N[hit], hits.columns_N[hit] + member * num_groups)


def find(keys_TF: Tensor, floor_T: Tensor, *, strictly: bool = False) -> Found:
    """Every place where a key is at least the floor of its row, or above it."""
    top = maxima(keys_TF)
    return members_at(keys_TF, top, groups_at(top, floor_T, strictly=strictly), floor_T, strictly=strictly)


def _reach(keys: Tensor, floors: Tensor, strictly: bool) -> Tensor:
    return keys > floors if strictly else keys >= floors


def starts_of(rows_N: Tensor, num_rows: int) -> Tensor:
    """Where every row starts among ascending rows, and where the last one ends: int64 [T + 1]."""
    return torch.searchsorted(rows_N, torch.arange(num_rows + 1, device=rows_N.device))


def codes_of(found: Found, values_N: Tensor, num_rows: int, num_columns: int) -> SparseCodes:
    return SparseCodes(starts_of(found.rows_N, num_rows), found.columns_N, values_N, num_columns)


def largest_of_rows(found: Found, values_N: Tensor, num_rows: int, num_columns: int, k: int) -> SparseCodes:
    """The k largest positive values of every row, in the order in which they were found; of equal ones the first."""
    starts_T = starts_of(found.rows_N, num_rows)
    width = int(starts_T.diff().max()) if num_rows else 0
    if width <= k:
        return _chosen(found, values_N, values_N > 0, num_rows, num_columns)
    padded_TW = values_N.new_zeros(num_rows, width)
    shift_T = torch.arange(0, num_rows * width, width, device=values_N.device) - starts_T[:-1]
    into_N = torch.arange(len(values_N), device=values_N.device).add_(shift_T[found.rows_N])
    padded_TW.view(-1)[into_N] = values_N
    smallest_N = padded_TW.topk(k, dim=1, sorted=False).values.amin(1)[found.rows_N]
    codes = _chosen(found, values_N, (values_N >= smallest_N).logical_and_(values_N > 0), num_rows, num_columns)
    if int(codes.counts().max()) <= k:
        return codes
    above_N, equal_N = values_N > smallest_N, values_N == smallest_N
    room_T = k - _sums(above_N, starts_T).diff()
    place_N = equal_N.cumsum(0) - _sums(equal_N, starts_T)[:-1][found.rows_N]
    keep_N = above_N | (equal_N & (place_N <= room_T[found.rows_N]))
    return _chosen(found, values_N, keep_N & (values_N > 0), num_rows, num_columns)


def _chosen(found: Found, values_N: Tensor, keep_N: Tensor, num_rows: int, num_columns: int) -> SparseCodes:
    chosen = keep_N.nonzero().squeeze(1)
    return codes_of(Found(found.rows_N[chosen], found.columns_N[chosen]), values_N[chosen], num_rows, num_columns)


def _sums(flags_N: Tensor, starts_T: Tensor) -> Tensor:
    """How many flags lie before the start of every row."""
    return torch.cat([starts_T.new_zeros(1), flags_N.cumsum(0)])[starts_T]


def largest_of_all(codes: SparseCodes, budget: int) -> SparseCodes:
    """The entries with the ``budget`` largest values, in their order; of equal ones those that come first."""
    if len(codes) <= budget:
        return codes
    if budget == 0:
        chosen = codes.latents.new_empty(0)
    else:
        smallest = codes.values.kthvalue(len(codes) - budget + 1).values
        above_N, equal_N = codes.values > smallest, codes.values == smallest
        room = budget - above_N.sum()
        chosen = (above_N | (equal_N & (equal_N.cumsum(0) <= room))).nonzero().squeeze(1)
    offsets = torch.searchsorted(chosen, codes.offsets)
    return SparseCodes(offsets, codes.latents[chosen], codes.values[chosen], codes.num_latents)


def merge(one: SparseCodes, other: SparseCodes, rows_of_other: Tensor) -> SparseCodes:
    """Rows of ``one``, of which some are empty and come from ``other`` instead."""
    rows_N = torch.cat([one.tokens(), rows_of_other[other.tokens()]])
    rows_N, order_N = rows_N.sort(stable=True)
    latents_N = torch.cat([one.latents, other.latents])[order_N]
    values_N = torch.cat([one.values, other.values])[order_N]
    return codes_of(Found(rows_N, latents_N), values_N, one.num_tokens, one.num_latents)
