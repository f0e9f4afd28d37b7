"""Search: the single latent that tells a concept best, and how well it does on other documents.

A latent says yes where it fires at least as strongly as a threshold. F1 = 2 TP / (TP + FP + positives). On one set of
tokens the search goes over every latent and every threshold that makes a difference, exactly; the one latent and
threshold that it settles on are then scored on the other set. T tokens, F latents, N active (token, latent) pairs.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lexiscope.core.codes import SparseCodes

Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


@dataclass(frozen=True)
class Detector:
    """One latent and the activation from which it counts as saying yes."""

    latent: int
    threshold: float
    f1: float
    """On the tokens that it was chosen on."""


class SortedCodes:
    """Codes of T tokens, latent by latent, each latent's activations from strong to weak.

    Where latents have negative values, each is taken as two: latent f + F fires where f is negative.
    """

    def __init__(self, codes: SparseCodes) -> None:
        latents_N, values_N = codes.latents.numpy(), codes.values.detach().float().numpy()
        negative_N = values_N < 0
        if negative_N.any():
            latents_N = latents_N + codes.num_latents * negative_N
            values_N = np.abs(values_N)
        # The bits of positive floats sort as the floats do, so latent and value make one sortable integer.
        keys_N = (latents_N << 32) | (0xFFFFFFFF - values_N.view(np.uint32).astype(np.int64))
        order_N = np.argsort(keys_N)
        keys_N = keys_N[order_N]
        self.tokens_N = codes.tokens().numpy()[order_N].astype(np.int32)
        self.latents_N = latents_N[order_N].astype(np.int32)
        self.values_N = values_N[order_N]
        new_N = np.diff(keys_N, prepend=-1) != 0
        lasts = np.append(np.flatnonzero(new_N)[1:], len(keys_N)) - 1
        self._tie_end_N = lasts[np.cumsum(new_N) - 1].astype(np.int32)
        self._first_F = np.concatenate([[0], np.cumsum(np.bincount(latents_N, minlength=2 * codes.num_latents))])
        self._offsets_T = codes.offsets.numpy()
        self._place_N = np.empty(len(order_N), dtype=np.int32)
        """Where the entries of each token, in the order of the codes, went."""
        self._place_N[order_N] = np.arange(len(order_N), dtype=np.int32)

    def ranks(self, judged_T: Bools) -> Ints:
        """How many judged tokens have at least the strength of each entry on its latent, [N]."""
        counted_N = np.concatenate([[0], np.cumsum(judged_T[self.tokens_N])])
        before_N = counted_N[self._first_F[self.latents_N]]
        return np.asarray(counted_N[self._tie_end_N + 1] - before_N, dtype=np.int64)

    def find(self, positive_T: Bools, ranks_N: Ints) -> Detector | None:
        """The latent and threshold with the greatest F1 on judged tokens; None where no latent fires on a positive.

        Args:
            positive_T: positive tokens, all of them judged.
            ranks_N: `ranks` of the judged tokens.
        """
        entries = self._entries(np.flatnonzero(positive_T))
        if not len(entries):
            return None
        latents = self.latents_N[entries]
        hits = np.arange(len(entries)) - np.searchsorted(latents, latents) + 1
        f1 = 2 * hits / (ranks_N[entries] + int(positive_T.sum()))
        best = int(np.argmax(f1))
        entry = entries[best]
        return Detector(int(latents[best]), float(self.values_N[entry]), float(f1[best]))

    def score(self, detector: Detector, positive_T: Bools, judged_T: Bools) -> tuple[float, float]:
        """(F1, average precision) of a detector on judged tokens.

        Average precision is Σ (recall gained) · precision over falling thresholds, the last one below every activation.
        """
        span = slice(self._first_F[detector.latent], self._first_F[detector.latent + 1])
        judged = judged_T[self.tokens_N[span]]
        tokens, values = self.tokens_N[span][judged], self.values_N[span][judged]
        hits = np.cumsum(positive_T[tokens])
        positives = int(positive_T.sum())
        said_yes = int((values >= detector.threshold).sum())
        f1 = 2 * (int(hits[said_yes - 1]) if said_yes else 0) / max(said_yes + positives, 1)
        # One step per distinct value, and a last one for the tokens on which the latent is silent.
        steps = np.append(np.flatnonzero(np.diff(values)), len(values) - 1) if len(values) else np.array([], np.int64)
        found = np.concatenate([[0], hits[steps], [positives]])
        asked = np.append(steps + 1, int(judged_T.sum()))
        return f1, float(np.sum(np.diff(found) * found[1:] / np.maximum(asked, 1)) / max(positives, 1))

    def _entries(self, tokens: Ints) -> Ints:
        """Places of all entries of some tokens, ascending."""
        first, lengths = self._offsets_T[tokens], self._offsets_T[tokens + 1] - self._offsets_T[tokens]
        shift = np.repeat(first - np.cumsum(lengths) + lengths, lengths)
        return np.sort(self._place_N[np.arange(len(shift)) + shift])
