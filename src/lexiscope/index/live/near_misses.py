"""Near-misses: places where a feature is silent and almost fires.

    z = W_enc[f] · (x - centre) + b_enc[f]     the pre-activation, which is the activation wherever the feature fires
    gap = bar - z                              by how much it misses

The bar, above which a feature fires, is not the same thing everywhere:

- ReLU: 0. Activations begin at 0, too, so that a near-miss hardly differs from a weak firing.
- JumpReLU: a threshold of its own. BatchTopK: one threshold for all features, set after training.
- TopK: none of its own. A feature fires where it is among the k largest of the token, so the bar is the smallest
  activation that did fire there (0 where fewer than k did): it moves with what else there is on the token.
- Gated: the gate, which must be above 0, is told in the place of z, in units of its own.

T tokens, D model width, B windows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.feature import Real, Record
from lexiscope.index.live.ablation import Window
from lexiscope.index.live.contexts import Contexts, Places, encode
from lexiscope.lm.model import LanguageModel
from lexiscope.saes import batch_topk, gated, hierarchical_topk, jumprelu, relu_l1, topk
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.saes.dictionary import LinearDictionary

Rule = Literal["zero", "own_threshold", "shared_threshold", "largest_k", "gate"]
"""What the bar is."""


class NoNearMissesError(InputError):
    """Of this feature there can be none, whatever is read."""


class NearMiss(Record):
    """A token on which the feature is silent."""

    window: int
    """Which of the windows it is in."""
    token: int
    """Its place there."""
    pre_activation: Real
    bar: Real
    """What the pre-activation would have had to exceed."""


class NearMisses(Record):
    """The silent tokens of some windows that come nearest to firing."""

    rule: Rule
    threshold: Real | None
    """The bar, where it is the same on all tokens."""
    tokens: int
    """How many were looked at."""
    fires: int
    """On how many of them it fires."""
    typical_gap: Real | None
    """Median over the silent tokens."""
    spread: Real
    """Standard deviation of the pre-activation over all tokens."""
    nearest: list[NearMiss]
    """The smallest gap first."""


@torch.no_grad()
def near_misses(
    model: LanguageModel,
    sae: SparseAutoencoder,
    feature: int,
    windows: Sequence[Window],
    *,
    hooks: Sequence[HookPoint] = (),
    keep: int = 64,
) -> NearMisses:
    """Read some windows and rank the tokens on which a feature is silent by how nearly it fires.

    Args:
        windows: texts as token ids; all of their tokens are looked at. They should begin where their contexts do, so
            that activations are those of the index.
        hooks: for an autoencoder that does not say itself what it reads.

    Raises:
        InputError: there is no such feature.
        NoNearMissesError: latents of this architecture have no pre-activation of their own.
    """
    if not 0 <= feature < sae.num_latents:
        raise InputError(f"there is no feature {feature}; this dictionary has features 0 to {sae.num_latents - 1}")
    if not isinstance(sae, LinearDictionary):
        raise NoNearMissesError(
            "latents of this architecture are chosen one after another and have no pre-activation of their own, so "
            "nothing can be just below its threshold"
        )
    places = Places.of(sae, hooks)
    contexts = Contexts.of(model, [window.tokens for window in windows])
    at = model.read(contexts.tokens_BC, list(places.reads), contexts.attention_BC)
    x_TD = contexts.side_by_side(at, places.reads).to(sae.directions_FD.device)
    codes = encode(sae, x_TD)
    z_T = ((x_TD - sae.centre_D) @ sae.W_enc_FD[feature] + sae.b_enc_F[feature]).float().cpu()
    rule, bar_T = _bar(sae, feature, codes)
    fires_T = torch.zeros(len(z_T), dtype=torch.bool)
    fires_T[codes.tokens()[codes.latents == feature]] = True
    silent = torch.nonzero(~fires_T & (z_T <= bar_T + 1e-4 * bar_T.abs()))[:, 0]
    gaps = (bar_T[silent] - z_T[silent]).clamp_min(0)
    nearest = silent[gaps.argsort(stable=True)[:keep]]
    window_T, place_T = contexts.text_BC.nonzero(as_tuple=True)
    return NearMisses(
        rule=rule,
        threshold=None if rule == "largest_k" else float(bar_T[0]) if len(bar_T) else None,
        tokens=len(z_T),
        fires=int(fires_T.sum()),
        typical_gap=float(gaps.median()) if len(gaps) else None,
        spread=float(z_T.std(correction=0)) if len(z_T) else 0.0,
        nearest=[
            NearMiss(window=window, token=place - contexts.lead, pre_activation=z, bar=bar)
            for window, place, z, bar in zip(
                *(column[nearest].tolist() for column in (window_T, place_T, z_T, bar_T)), strict=True
            )
        ],
    )


def _bar(sae: LinearDictionary, feature: int, codes: SparseCodes) -> tuple[Rule, Tensor]:
    """What the bar is, and where it stands on every token, [T].

    Raises:
        NoNearMissesError: an activation that is not known here.
    """
    level_T = torch.zeros(codes.num_tokens)
    match sae.activation:
        case jumprelu.Activation():
            return "own_threshold", level_T + float(sae.activation.threshold_F[feature])
        case batch_topk.Activation():
            return "shared_threshold", level_T + float(sae.activation.threshold)
        case gated.Activation():
            return "gate", level_T
        case relu_l1.Activation():
            return "zero", level_T
        case topk.Activation():
            used = sae.config.k_used if isinstance(sae, hierarchical_topk.HierarchicalTopK) else None
            return "largest_k", _smallest_of(codes, used or sae.activation.options.k)
    raise NoNearMissesError(f"it is not known above what latents of {type(sae).__name__} fire")


def _smallest_of(codes: SparseCodes, k: int) -> Tensor:
    """The smallest value of each token, 0 where fewer than k latents fire, [T]."""
    smallest_T = torch.full((codes.num_tokens,), torch.inf)
    smallest_T.scatter_reduce_(0, codes.tokens(), codes.values.float(), "amin")
    return torch.where(codes.counts() >= k, smallest_T, 0.0)
