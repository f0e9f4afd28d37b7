"""Search: the single latent that tells a concept best, and how well it does on other documents.

A latent says yes where it fires at least as strongly as a threshold. F1 = 2 TP / (TP + FP + positives). On one set of
tokens the search goes over every latent and every threshold that makes a difference, exactly; the one latent and
threshold that it settles on are then scored on the other set. T tokens, F latents, N active (token, latent) pairs.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from lexiscope.core.codes import SparseCodes

Ints = NDArray[np.int32] | NDArray[np.int64]
Bools = NDArray[np.bool_]
Labels = tuple[Bools, Bools]
"""Which tokens are positive, and which are judged: all the positive ones and some others."""


@dataclass(frozen=True)
class Detector:
    """One latent and the activation from which it counts as saying yes."""

    latent: int
    threshold: float
    f1: float
    """On the tokens that it was chosen on."""


def find_each(labels: Sequence[Labels], parts: Sequence[SparseCodes], entries_at_once: int) -> list[Detector | None]:
    """`SortedCodes.find` for each of many labels, over codes of all tokens that come in parts.

    Args:
        entries_at_once: about how many entries to sort at a time.
    """
    best: list[Detector | None] = [None] * len(labels)
    every_F = torch.ones(parts[0].num_latents, dtype=torch.bool)
    for _, codes in _blocks(parts, every_F, entries_at_once):
        counts: dict[bytes, Ints] = {}
        for place, (positive_T, judged_T) in enumerate(labels):
            key = np.packbits(judged_T).tobytes()
            if key not in counts:
                counts[key] = codes.count(judged_T)
            found, known = codes.find(positive_T, counts[key]), best[place]
            if found and (known is None or (found.f1, -found.latent) > (known.f1, -known.latent)):
                best[place] = found
    return best


def score_each(
    detectors: Sequence[Detector | None],
    labels: Sequence[Labels],
    parts: Sequence[SparseCodes],
    entries_at_once: int,
) -> list[tuple[float, float]]:
    """`SortedCodes.score` of each detector on its labels; 0 and 0 where there is none."""
    num_latents = parts[0].num_latents
    wanted_F = torch.zeros(num_latents, dtype=torch.bool)
    wanted_F[[detector.latent % num_latents for detector in detectors if detector]] = True
    scores = [(0.0, 0.0)] * len(detectors)
    for within_F, codes in _blocks(parts, wanted_F, entries_at_once):
        for place, detector in enumerate(detectors):
            if detector and within_F[detector.latent % num_latents]:
                scores[place] = codes.score(detector, *labels[place])
    return scores


def _blocks(
    parts: Sequence[SparseCodes], wanted_F: torch.Tensor, entries_at_once: int
) -> Iterator[tuple[torch.Tensor, SortedCodes]]:
    """The wanted latents, some at a time (bool [F]), with their codes of all tokens."""
    firings_F = torch.stack([part.firings() for part in parts]).sum(0) * wanted_F
    block_F = firings_F.cumsum(0) // entries_at_once
    for block in sorted(set(block_F[wanted_F].tolist())):
        within_F = wanted_F & (block_F == block)
        yield within_F, SortedCodes(SparseCodes.concat(_only(part, within_F) for part in parts))


def _only(codes: SparseCodes, within_F: torch.Tensor) -> SparseCodes:
    """The entries of some latents."""
    keep = within_F[codes.latents]
    before = torch.cat([torch.zeros(1, dtype=torch.int64), keep.cumsum(0)])
    return SparseCodes(before[codes.offsets], codes.latents[keep], codes.values[keep], codes.num_latents)


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

    def count(self, judged_T: Bools) -> Ints:
        """How many of the first n entries are of judged tokens, for n from 0 to N: [N + 1]."""
        counted = np.zeros(len(self.tokens_N) + 1, dtype=np.int32)
        np.cumsum(judged_T[self.tokens_N], out=counted[1:])
        return counted

    def find(self, positive_T: Bools, counted: Ints) -> Detector | None:
        """The latent and threshold with the greatest F1 on judged tokens; None where no latent fires on a positive.

        Args:
            positive_T: positive tokens, all of them judged.
            counted: `count` of the judged tokens.
        """
        entries = self._entries(np.flatnonzero(positive_T))
        if not len(entries):
            return None
        latents = self.latents_N[entries]
        hits = np.arange(1, len(entries) + 1) - np.searchsorted(entries, self._first_F)[latents]
        said_yes = counted[self._tie_end_N[entries] + 1] - counted[self._first_F][latents]
        f1 = 2 * hits / (said_yes + int(positive_T.sum()))
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
