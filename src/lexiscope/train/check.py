"""Fidelity on held-out activations, and the check that what is saved is what was trained."""

from __future__ import annotations

import math
from collections.abc import Iterable
from pathlib import Path
from typing import NamedTuple

import torch
from torch import Tensor

from lexiscope.core.errors import ArtifactError, SelfCheckError, TrainingError
from lexiscope.saes import Batch, SparseAutoencoder


class Fidelity(NamedTuple):
    l0: float
    """Latents that fire per token, mean. 0 to F."""
    fvu: float
    """Σ ‖y - ŷ‖² / Σ ‖y - ȳ‖² of what is written, ȳ the mean of all tokens given. 0 is perfect, 1 is the mean."""


@torch.no_grad()
def fidelity(sae: SparseAutoencoder, batches: Iterable[Batch | Tensor], scale_D: Tensor | None = None) -> Fidelity:
    """As it will be used: in eval mode. Sums over all batches first, in float64, and one division at the end.

    Args:
        scale_D: units in which the FVU is measured, for hook points side by side that have different ones.
    """
    training = sae.training
    sae.eval()
    tokens, active, error, squares = 0, 0, 0.0, 0.0
    sum_D = torch.zeros(sae.output_width, dtype=torch.float64)
    units = 1.0 if scale_D is None else scale_D.double()
    for batch in batches:
        x_TD, target_TD = batch if isinstance(batch, Batch) else Batch.same(batch)
        codes = sae.encode(x_TD)
        tokens += len(x_TD)
        active += len(codes)
        output_TD = sae.reconstruct(x_TD, codes)
        # Copies in float64 of all tokens would be the peak of a run.
        for start in range(0, len(x_TD), 256):
            part = slice(start, start + 256)
            y_TD, found_TD = target_TD[part].double() * units, output_TD[part].double() * units
            error += float((y_TD - found_TD).square().sum())
            squares += float(y_TD.square().sum())
            sum_D += y_TD.sum(0)
    sae.train(training)
    variance = squares - float(sum_D.square().sum()) / tokens
    return Fidelity(active / tokens, error / variance)


def check_saved(
    folder: Path,
    trained: SparseAutoencoder,
    expected: Fidelity,
    raw_batches: Iterable[Batch | Tensor],
    scale_D: Tensor | None = None,
) -> Fidelity:
    """Load the weights in ``folder`` and measure them on raw activations.

    ``expected`` is what the model in training measured on the same activations in its own, normalised units, which are
    ``scale_D`` times as large. Rounding may swap a few latents that tie for the last place, so the two need not be
    equal to the last bit.

    Raises:
        TrainingError: what was trained reconstructs nothing.
        SelfCheckError: the saved model fires or reconstructs differently.
    """
    if not math.isfinite(expected.fvu):
        raise TrainingError(f"the run has come to nothing: its FVU on held-out activations is {expected.fvu}; lower lr")
    try:
        again = type(trained).read_weights(trained.settings(), folder)
    except ArtifactError as error:
        raise SelfCheckError(f"the weights that were written can't be read ({error}); nothing was saved") from None
    saved = fidelity(again, raw_batches, scale_D)
    l0_moved = abs(saved.l0 - expected.l0) > 0.002 * expected.l0 + 0.01
    fvu_moved = not abs(saved.fvu - expected.fvu) <= 0.002 * expected.fvu + 1e-5
    if l0_moved or fvu_moved:
        raise SelfCheckError(
            f"the saved autoencoder has L0 {saved.l0:.3f} and FVU {saved.fvu:.5f} on held-out activations, the trained "
            f"one had {expected.l0:.3f} and {expected.fvu:.5f}; it was not saved. Please report this"
        )
    return saved
