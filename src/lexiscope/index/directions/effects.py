"""What features do to the logits on their own: of every feature on every token, and which features promote a token.

    effect[f, v] = W_dec[f] · U[:, v],   U = the final norm's linear part, then the unembedding, centred over the tokens

U is one matrix per model (`effect_matrix`), so that all effects of a dictionary are one product. It is never kept: a
block of features is multiplied, described and forgotten, and the spread of all effects of a feature needs no product
with the vocabulary at all (`spread_of_effects`). F features, D model width, V vocabulary, K kept, B bins, N tokens.
"""

from __future__ import annotations

import contextlib
from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor

from lexiscope import saes
from lexiscope.core.artifact import Artifact
from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.tensorfile import map_tensor
from lexiscope.index.feature import Real, Record
from lexiscope.index.live.contexts import tokens_of
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.weights import WEIGHTS
from lexiscope.text.tokenizer import Tokenizer

NUM_BINS = 40
_BLOCK_NUMBERS = 1 << 20
"""Effects worked on at once: 4 MB, about what a core's cache holds."""
_GROUP = 64
"""Tokens whose extremes are compared before single tokens are."""
_ROWS_MAPPED = 1 << 16
"""Directions taken to float32 at once, where they are mapped from a file or of another type."""
RESIDUAL_SITES = {"embed", "resid_pre", "resid_post", "attn_out", "mlp_out"}
"""Sites whose activations are part of the residual stream, so that a direction there acts on the logits directly."""
By = Literal["effect", "standardised", "at_mean"]


class LogitEffects(NamedTuple):
    """Change of each logit per unit of activation, relative to the mean change over the vocabulary."""

    promoted_tokens: Tensor
    """int64 [F, K], most promoted first."""
    promoted_effects: Tensor
    suppressed_tokens: Tensor
    """int64 [F, K], most suppressed first."""
    suppressed_effects: Tensor


class EffectShapes(NamedTuple):
    """How the effects of each feature lie over the whole vocabulary, the few at its ends and all others."""

    low_F: Tensor
    high_F: Tensor
    counts_FB: Tensor
    """int32: tokens in bins of equal width from ``low`` to ``high``."""
    std_F: Tensor
    skewness_F: Tensor
    """0: as many tokens are promoted as suppressed; positive: a few are promoted, and far."""
    kurtosis_F: Tensor
    """3 for a bell curve, as a direction without meaning has; larger: few tokens stand out."""


class Tokenisation(Record):
    """One way in which a text can begin to be written."""

    tokens: list[int]
    pieces: list[str]


class Promoter(Record):
    """A feature, and what it does to the logit of the first token of one of the tokenisations."""

    feature: int
    effect: Real
    """Per unit of activation, relative to the mean logit."""
    standardised: Real
    """The effect in standard deviations of this feature's effects over the vocabulary."""
    at_mean: Real | None
    """The effect at the feature's mean activation; None where that is not known."""
    tokenisation: int
    """Which of the tokenisations it promotes most."""


class Promoters(Record):
    """The features that promote a text most."""

    text: str
    tokenisations: list[Tokenisation]
    by: By
    features: list[Promoter]


def acting_directions(directions_FD: Tensor, writes: Sequence[HookPoint], width: int) -> Tensor:
    """The part of the directions that acts on the logits directly, [F, width]: at the last of the places written.

    Raises:
        InputError: that place is not in the residual stream.
    """
    if not writes or writes[-1].site not in RESIDUAL_SITES:
        where = " + ".join(map(str, writes)) or "an unknown place"
        raise InputError(
            f"this dictionary writes {where}, whose directions do not act on the logits by themselves; ask for the "
            "effect of an ablation instead"
        )
    return directions_FD[:, -width:]


def map_directions(sae: Artifact) -> Tensor:
    """Decoder directions of a saved dictionary, memory-mapped where its file has them as they are, [F, D].

    Nothing is read until it is used, and what was read the system may forget again.

    Raises:
        ArtifactError: it is damaged.
    """
    path = sae.path / WEIGHTS
    with contextlib.suppress(ArtifactError):  # other architectures make them of something else
        return map_tensor(path, "W_dec_FD")
    return saes.load(sae.path).directions_FD.detach()


@torch.no_grad()
def effect_matrix(model: LanguageModel) -> Tensor:
    """U, float32 [D, V], as large as the unembedding, of the tokens that the tokenizer knows.

    `LanguageModel.unembed` is linear, so U is what it gives for the unit vectors.
    """
    return model.unembed(torch.eye(model.width))[:, : model.tokenizer.vocab_size].cpu()


@torch.no_grad()
def describe_effects(
    U_DV: Tensor, directions_FD: Tensor, *, keep: int, bins: int = NUM_BINS
) -> tuple[LogitEffects, EffectShapes]:
    """The ends and the shape of every feature's effects. What it gives is the same for any part of the features."""
    if not len(directions_FD):
        raise InputError("there are no directions to describe; give at least one")
    keep = min(keep, U_DV.shape[1])
    rows = max(_BLOCK_NUMBERS // U_DV.shape[1], 1)
    columns: list[Tensor] = []
    for start in range(0, len(directions_FD), rows):
        effects_NV = directions_FD[start : start + rows].float().cpu() @ U_DV
        promoted, suppressed = (_largest(effects_NV, keep, largest=largest) for largest in (True, False))
        shape = _shape(effects_NV, low_N=suppressed[1][:, 0], high_N=promoted[1][:, 0], bins=bins)
        found = (*promoted, *suppressed, *shape)
        # Small results kept from every block would lie between the blocks, whose memory could not be used again.
        columns = columns or [block.new_empty(len(directions_FD), *block.shape[1:]) for block in found]
        for column, block in zip(columns, found, strict=True):
            column[start : start + rows] = block
    ends = len(LogitEffects._fields)
    return LogitEffects(*columns[:ends]), EffectShapes(*columns[ends:])


def _largest(effects_NV: Tensor, keep: int, *, largest: bool) -> tuple[Tensor, Tensor]:
    """Tokens and effects at one end, the outermost first.

    They are in the groups of tokens whose extremes lie outermost, as many groups as are kept: `topk` sees only those.
    """
    number, tokens = effects_NV.shape
    groups = tokens // _GROUP
    if groups <= 2 * keep:
        found = effects_NV.topk(keep, largest=largest)
        return found.indices, found.values
    grouped_NGW = effects_NV[:, : groups * _GROUP].view(number, groups, _GROUP)
    extremes_NG = grouped_NGW.amax(2) if largest else grouped_NGW.amin(2)
    chosen_NK = extremes_NG.topk(keep, largest=largest).indices
    within_NKW = chosen_NK[:, :, None] * _GROUP + torch.arange(_GROUP)
    rest_NR = torch.arange(groups * _GROUP, tokens).expand(number, -1)
    tokens_NC = torch.cat([within_NKW.flatten(1), rest_NR], 1)
    found = effects_NV.gather(1, tokens_NC).topk(keep, largest=largest)
    return tokens_NC.gather(1, found.indices), found.values


def _shape(effects_NV: Tensor, *, low_N: Tensor, high_N: Tensor, bins: int) -> tuple[Tensor, ...]:
    """The columns of `EffectShapes`, from the effects and their extremes."""
    number, tokens = effects_NV.shape
    # A feature without any effect has one bin of all tokens, the first.
    per_unit_N = bins / (high_N - low_N).clamp_min(torch.finfo(torch.float32).tiny)
    scratch_NV = torch.sub(effects_NV, low_N[:, None]).mul_(per_unit_N[:, None])
    bin_NV = scratch_NV.to(torch.int64).clamp_(0, bins - 1)
    bin_NV += torch.arange(0, number * bins, bins)[:, None]
    counts_NB = torch.bincount(bin_NV.view(-1), minlength=number * bins).view(number, bins).int()

    # Effects are all but centred already (the matrix is), so that nothing cancels in these sums.
    squares_NV = torch.mul(effects_NV, effects_NV, out=scratch_NV)
    first_N, second_N = effects_NV.sum(1).double() / tokens, squares_NV.sum(1).double() / tokens
    third_N = torch.linalg.vecdot(squares_NV, effects_NV).double() / tokens
    fourth_N = torch.linalg.vecdot(squares_NV, squares_NV).double() / tokens
    variance_N = (second_N - first_N**2).clamp_min_(0)
    cubes_N = third_N - 3 * first_N * second_N + 2 * first_N**3
    fourths_N = fourth_N - 4 * first_N * third_N + 6 * first_N**2 * second_N - 3 * first_N**4
    flat_N = high_N == low_N
    skewness_N = (cubes_N / variance_N**1.5).masked_fill_(flat_N, 0.0).float()
    kurtosis_N = (fourths_N / variance_N**2).masked_fill_(flat_N, 0.0).float()
    return low_N, high_N, counts_NB, variance_N.sqrt().float(), skewness_N, kurtosis_N


@torch.no_grad()
def effects_on(U_DV: Tensor, directions_FD: Tensor, tokens: Sequence[int]) -> Tensor:
    """Of every feature on some tokens, float32 [F, N]: exact, and read once from wherever the directions lie."""
    columns_DN = U_DV[:, list(tokens)]
    parts = [rows_RD.float().cpu() @ columns_DN for rows_RD in torch.split(directions_FD, _ROWS_MAPPED)]
    return torch.cat(parts)


@torch.no_grad()
def spread_of_effects(U_DV: Tensor, directions_FD: Tensor) -> Tensor:
    """Standard deviation of each feature's effects over the vocabulary, float32 [F].

    √(w · C · w) with C = covariance of U's columns [D, D]: D² instead of D · V operations per feature.
    """
    centred_DV = U_DV - U_DV.mean(1, keepdim=True)
    covariance_DD = centred_DV @ centred_DV.T / U_DV.shape[1]
    parts = []
    for mapped_RD in torch.split(directions_FD, _ROWS_MAPPED):
        rows_RD = mapped_RD.float().cpu()
        parts.append(torch.linalg.vecdot(rows_RD @ covariance_DD, rows_RD).clamp_min_(0).sqrt_())
    return torch.cat(parts)


def tokenisations(tokenizer: Tokenizer, text: str) -> list[Tokenisation]:
    """How a model might write a text: as it is, and with or without a space before it.

    A space that is a token of its own says nothing of what follows, so that way is left out.

    Raises:
        InputError: there is nothing to write.
    """
    if not text:
        raise InputError("there is no token in this text; write what a feature might promote, such as Paris")
    asked = tuple(tokens_of(tokenizer, text).ids)
    bare = text.removeprefix(" ")
    found = {asked: None}
    if bare:
        alone, spaced = (tuple(tokens_of(tokenizer, variant).ids) for variant in (bare, f" {bare}"))
        found = {way: None for way in (asked, spaced, alone) if way != spaced or spaced[1:] != alone}
    return [Tokenisation(tokens=list(ids), pieces=[tokenizer.piece(token) for token in ids]) for ids in found]


def promoters(
    U_DV: Tensor,
    directions_FD: Tensor,
    spread_F: Tensor,
    tokenizer: Tokenizer,
    text: str,
    *,
    by: By = "effect",
    keep: int = 50,
    means_F: Tensor | None = None,
) -> Promoters:
    """The features that promote a text most: the first token of any of its tokenisations.

    A text of several tokens is told by its first one only, which other texts may share; the answer says which tokens
    those are.

    Args:
        spread_F: from `spread_of_effects`.
        by: the order. A long decoder row has large effects on everything; standardised, the effect counts by how far it
            stands out from the feature's other effects, and at_mean by what the feature does when it fires.
        means_F: mean activation of each feature over its firings, 0 for a dead one.

    Raises:
        InputError: there is nothing to promote, or ``means_F`` is missing for ``by="at_mean"``.
    """
    if by == "at_mean" and means_F is None:
        raise InputError("effects at the mean activation need the mean activations of an index; give one")
    ways = tokenisations(tokenizer, text)
    effects_FN = effects_on(U_DV, directions_FD, [way.tokens[0] for way in ways])
    effects_F, way_F = effects_FN.max(1)
    standardised_F = torch.where(spread_F > 0, effects_F / spread_F, 0.0)
    at_mean_F = None if means_F is None else effects_F * means_F
    order_F = {"effect": effects_F, "standardised": standardised_F, "at_mean": at_mean_F}[by]
    assert order_F is not None
    best = order_F.topk(min(keep, len(order_F))).indices.tolist()
    return Promoters(
        text=text,
        tokenisations=ways,
        by=by,
        features=[
            Promoter(
                feature=feature,
                effect=float(effects_F[feature]),
                standardised=float(standardised_F[feature]),
                at_mean=None if at_mean_F is None else float(at_mean_F[feature]),
                tokenisation=int(way_F[feature]),
            )
            for feature in best
        ],
    )
