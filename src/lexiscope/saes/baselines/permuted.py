"""Permuted decoder: a trained autoencoder in which every latent writes what another one learned to write.

Codes are unchanged, so L0, density and dead latents are too; which direction belongs to which code is lost. What a
score keeps under it does not depend on that.
"""

from __future__ import annotations

import copy

import torch

from lexiscope.core.errors import InputError
from lexiscope.core.seeds import generator
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.saes.dictionary import LinearDictionary


@torch.no_grad()
def permute_decoder(sae: SparseAutoencoder, *, seed: int = 0) -> LinearDictionary:
    """A copy of ``sae`` whose decoder rows are permuted; none stays where it was, if there are two.

    Raises:
        InputError: it has no decoder apart from its encoder.
    """
    if not isinstance(sae, LinearDictionary):
        raise InputError(
            f"{sae.config.architecture} has no decoder apart from its encoder; permute one that has, such as topk"
        )
    permuted = copy.deepcopy(sae)
    permuted.artifact = None
    cycle = torch.randperm(sae.num_latents, generator=generator(seed, "permuted")).to(sae.device)
    permuted.W_dec_FD[cycle] = sae.W_dec_FD[cycle.roll(1)]
    return permuted
