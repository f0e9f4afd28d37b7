"""settle: what happens to an autoencoder between its last step and its final name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch

from lexiscope.core.artifact import Draft
from lexiscope.saes import Batch, SparseAutoencoder
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
    """Calibrate on held-out activations, take over the units of the activations, write, and check what was written.

    Args:
        heldout: as harvested.

    Raises:
        SelfCheckError: the written weights do not do what the trained ones did.
    """
    sae.eval()
    normal = [units(batch) for batch in heldout]
    sae.calibrate(join(normal).input_TD, config.target_l0)
    expected = fidelity(sae, normal)
    sae.absorb(*units)
    sae.write_weights(draft.path, getattr(torch, config.weights_dtype))
    draft.notes["heldout"] = check_saved(draft.path, sae, expected, heldout)._asdict()
    draft.notes["choices"] = {name: choice._asdict() for name, choice in choices.items()}
    draft.notes["threads"] = torch.get_num_threads()
