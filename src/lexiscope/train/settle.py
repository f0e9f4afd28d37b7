"""settle: what happens to an autoencoder between its last step and its final name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import torch

from lexiscope.core.draft import Draft
from lexiscope.saes import Batch, SparseAutoencoder
from lexiscope.saes.repair import mendable, merge_duplicates, undo_shrinkage
from lexiscope.saes.weights import WEIGHTS
from lexiscope.train.check import check_saved, fidelity
from lexiscope.train.config import Choice, TrainConfig
from lexiscope.train.source import join
from lexiscope.train.stream import Units


def settle(
    sae: SparseAutoencoder,
    units: Units,
    heldout: Sequence[Batch],
    draft: Draft,
    config: TrainConfig,
    choices: Mapping[str, Choice],
) -> None:
    """Repair, calibrate on held-out activations, take over the units of the activations, write, check what was written.

    Args:
        heldout: as harvested.

    Raises:
        SelfCheckError: the written weights do not do what the trained ones did.
    """
    sae.eval()
    normal = [units(batch) for batch in heldout]
    if repairs := _repair_and_calibrate(sae, join(normal), config):
        draft.notes["repairs"] = repairs
    expected = fidelity(sae, normal)
    sae.absorb(*units)
    draft.known[WEIGHTS] = sae.write_weights(draft.path, getattr(torch, config.weights_dtype))
    saved = check_saved(draft.path, sae, expected, heldout, units.target.scale_D)
    draft.notes["heldout"] = saved._asdict()
    draft.notes["choices"] = {name: choice._asdict() for name, choice in choices.items()}
    draft.notes["threads"] = torch.get_num_threads()


def _repair_and_calibrate(sae: SparseAutoencoder, heldout: Batch, config: TrainConfig) -> dict[str, Any]:
    """What was repaired. Thresholds are set once no more latents merge, and codes are stretched as they then are."""
    repairs: dict[str, Any] = {}
    if "duplicates" in config.repair:
        repairs["duplicates"] = merge_duplicates(mendable(sae, config.repair), heldout.input_TD)
    sae.calibrate(heldout.input_TD, config.target_l0)
    if "shrinkage" in config.repair:
        done = undo_shrinkage(mendable(sae, config.repair), heldout)._asdict()
        repairs["shrinkage"] = {name: value for name, value in done.items() if name != "factors_F"}
    return repairs
