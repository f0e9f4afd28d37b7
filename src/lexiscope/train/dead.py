"""DeadLatents: which latents have been silent, counted in tokens."""

from __future__ import annotations

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes

QUIET_SHARE = 4
"""A latent is quiet after this part of the time after which it is dead. Help then, in a linear world of TopK, raised
MMCS from 0.971 to 0.983 and FVE from 0.770 to 0.773 over help for the dead only."""


class DeadLatents:
    """A latent is dead when it has fired on none of the last ``dead_after_tokens`` tokens. F latents."""

    def __init__(self, num_latents: int, dead_after_tokens: int) -> None:
        self.dead_after_tokens = dead_after_tokens
        self.silent_tokens_F = torch.zeros(num_latents, dtype=torch.int64)

    def update(self, codes: SparseCodes) -> None:
        """Take in one batch; call once per optimizer step. The batch counts as a whole, not token by token."""
        self.silent_tokens_F = self.silent_tokens_F.to(codes.latents.device)
        self.silent_tokens_F += codes.num_tokens
        self.silent_tokens_F[codes.latents] = 0

    @property
    def quiet_F(self) -> Tensor:
        """Which are dead or on their way to be, bool [F]."""
        return self.silent_tokens_F >= max(1, self.dead_after_tokens // QUIET_SHARE)

    def revive(self, latents: Tensor) -> None:
        """These start again somewhere else: their silence begins now."""
        self.silent_tokens_F[latents] = 0

    @property
    def mask_F(self) -> Tensor:
        """Which are dead, bool [F]."""
        return self.silent_tokens_F >= self.dead_after_tokens
