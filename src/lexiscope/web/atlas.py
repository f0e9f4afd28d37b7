"""Atlas: decoder directions in the plane, by their two main components (PCA), for a picture of a dictionary.

    X_ND   unit decoder directions of live features, their mean taken away
    XᵀX v_k = λ_k v_k,   place of a feature = (x·v_1, x·v_2)

Directions of a dictionary are nearly orthogonal, so two axes hold little of them: how little is said with the picture.
N features drawn, D width.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from lexiscope.core.artifact import Artifact
from lexiscope.index.feature_index import FeatureIndex

MOST_DRAWN = 5000
_COMPONENTS = 8
"""Found together, so that the first two converge soon."""
_ROUNDS = 30


class Places(NamedTuple):
    """Where features lie."""

    features_N: NDArray[np.int64]
    places_N2: NDArray[np.float32]
    held: float
    """Share of the variance of the directions that the two axes hold."""


def places(index: FeatureIndex, sae: Artifact) -> Places:
    """The places of the live features, or of 5,000 of them evenly through their numbers.

    Raises:
        ArtifactError: the SAE is damaged.
    """
    import torch

    from lexiscope.index.directions.effects import map_directions

    live_L = index.live_L
    chosen_N = live_L[np.unique(np.linspace(0, len(live_L) - 1, min(len(live_L), MOST_DRAWN)).astype(np.int64))]
    directions_FD = map_directions(sae)
    x_ND = directions_FD[torch.from_numpy(chosen_N)].float().numpy()
    places_N2, held = project(x_ND)
    return Places(chosen_N.astype(np.int64), places_N2, held)


def project(x_ND: NDArray[np.float32]) -> tuple[NDArray[np.float32], float]:
    """Rows in the plane of their two main components, and the share of their variance that it holds."""
    if len(x_ND) < 3:
        return np.zeros((len(x_ND), 2), np.float32), 1.0
    x_ND = x_ND / np.maximum(np.linalg.norm(x_ND, axis=1, keepdims=True), 1e-30)
    x_ND = x_ND - x_ND.mean(0)
    count = min(_COMPONENTS, *x_ND.shape)
    axes_DC = np.linalg.qr(np.random.default_rng(0).standard_normal((x_ND.shape[1], count)))[0].astype(np.float32)
    for _ in range(_ROUNDS):
        axes_DC = np.linalg.qr(x_ND.T @ (x_ND @ axes_DC))[0]
    # Within the subspace that was found the components are exact.
    projected_NC = x_ND @ axes_DC
    left_NC, sizes_C, _ = np.linalg.svd(projected_NC, full_matrices=False)
    places_N2 = np.zeros((len(x_ND), 2), np.float32)
    places_N2[:, : min(2, count)] = (left_NC * sizes_C)[:, :2]
    farthest = np.abs(places_N2).argmax(0)
    places_N2 *= np.where(places_N2[farthest, [0, 1]] < 0, -1, 1)  # a component has no sign of its own
    return places_N2, float((sizes_C[:2] ** 2).sum() / max((x_ND**2).sum(), 1e-30))
