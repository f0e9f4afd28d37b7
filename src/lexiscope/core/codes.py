"""SparseCodes: which latents fire on which token, and how strongly.

T tokens, F latents, N active (token, latent) pairs.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class SparseCodes:
    """Compressed sparse rows over tokens: token t owns the entries ``offsets[t]:offsets[t + 1]``.

    Attributes:
        offsets: int64 [T + 1], non-decreasing, from 0 to N.
        latents: int64 [N], each in 0..num_latents-1, no latent twice in a row.
        values: float [N]. An active latent has a value other than zero. While training, entries of value zero may be
            there because a gradient passes through them; `fired` leaves them out.
        num_latents: F.
        aside: other entries of the same tokens, which a loss term reads and the decoder does not (training).
    """

    offsets: Tensor
    latents: Tensor
    values: Tensor
    num_latents: int
    aside: SparseCodes | None = None

    @property
    def num_tokens(self) -> int:
        return len(self.offsets) - 1

    def __len__(self) -> int:
        """How many (token, latent) pairs are active."""
        return len(self.latents)

    def tokens(self) -> Tensor:
        """The token of every entry, int64 [N]."""
        return torch.repeat_interleave(torch.arange(self.num_tokens, device=self.offsets.device), self.offsets.diff())

    def counts(self) -> Tensor:
        """How many latents fire on each token (its L0), int64 [T]."""
        return self.offsets.diff()

    def firings(self) -> Tensor:
        """On how many tokens each latent fires, int64 [F]."""
        return torch.bincount(self.latents, minlength=self.num_latents)

    def row(self, token: int) -> tuple[Tensor, Tensor]:
        """Latents and values of one token."""
        span = slice(int(self.offsets[token]), int(self.offsets[token + 1]))
        return self.latents[span], self.values[span]

    def dense(self) -> Tensor:
        """The [T, F] matrix. For tests and small views only: everything else stays sparse."""
        out = self.values.new_zeros(self.num_tokens, self.num_latents)
        out[self.tokens(), self.latents] = self.values
        return out

    def fired(self) -> SparseCodes:
        """Without the entries of value zero, and without gradients."""
        return self.detach().keep(self.values.detach() != 0)

    def keep(self, keep_N: Tensor) -> SparseCodes:
        """The entries where a bool [N] is true, with their gradients."""
        if bool(keep_N.all()):
            return SparseCodes(self.offsets, self.latents, self.values, self.num_latents)
        before_N1 = torch.cat([self.offsets[:1], keep_N.cumsum(0)])
        return SparseCodes(before_N1[self.offsets], self.latents[keep_N], self.values[keep_N], self.num_latents)

    def detach(self) -> SparseCodes:
        return SparseCodes(self.offsets, self.latents, self.values.detach(), self.num_latents)

    @classmethod
    def from_topk(cls, values_TK: Tensor, latents_TK: Tensor, num_latents: int) -> SparseCodes:
        """From the k largest of every row; entries of value zero are dropped."""
        keep = values_TK != 0
        offsets = torch.zeros(len(values_TK) + 1, dtype=torch.int64, device=values_TK.device)
        torch.cumsum(keep.sum(1), 0, out=offsets[1:])
        return cls(offsets, latents_TK[keep], values_TK[keep], num_latents)

    @classmethod
    def from_dense(cls, codes_TF: Tensor) -> SparseCodes:
        """The non-zero entries of a dense matrix, latents ascending in each row."""
        tokens, latents = codes_TF.nonzero(as_tuple=True)
        offsets = torch.zeros(len(codes_TF) + 1, dtype=torch.int64, device=codes_TF.device)
        torch.cumsum(torch.bincount(tokens, minlength=len(codes_TF)), 0, out=offsets[1:])
        return cls(offsets, latents, codes_TF[tokens, latents], codes_TF.shape[1])

    @classmethod
    def concat(cls, parts: Iterable[SparseCodes]) -> SparseCodes:
        """Rows of several pieces, one after another. All share num_latents; at least one piece."""
        parts = list(parts)
        starts = [0]
        for part in parts:
            starts.append(starts[-1] + len(part))
        offsets = [part.offsets[:-1] + start for part, start in zip(parts, starts, strict=False)]
        end = torch.tensor([starts[-1]], dtype=torch.int64, device=parts[0].offsets.device)
        return cls(
            torch.cat([*offsets, end]),
            torch.cat([part.latents for part in parts]),
            torch.cat([part.values for part in parts]),
            parts[0].num_latents,
        )
