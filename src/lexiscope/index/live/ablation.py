"""Ablation: what the model predicts when a feature's own contribution is taken out of its activations.

    x → x - f · W_dec[feature]

on the firing token alone, or on every token where the feature fires; nothing else changes, so what the dictionary does
not explain stays. A number of nats alone says little, hence two controls that take out as much, by length: another
feature's direction, and a random one. Effects are told at the firing token and over the tokens that follow.

The contribution is taken out where the dictionary writes: a transcoder's from what it writes. A crosscoder writes
several places, and what is taken out at the first is still gone at the next: there, on the tokens concerned, the
activation becomes that of the untouched model less the contribution, so that nothing is taken out twice.

B examples, C tokens per context, E width of all that is written, V vocabulary, J runs, P positions from the focus on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.seeds import generator
from lexiscope.index.live.beside import directions, shifted
from lexiscope.index.live.changes import PARTS, AblatedExample, Ablation, Change, Compared, ProbabilityChange, compare
from lexiscope.index.live.contexts import Contexts, Places, encode
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder

_NUMBERS_AT_ONCE = 1 << 25
"""Logits held at once: 128 MB."""
Scope = Literal["at_focus", "everywhere"]
_SCOPES: tuple[Scope, ...] = ("at_focus", "everywhere")


class Window(NamedTuple):
    """A text as token ids without BOS, and which of them the feature is said to fire on."""

    tokens: Sequence[int]
    focus: int


def windows_at(
    tokens_T: NDArray[np.integer],
    context_starts: NDArray[np.int64],
    rows: Sequence[int],
    *,
    before: int | None = 64,
    after: int = 12,
) -> list[Window]:
    """The text around rows of an index or a store, all of the row's context.

    Args:
        context_starts: first row of every context, ascending; the first is 0.
        before: tokens before each row. None: from where the context starts, so that the feature fires exactly as it did
            there; it costs time, and what a feature does seldom hangs on words that far back.
        after: tokens after each row.
    """
    windows = []
    for row in rows:
        context = int(np.searchsorted(context_starts, row, side="right"))
        start = int(context_starts[context - 1])
        first = start if before is None else max(start, row - before)
        end = int(context_starts[context]) if context < len(context_starts) else len(tokens_T)
        windows.append(Window(tokens_T[first : min(row + after + 1, end)].tolist(), row - first))
    return windows


@torch.no_grad()
def ablate(
    model: LanguageModel,
    sae: SparseAutoencoder,
    feature: int,
    windows: Sequence[Window],
    *,
    hooks: Sequence[HookPoint] = (),
    others: Tensor | None = None,
    changed: int = 8,
    seed: int = 0,
) -> Ablation:
    """Take a feature out of its examples. A feature that does not fire changes nothing at all.

    Args:
        hooks: for an autoencoder that does not say itself what it reads.
        others: numbers of the features that serve as controls, the live ones; None: all.
        changed: how many tokens are named.
        seed: draws the controls and the resamples.

    Raises:
        InputError: a window or a feature that is not there.
    """
    if not 0 <= feature < sae.num_latents:
        raise InputError(f"there is no feature {feature}; this dictionary has features 0 to {sae.num_latents - 1}")
    for window in windows:
        if not 0 <= window.focus < len(window.tokens):
            raise InputError(f"there is no token {window.focus} in a window of {len(window.tokens)}")
    run = _Run(model, sae, feature, windows, Places.of(sae, hooks))
    kinds = [(scope, part) for scope in _SCOPES for part in PARTS]
    vectors = dict(zip(PARTS, run.vectors(others, seed), strict=True))
    # Where the feature fires at the focus alone, both are the same ablation, which is run once.
    alone_B = (run.fires_BC == run.at_focus_BC).all(1)
    amounts = {"at_focus": run.at_focus_BC, "everywhere": run.fires_BC.masked_fill(alone_B[:, None], 0)}
    outcomes = dict(zip(kinds, run.without([(amounts[scope], vectors[part]) for scope, part in kinds]), strict=True))
    for row in alone_B.nonzero()[:, 0].tolist():
        for part in PARTS:
            outcomes["everywhere", part][row] = outcomes["at_focus", part][row]
    changes = {kind: [outcome.change for outcome in of_kind] for kind, of_kind in outcomes.items()}
    moved_BV = [outcome.at_focus_V for outcome in outcomes["at_focus", "feature"]]
    fired = [row for row, activation in enumerate(run.activations_B.tolist()) if activation != 0]

    def compared(scope: Scope) -> Compared | None:
        return compare({part: [changes[scope, part][row] for row in fired] for part in PARTS}, seed)

    before_V, after_V = (_mean([probabilities[row] for row in fired]) for probabilities in (run.focus_V, moved_BV))
    raised, lowered = run.named(before_V, after_V, changed)
    examples = []
    for row, window in enumerate(windows):
        most_raised, most_lowered = run.named(run.focus_V[row], moved_BV[row], changed)
        examples.append(
            AblatedExample(
                pieces=[model.tokenizer.piece(token) for token in window.tokens],
                focus=window.focus,
                activation=float(run.activations_B[row]),
                fires_on=int((run.fires_BC[row] != 0).sum()),
                norm_share=float(run.norm_shares_B[row]),
                at_focus=changes["at_focus", "feature"][row],
                everywhere=changes["everywhere", "feature"][row],
                raised=most_raised,
                lowered=most_lowered,
            )
        )
    return Ablation(
        feature=feature,
        examples=examples,
        fired=len(fired),
        at_focus=compared("at_focus"),
        everywhere=compared("everywhere"),
        raised=raised,
        lowered=lowered,
    )


class _Outcome(NamedTuple):
    change: Change
    at_focus_V: Tensor
    """Probabilities of the token after the focus."""


class _Run:
    """The examples in the untouched model, and the model run again with something taken out."""

    def __init__(
        self, model: LanguageModel, sae: SparseAutoencoder, feature: int, windows: Sequence[Window], places: Places
    ) -> None:
        self._model, self._sae, self._feature, self._places = model, sae, feature, places
        self._contexts = Contexts.of(model, [window.tokens for window in windows])
        clean = self._contexts.forward(model, list(dict.fromkeys([*places.reads, *places.writes])))
        self._at = clean.at
        self._focus_B = torch.tensor([window.focus + self._contexts.lead for window in windows])
        codes = encode(sae, self._contexts.side_by_side(clean.at, places.reads))
        values_T = torch.zeros(codes.num_tokens)
        mine_N = codes.latents == feature
        values_T[codes.tokens()[mine_N]] = codes.values[mine_N]
        self.fires_BC = self._contexts.spread(values_T)
        """The feature's activation on every token."""
        rows = torch.arange(len(windows))
        self.activations_B = self.fires_BC[rows, self._focus_B]
        self.at_focus_BC = torch.zeros_like(self.fires_BC)
        self.at_focus_BC[rows, self._focus_B] = self.activations_B
        self._w_E = sae.directions_FD[feature].detach().float().cpu()
        self._widths = [clean.at[hook].shape[2] for hook in places.writes]
        x_BE = torch.cat([clean.at[hook][rows, self._focus_B].float().cpu() for hook in places.writes], dim=1)
        self.norm_shares_B = self.activations_B.abs() * self._w_E.norm() / x_BE.norm(dim=1).clamp_min(1e-30)
        self._clean = [self._told(clean.logits_BCV, row, row) for row in rows.tolist()]
        self.focus_V = [log_PV[0].exp() for log_PV in self._clean]
        self._loss = [self._losses(log_PV, row) for row, log_PV in enumerate(self._clean)]

    def vectors(self, others: Tensor | None, seed: int) -> tuple[Tensor, Tensor, Tensor]:
        """What one unit takes out, for every example [B, E]: the feature's own, another's, a random one's."""
        random = generator(seed, "ablation", self._feature)
        return directions(self._sae, self._feature, len(self._focus_B), self._widths, others, random)

    def without(self, ablations: Sequence[tuple[Tensor, Tensor]]) -> list[list[_Outcome]]:
        """For each ablation all examples, ``amount · vector`` taken out of every token: amounts [B, C], vectors [B, E].

        An example with nothing to take out is not run: it is as it was, to the bit.
        """
        outcomes = [[self._outcome(row, clean_PV) for row, clean_PV in enumerate(self._clean)] for _ in ablations]
        jobs = [
            (number, row)
            for number, (amounts_BC, _) in enumerate(ablations)
            for row in torch.nonzero((amounts_BC != 0).any(1))[:, 0].tolist()
        ]
        at_once = max(_NUMBERS_AT_ONCE // (self.fires_BC.shape[1] * self._model.vocab_size), 1)
        for start in range(0, len(jobs), at_once):
            batch = jobs[start : start + at_once]
            rows = [row for _, row in batch]
            amounts_JC, vectors_JE = (
                torch.stack([ablations[number][side][row] for number, row in batch]) for side in (0, 1)
            )
            several = {hook: self._at[hook][rows] for hook in self._places.writes if len(self._places.writes) > 1}
            taken_out = shifted(several, self._places.writes, -amounts_JC, vectors_JE)
            logits_JCV = self._contexts.rows(rows).forward(self._model, replacements=taken_out).logits_BCV
            for job, (number, row) in enumerate(batch):
                outcomes[number][row] = self._outcome(row, self._told(logits_JCV, job, row))
        return outcomes

    def named(
        self, before_V: Tensor | None, after_V: Tensor | None, changed: int
    ) -> tuple[list[ProbabilityChange], list[ProbabilityChange]]:
        """The tokens whose probability rose most, and those where it fell most."""
        if before_V is None or after_V is None:
            return [], []
        tokenizer = self._model.tokenizer
        change_V = (after_V - before_V)[: tokenizer.vocab_size]
        lists = []
        for sign in (1, -1):
            best = (sign * change_V).topk(min(changed, len(change_V)))
            lists.append(
                [
                    ProbabilityChange(
                        token=token,
                        piece=tokenizer.piece(token),
                        before=float(before_V[token]),
                        after=float(after_V[token]),
                    )
                    for token, change in zip(best.indices.tolist(), best.values.tolist(), strict=True)
                    if change > 0
                ]
            )
        return lists[0], lists[1]

    def _told(self, logits_JCV: Tensor, job: int, row: int) -> Tensor:
        """Log probabilities from the focus on, float64 [P, V]."""
        end = int(self._contexts.attention_BC[row].sum())
        return logits_JCV[job, int(self._focus_B[row]) : end].double().cpu().log_softmax(1)

    def _losses(self, log_PV: Tensor, row: int) -> Tensor:
        """Of the tokens that follow the focus: one less than there are positions."""
        first = int(self._focus_B[row]) + 1
        next_P = self._contexts.tokens_BC[row, first : first + len(log_PV) - 1]
        return -log_PV[:-1].gather(1, next_P[:, None])[:, 0]

    def _outcome(self, row: int, log_PV: Tensor) -> _Outcome:
        clean_PV = self._clean[row]
        kl_P = (clean_PV.exp() * (clean_PV - log_PV)).sum(1).clamp_min(0)
        rise = (self._losses(log_PV, row) - self._loss[row]).tolist()
        change = Change(
            kl=float(kl_P[0]),
            kl_after=float(kl_P[1:].mean()) if len(kl_P) > 1 else None,
            loss=rise[0] if rise else None,
            loss_after=sum(rise[1:]) / len(rise[1:]) if len(rise) > 1 else None,
        )
        return _Outcome(change, log_PV[0].exp())


def _mean(rows: list[Tensor]) -> Tensor | None:
    return torch.stack(rows).mean(0) if rows else None
