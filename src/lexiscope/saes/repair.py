"""Repair: what can be mended in a trained dictionary without training it. Duplicates are merged, shrinkage is undone.

A run does it before it saves, ``optimise.repair = ["duplicates", "shrinkage"]``; on a dictionary that is there already,
call the functions and then `SparseAutoencoder.save`.

Duplicates: latents i and j whose decoder rows point the same way and which fire on the same tokens,

    cos(d_i, d_j) ≥ c,   |tokens of both| / |tokens of either| ≥ s.

Close directions that fire on different tokens are kept: they tell cases apart that one latent could not. A group of
duplicates becomes one latent, whose code is the sum of theirs wherever all of them fire:

    d = Σ m_i d_i / ‖Σ m_i d_i‖ · l,   W_enc = Σ p_i W_enc,i,   b_enc = Σ p_i b_enc,i,   p_i = ⟨d_i, d⟩ / ‖d‖²

m_i is the mean code where it fires, l the mean length of the rows, p_i how much of d one unit of latent i gives; a
threshold of each latent adds up as its bias does. The sum takes the place of the one that fires most. The others' rows
become zeros: they never fire, and a run that trains on can restart them (`lexiscope.train.terms.resample`).

Shrinkage: codes that a penalty made too small are stretched by least squares on activations that were not trained on,
one factor for all latents or one each:

    a = Σ ⟨x - b, x̂ - b⟩ / Σ ‖x̂ - b‖²
    a = argmin Σ_t ‖x_t - b - Σ_f a_f f_tf d_f‖²:   Σ_g ⟨d_f, d_g⟩ (Σ_t f_tf f_tg) a_g = Σ_t f_tf ⟨x_t - b, d_f⟩

The factors go into decoder rows, so that which latents fire, and how strongly, stays as it is. They are fitted on one
half of the activations and kept only if they lower the FVU on the other.

T tokens, D model width, F latents, N active entries, G candidates for merging.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.saes.base import Batch, SparseAutoencoder
from lexiscope.saes.dictionary import LinearDictionary
from lexiscope.saes.kernels.decode import decode_rows
from lexiscope.saes.kernels.gather import row_dots

BLOCK_LATENTS = 4096
ADD_UP = {"threshold_F"}
"""Weights of activation functions that a sum of latents has the sum of."""
MAX_STEPS = 100
"""Conjugate gradients; a residual of 1e-6 is reached long before in all dictionaries that were tried."""


Repair = Literal["duplicates", "shrinkage"]


def mendable(sae: SparseAutoencoder, repairs: Collection[Repair]) -> LinearDictionary:
    """The autoencoder, if these repairs are possible.

    Raises:
        InputError: it has no encoder and decoder row for every latent; or duplicates are to be merged, and the
            activation function has weights of each latent besides a threshold, for which there is no rule.
    """
    name = sae.config.architecture
    if not isinstance(sae, LinearDictionary):
        raise InputError(f"repair needs an encoder row for every latent, which {name} has not; leave it out")
    own = _own_weights(sae).keys() - ADD_UP
    if "duplicates" in repairs and own:
        raise InputError(
            f"duplicates of {name} can't be merged: latents have weights, {', '.join(sorted(own))}, that do not add "
            "up; find_duplicates still tells which they are"
        )
    return sae


class Pair(NamedTuple):
    """Two latents that may be one."""

    first: int
    second: int
    cosine: float
    """Of their decoder rows."""
    overlap: float
    """Tokens on which both fire as a share of those on which either does."""


@torch.no_grad()
def find_duplicates(sae: LinearDictionary, x_TD: Tensor, *, cosine: float = 0.9, overlap: float = 0.5) -> list[Pair]:
    """Pairs above both thresholds on these activations, the closest first."""
    firing = _tokens_of(sae.encode(x_TD))
    pairs = []
    for first, second, similarity in _close_pairs(sae.W_dec_FD, cosine):
        ours, theirs = firing[first], firing[second]
        both = int(torch.isin(ours, theirs, assume_unique=True).sum())
        either = len(ours) + len(theirs) - both
        if either and both / either >= overlap:
            pairs.append(Pair(first, second, similarity, both / either))
    return sorted(pairs, key=lambda pair: -pair.cosine)


def groups_of(pairs: Sequence[Pair]) -> list[list[int]]:
    """Latents that are tied by pairs, each group ascending."""
    group_of: dict[int, set[int]] = {}
    for pair in pairs:
        joined = group_of.get(pair.first, {pair.first}) | group_of.get(pair.second, {pair.second})
        group_of.update(dict.fromkeys(joined, joined))
    return sorted(sorted(group) for group in {id(group): group for group in group_of.values()}.values())


@torch.no_grad()
def merge_duplicates(
    sae: LinearDictionary, x_TD: Tensor, *, cosine: float = 0.9, overlap: float = 0.5
) -> dict[int, list[int]]:
    """Merge duplicates in place. Returns each latent that stays with those that were freed for it.

    Raises:
        InputError: there is no rule for this activation function; see `mendable`.
    """
    mendable(sae, ["duplicates"])
    codes = sae.encode(x_TD)
    fires_F = codes.firings()
    mean_F = torch.zeros_like(sae.b_enc_F).index_add_(0, codes.latents, codes.values) / fires_F.clamp_min(1)
    merged: dict[int, list[int]] = {}
    for group in groups_of(find_duplicates(sae, x_TD, cosine=cosine, overlap=overlap)):
        members = torch.tensor(group, device=sae.device)
        stays = group[int(fires_F[members].argmax())]
        freed = [latent for latent in group if latent != stays]
        rows_GD = sae.W_dec_FD[members]
        row_D = mean_F[members] @ rows_GD
        row_D = row_D * (torch.linalg.vector_norm(rows_GD, dim=1).mean() / torch.linalg.vector_norm(row_D))
        shares_G = rows_GD @ row_D / row_D.square().sum()
        for weights in (sae.W_enc_FD, sae.b_enc_F, *_own_weights(sae).values()):
            weights[stays] = shares_G @ weights[members]
        sae.W_dec_FD[stays] = row_D
        for weights in (sae.W_dec_FD, sae.W_enc_FD, sae.b_enc_F):
            weights[freed] = 0
        merged[stays] = freed
    return merged


class Stretch(NamedTuple):
    """What was done about shrinkage."""

    per: Literal["nothing", "dictionary", "latent"]
    """What was applied: whichever had the lowest FVU on the half that was not fitted on."""
    slope: float
    """The one factor, fitted on the first half. Above 1: the dictionary shrinks."""
    factors_F: Tensor
    """What decoder rows were multiplied with."""
    fvu_before: float
    fvu_after: float


@torch.no_grad()
def undo_shrinkage(sae: LinearDictionary, heldout: Batch | Tensor, *, min_firings: int = 20) -> Stretch:
    """Stretch decoder rows in place, if that lowers the FVU. ``heldout`` was not trained on.

    Args:
        min_firings: where each latent has a factor, one that fires less often in the half that is fitted keeps 1, as
            does one that a factor would turn around.
    """
    batch = heldout if isinstance(heldout, Batch) else Batch.same(heldout)
    half = len(batch.input_TD) // 2
    fit, test = (_Half.of(sae, batch, part) for part in (slice(0, half), slice(half, None)))
    ones_F = torch.ones_like(sae.b_enc_F)
    slope = fit.slope()
    factors_F = fit.factors(fit.codes.firings() >= min_firings)
    candidates: dict[Literal["nothing", "dictionary", "latent"], Tensor] = {
        "nothing": ones_F,
        "dictionary": slope * ones_F,
        "latent": torch.where(factors_F > 0, factors_F, 1.0),
    }
    fvus = {name: test.fvu(factors_F) for name, factors_F in candidates.items()}
    best = min(fvus, key=lambda name: fvus[name])
    sae.W_dec_FD.mul_(candidates[best][:, None])
    return Stretch(best, slope, candidates[best], fvus["nothing"], fvus[best])


class _Half(NamedTuple):
    """Activations with what the codes have to explain of them."""

    codes: SparseCodes
    W_FD: Tensor
    rest_TD: Tensor
    """Target - b_dec, and whatever else goes around the codes."""

    @classmethod
    def of(cls, sae: LinearDictionary, batch: Batch, part: slice) -> _Half:
        codes = sae.encode(batch.input_TD[part])
        around_TD = sae.reconstruct(batch.input_TD[part], codes) - decode_rows(codes, sae.W_dec_FD)
        return cls(codes, sae.W_dec_FD.clone(), batch.target_TD[part] - around_TD)

    def slope(self) -> float:
        """Least squares of the rest on what the codes give."""
        given_TD = self._decode(torch.ones_like(self.W_FD[:, 0]))
        square = float(given_TD.double().square().sum())
        return float((given_TD.double() * self.rest_TD.double()).sum()) / square if square else 1.0

    def factors(self, free_F: Tensor) -> Tensor:
        """Least squares with one factor per latent; the others stay 1. By conjugate gradients, from 1."""
        factors_F = torch.ones_like(self.W_FD[:, 0])
        residual_F = free_F * self._meets(self.rest_TD - self._decode(factors_F))
        way_F, left = residual_F, residual_F.double().square().sum()
        first = float(left)
        for _ in range(MAX_STEPS):
            if float(left) <= 1e-12 * first:
                break
            bent_F = free_F * self._meets(self._decode(way_F))
            step = left / (way_F.double() * bent_F).sum()
            factors_F, residual_F = factors_F + step.float() * way_F, residual_F - step.float() * bent_F
            before, left = left, residual_F.double().square().sum()
            way_F = residual_F + (left / before).float() * way_F
        return factors_F

    def fvu(self, factors_F: Tensor) -> float:
        target_TD = self.rest_TD.double()
        variance = (target_TD - target_TD.mean(0)).square().sum()
        return float((target_TD - self._decode(factors_F)).square().sum() / variance)

    def _decode(self, factors_F: Tensor) -> Tensor:
        values_N = self.codes.values * factors_F[self.codes.latents]
        return decode_rows(SparseCodes(self.codes.offsets, self.codes.latents, values_N, len(factors_F)), self.W_FD)

    def _meets(self, y_TD: Tensor) -> Tensor:
        """Σ_t f_tf ⟨y_t, d_f⟩."""
        dots_N = row_dots(y_TD, self.W_FD, self.codes.latents, self.codes.offsets)
        return torch.zeros_like(self.W_FD[:, 0]).index_add_(0, self.codes.latents, dots_N * self.codes.values)


def _own_weights(sae: LinearDictionary) -> dict[str, Tensor]:
    """What the activation function has one of for every latent."""
    named = sae.activation.named_parameters()
    return {name: weights for name, weights in named if weights.ndim and len(weights) == sae.num_latents}


def _close_pairs(W_FD: Tensor, cosine: float) -> list[tuple[int, int, float]]:
    """Pairs of rows, first < second, whose cosine reaches the threshold."""
    unit_FD = W_FD / torch.linalg.vector_norm(W_FD, dim=1, keepdim=True).clamp_min(torch.finfo(W_FD.dtype).tiny)
    found = []
    for start in range(0, len(unit_FD), BLOCK_LATENTS):
        block_FD = unit_FD[start : start + BLOCK_LATENTS]
        cosines = torch.triu(block_FD @ unit_FD[start:].T, diagonal=1)
        rows, columns = (cosines >= cosine).nonzero(as_tuple=True)
        found += list(
            zip((rows + start).tolist(), (columns + start).tolist(), cosines[rows, columns].tolist(), strict=True)
        )
    return found


def _tokens_of(codes: SparseCodes) -> Sequence[Tensor]:
    """The tokens on which each latent fires."""
    order_N = codes.latents.sort(stable=True).indices
    return torch.split(codes.tokens()[order_N], codes.firings().tolist())
