"""Aligned training: what a latent reads and what it writes agree exactly, ⟨W_enc, W_dec⟩ = 1 for every latent.

    W_enc ← W_enc + (1 - ⟨W_enc, W_dec⟩) W_dec / ‖W_dec‖²      after every step

A latent that adds f of its direction to x then scores f higher on it. Latents whose encoder has turned away from their
decoder, which is how most die, can't come about. The nearest encoder row that fulfils the constraint is taken, which
has an answer where dividing by the inner product has none.

Source: arXiv:2605.18629, "Aligned Training", which builds the constraint into the parameters instead. D model width, F
latents.
"""

from __future__ import annotations

from typing import ClassVar

import torch

from lexiscope.core.errors import InputError
from lexiscope.saes import SparseAutoencoder
from lexiscope.train.terms.term import AfterStep, Term, TermConfig, linear


class Config(TermConfig):
    """Nothing to set."""


class Alignment(Term):
    config: Config
    config_type: ClassVar[type[Config]] = Config

    def __init__(self, config: Config, sae: SparseAutoencoder) -> None:
        super().__init__(config, sae)
        self.dictionary = linear(sae, "alignment")
        if not self.dictionary.ties_centre:
            raise InputError(
                f"alignment compares what a latent reads with what it writes, but {sae.config.architecture} reads and "
                "writes in different places; leave it out"
            )

    @torch.no_grad()
    def after_step(self, done: AfterStep) -> None:  # noqa: ARG002
        W_enc_FD, W_dec_FD = self.dictionary.W_enc_FD, self.dictionary.W_dec_FD
        square_F = torch.linalg.vecdot(W_dec_FD, W_dec_FD)
        gap_F = 1 - torch.linalg.vecdot(W_enc_FD, W_dec_FD)
        share_F = torch.where(square_F > 0, gap_F / square_F, 0.0)
        W_enc_FD.addcmul_(W_dec_FD, share_F[:, None])
