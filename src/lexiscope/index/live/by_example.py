"""Search by example: the features that fire on some texts and not on others, or on marked parts of them.

What is compared is a unit's strength, relative to the largest activation of the feature: of a text its strongest
firing, or, where parts of the wanted texts are marked, of every token its own, those in the marks against all others. A
feature is ranked by how well its strength alone tells the two kinds apart (AUROC: the chance that a wanted unit is
stronger than an unwanted one, ties counting half), then by the difference of the mean strengths.

A dictionary has thousands of features and a search few texts, so some feature always looks good. The same search is
therefore repeated with the labels drawn at random, and what the *best* feature gets then is the floor: texts are
relabelled at random (all ways, where these are few), marks are shifted around the ring of all tokens, which keeps their
lengths and breaks their places. N firings, U units, A features that fire at all, P relabellings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import torch
from torch import Tensor

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.index.feature import Real, Record
from lexiscope.index.live.contexts import Contexts, Places, encode, tokens_of
from lexiscope.index.live.separation import Unit, Units, fisher, relabellings, score
from lexiscope.lm.model import LanguageModel
from lexiscope.saes.base import SparseAutoencoder

if TYPE_CHECKING:
    from lexiscope.index.feature_index import FeatureIndex

RELABELLINGS = 500


class Marked(NamedTuple):
    """A text, and the parts of it that are meant, in characters from 0, ends excluded; none: all of it."""

    text: str
    spans: Sequence[tuple[int, int]] = ()


class TextStrength(Record):
    """A feature on the units of one text, relative to its largest activation."""

    max: Real
    mean: Real


class FoundFeature(Record):
    """A feature, and how it tells the wanted from the unwanted."""

    feature: int
    auroc: Real
    """0.5: not at all; 1: every wanted unit is stronger than every unwanted one."""
    auroc_p: Real
    """How often the best feature of a relabelled search is as good."""
    difference: Real
    """Mean strength of the wanted units less that of the unwanted."""
    difference_p: Real
    fires_wanted: int
    """Wanted units on which it fires."""
    fires_unwanted: int
    odds_ratio: Real
    """Of firing, wanted against unwanted, half a unit added to all four counts."""
    fisher_p: Real
    """Fisher's exact test that it fires more often on the wanted: of this feature alone, not of the best of many."""
    wanted: list[TextStrength]
    unwanted: list[TextStrength]


class Chance(Record):
    """What the best feature of a search gets when the labels mean nothing."""

    relabellings: int
    exhaustive: bool
    """Whether these are all there are."""
    mean_auroc: Real
    high_auroc: Real
    """95 % of relabelled searches stay below or at it."""
    high_difference: Real


class ByExample(Record):
    """The features that tell wanted from unwanted examples best."""

    unit: Unit
    wanted: int
    """Units."""
    unwanted: int
    candidates: int
    """Features that fire on any unit."""
    chance: Chance | None
    """None where nothing fires."""
    features: list[FoundFeature]


@torch.no_grad()
def find_by_example(
    model: LanguageModel,
    sae: SparseAutoencoder,
    wanted: Sequence[Marked | str],
    unwanted: Sequence[Marked | str],
    *,
    index: FeatureIndex | None = None,
    hooks: Sequence[HookPoint] = (),
    keep: int = 20,
    most_relabellings: int = RELABELLINGS,
    seed: int = 0,
) -> ByExample:
    """Find the features that fire on the wanted examples and not on the unwanted.

    Args:
        wanted: if any of them has marks, tokens are compared: those in marks, or in a wanted text without marks,
            against all others.
        unwanted: may be left out where marks leave tokens over.
        index: of this dictionary, for each feature's largest activation. None: the largest in these texts.
        hooks: for an autoencoder that does not say itself what it reads.
        keep: how many features are given.

    Raises:
        InputError: nothing is wanted or nothing unwanted, or a text is empty or too long for the model.
    """
    examples = [example if isinstance(example, Marked) else Marked(example) for example in (*wanted, *unwanted)]
    unit: Unit = "token" if any(example.spans for example in examples[: len(wanted)]) else "text"
    read = _Read(model, sae, Places.of(sae, hooks), examples, len(wanted), index)
    units = read.tokens() if unit == "token" else read.texts()
    count, number = int(units.wanted_U.sum()), len(units.wanted_U)
    if count == 0:
        raise InputError("nothing is wanted; give a text on which the features fire, or mark a token of one")
    if count == number:
        raise InputError("nothing is unwanted; give a text on which the features do not fire, or mark a part of one")
    if not len(units.features_N):
        return ByExample(unit=unit, wanted=count, unwanted=number - count, candidates=0, chance=None, features=[])
    labels_UP, exhaustive = relabellings(units.wanted_U, unit, most_relabellings, seed)
    scores = score(units, torch.cat([units.wanted_U[:, None], labels_UP], 1))
    best_P = scores.auroc_AP[:, 1:].amax(0), scores.difference_AP[:, 1:].amax(0)
    real_A = scores.auroc_AP[:, 0], scores.difference_AP[:, 0]
    order_A = real_A[1].argsort(descending=True, stable=True)
    order_A = order_A[real_A[0][order_A].argsort(descending=True, stable=True)][:keep]
    # The labelling at hand is one of all ways to label texts; of drawn ones and of shifts it is one more.
    more = 0 if exhaustive and unit == "text" else 1
    found = []
    for place in order_A.tolist():
        feature = int(scores.features_A[place])
        own = units.units_N[units.features_N == feature]
        fires = int(units.wanted_U[own].sum()), int((~units.wanted_U[own]).sum())
        auroc, difference = (float(real[place]) for real in real_A)
        as_good = [
            (int((best >= value - 1e-12).sum()) + more) / (len(best) + more)
            for best, value in zip(best_P, (auroc, difference), strict=True)
        ]
        strengths = read.strengths(feature)
        found.append(
            FoundFeature(
                feature=feature,
                auroc=auroc,
                auroc_p=as_good[0],
                difference=difference,
                difference_p=as_good[1],
                fires_wanted=fires[0],
                fires_unwanted=fires[1],
                odds_ratio=(fires[0] + 0.5)
                * (number - count - fires[1] + 0.5)
                / ((fires[1] + 0.5) * (count - fires[0] + 0.5)),
                fisher_p=fisher(fires[0], count, fires[1], number - count),
                wanted=strengths[: len(wanted)],
                unwanted=strengths[len(wanted) :],
            )
        )
    return ByExample(
        unit=unit,
        wanted=count,
        unwanted=number - count,
        candidates=len(scores.features_A),
        chance=Chance(
            relabellings=labels_UP.shape[1],
            exhaustive=exhaustive,
            mean_auroc=float(best_P[0].mean()),
            high_auroc=float(best_P[0].quantile(0.95)),
            high_difference=float(best_P[1].quantile(0.95)),
        ),
        features=found,
    )


class _Read:
    """The examples, encoded: strengths of all firings on the tokens that count, and where those are."""

    def __init__(
        self,
        model: LanguageModel,
        sae: SparseAutoencoder,
        places: Places,
        examples: Sequence[Marked],
        num_wanted: int,
        index: FeatureIndex | None,
    ) -> None:
        features: list[Tensor] = []
        strengths: list[Tensor] = []
        tokens: list[Tensor] = []
        texts_T: list[int] = []
        inside_T: list[bool] = []
        for number, example in enumerate(examples):
            encoded = tokens_of(model.tokenizer, example.text)
            contexts = Contexts.of(model, [encoded.ids])
            at = model.read(contexts.tokens_BC, list(places.reads), contexts.attention_BC)
            codes = encode(sae, contexts.side_by_side(at, places.reads))
            features.append(codes.latents)
            strengths.append(codes.values.abs())
            tokens.append(codes.tokens() + len(texts_T))
            text_C = contexts.text_BC[0, contexts.lead :].tolist()
            for start, end, is_text in zip(encoded.starts, encoded.ends, text_C, strict=True):
                if is_text:
                    texts_T.append(number)
                    inside = any(start < last and end > first for first, last in example.spans)
                    inside_T.append(inside or not example.spans)
        self._texts_T, self._inside_T = torch.tensor(texts_T), torch.tensor(inside_T)
        self._num_texts, self._num_wanted = len(examples), num_wanted
        self._features_N, self._tokens_N = torch.cat(features), torch.cat(tokens)
        self._strengths_N = torch.cat(strengths) / self._largest(torch.cat(strengths), index)

    def texts(self) -> Units:
        """Each text is a unit, as strong as its strongest firing."""
        counted_N = self._inside_T[self._tokens_N]
        texts_N = self._texts_T[self._tokens_N[counted_N]]
        keys_N = self._features_N[counted_N] * self._num_texts + texts_N
        keys_M, where_N = _distinct(keys_N)
        strongest_M = torch.zeros(len(keys_M)).scatter_reduce_(0, where_N, self._strengths_N[counted_N], "amax")
        wanted_U = torch.arange(self._num_texts) < self._num_wanted
        return Units(keys_M // self._num_texts, keys_M % self._num_texts, strongest_M, wanted_U)

    def tokens(self) -> Units:
        """Each token is a unit; those of unwanted texts outside their marks do not count."""
        is_wanted_text_T = self._texts_T < self._num_wanted
        counted_T = is_wanted_text_T | self._inside_T
        unit_T = counted_T.cumsum(0) - 1
        counted_N = counted_T[self._tokens_N]
        return Units(
            self._features_N[counted_N],
            unit_T[self._tokens_N[counted_N]],
            self._strengths_N[counted_N],
            (is_wanted_text_T & self._inside_T)[counted_T],
        )

    def strengths(self, feature: int) -> list[TextStrength]:
        """One feature on every text, in the marks where there are any."""
        mine_N = (self._features_N == feature) & self._inside_T[self._tokens_N]
        texts_N = self._texts_T[self._tokens_N[mine_N]]
        strongest_B, sum_B = torch.zeros(self._num_texts), torch.zeros(self._num_texts)
        strongest_B.scatter_reduce_(0, texts_N, self._strengths_N[mine_N], "amax")
        sum_B.index_add_(0, texts_N, self._strengths_N[mine_N])
        tokens_B = torch.bincount(self._texts_T[self._inside_T], minlength=self._num_texts).clamp_min(1)
        return [
            TextStrength(max=most, mean=mean)
            for most, mean in zip(strongest_B.tolist(), (sum_B / tokens_B).tolist(), strict=True)
        ]

    def _largest(self, strengths_N: Tensor, index: FeatureIndex | None) -> Tensor:
        """The largest activation of the feature of each firing: in the index, where it fired there, or else here."""
        features_A, where_N = _distinct(self._features_N)
        largest_A = torch.zeros(len(features_A)).scatter_reduce_(0, where_N, strengths_N, "amax")
        if index is not None:
            summaries = index.summaries(features_A.tolist())
            known_A = torch.tensor([summaries[feature].max_activation for feature in features_A.tolist()])
            largest_A = torch.where(known_A > 0, known_A.float(), largest_A)
        return largest_A[where_N]


def _distinct(numbers_N: Tensor) -> tuple[Tensor, Tensor]:
    """The different numbers, ascending, and which of them each is."""
    distinct, place_N = torch.unique(numbers_N, return_inverse=True)
    return distinct, place_N
