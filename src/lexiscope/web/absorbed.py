"""Absorbed: features that one feature seems to stand in for, or that seem to stand in for it, among its neighbours."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from lexiscope.index.directions.neighbours import Neighbours
from lexiscope.index.directions.relations import (
    AbsorptionSuspect,
    Candidates,
    absorption_candidates,
    absorption_suspects,
    hole,
)
from lexiscope.index.feature import Neighbour
from lexiscope.index.feature_index import FeatureIndex

_MOST_COMPARED = 4
"""Pairs whose firings are read: those that share most of their directions."""


def suspects(
    index: FeatureIndex, feature: int, beside: list[Neighbour], directions_ND: Tensor
) -> tuple[list[AbsorptionSuspect], int]:
    """The suspects, and how many of the neighbours had the directions and the rates for it.

    Args:
        directions_ND: decoder directions of the feature and of these neighbours, in this order.
    """
    numbers = [feature, *(near.feature for near in beside)]
    features_FK = torch.full((len(numbers), max(len(beside), 1)), -1)
    cosines_FK = torch.full(features_FK.shape, -torch.inf)
    features_FK[0, : len(beside)] = torch.arange(1, len(numbers))
    cosines_FK[0, : len(beside)] = torch.tensor([near.cosine for near in beside])
    summaries = index.summaries(numbers)
    found = absorption_candidates(
        directions_ND,
        Neighbours(features_FK, cosines_FK),
        torch.tensor([summaries[number].density for number in numbers]),
        torch.tensor([summaries[number].mean_activation for number in numbers]),
    )
    order = found.supplied_P.argsort(descending=True, stable=True)[:_MOST_COMPARED]
    name_of = torch.tensor(numbers)
    candidates = Candidates(
        name_of[found.absorbing_P[order]],
        name_of[found.absorbed_P[order]],
        found.cosine_P[order],
        found.supplied_P[order],
    )
    tokens_T = np.asarray(index.text.tokens_T)
    holes = [
        hole(index.firings(absorbing)[0], index.firings(absorbed)[0], tokens_T)
        for absorbing, absorbed in zip(candidates.absorbing_P.tolist(), candidates.absorbed_P.tolist(), strict=True)
    ]
    return absorption_suspects(candidates, holes), len(found.absorbing_P)
