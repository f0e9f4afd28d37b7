"""A linear world: activations that are sparse sums of known directions, streamed without end.

    x = b + Σ_g a_g d_g + noise + outlier dimensions and tokens,   a_g > 0 with probability p_g ∝ (g + 1)^-exponent

Feature g has the unit direction d_g. Features fire independently of each other; when one fires, its strength is
log-normal with mean 1. A batch depends on nothing but the settings and its (seed, split, number), so a stream starts
anywhere, and held-out activations are never training activations.

Firings are drawn without a [T, G] matrix. A token gets Poisson(Λ) throws, each hitting feature g with probability
λ_g / Λ, where λ_g = -ln(1 - p_g) and Λ = Σ λ_g. Then cell (t, g) is hit Poisson(λ_g) times independently of all others,
so it is hit at least once with probability exactly p_g.

Units: u is the root mean square coordinate that firings alone give, sqrt(Σ_g p_g E[a²] / D). Noise, offset and outliers
are multiples of it. T tokens, D width, G true features, N firings.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Sequence
from typing import Any, Literal, NamedTuple

import torch
from pydantic import Field
from torch import Tensor

from lexiscope.core.codes import SparseCodes
from lexiscope.core.config import Config as BaseConfig
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.seeds import generator
from lexiscope.saes.kernels.gather import weighted_rows

HOOK = HookPoint.parse("module:world")
"""The only place in a world where activations are read."""

Split = Literal["train", "heldout", "all"]


class Config(BaseConfig):
    """Settings of a linear world."""

    width: int = Field(128, ge=1)
    """D."""
    num_features: int = Field(1024, ge=1)
    """G."""
    active: float = Field(12.0, gt=0)
    """Features that fire on a token, mean: the sum of all p_g."""
    exponent: float = Field(0.5, ge=0)
    """How fast firing falls off with the rank of a feature. 0: all equally often."""
    max_probability: float = Field(0.5, gt=0, lt=1)
    """No feature fires more often than this; what is cut off goes to the others."""
    magnitude_spread: float = Field(0.3, ge=0)
    """Standard deviation of the logarithm of a strength."""
    noise: float = Field(0.0, ge=0)
    """Standard deviation of Gaussian noise on every coordinate, in u."""
    offset: float = Field(0.0, ge=0)
    """Size of what every activation shares, in u per coordinate; its direction is random."""
    outlier_dims: int = Field(0, ge=0)
    """Coordinates that are far larger than the others."""
    outlier_scale: float = Field(50.0, ge=0)
    """Mean size of an outlier coordinate, in u; its sign is fixed."""
    outlier_spread: float = Field(0.3, ge=0)
    """Standard deviation of an outlier coordinate over tokens, as a share of its mean size."""
    sink_share: float = Field(0.0, ge=0, lt=1)
    """Tokens that stand apart altogether, as the first of a context does in language models, as a share of all."""
    sink_scale: float = Field(50.0, ge=0)
    """Length of what they have in common, a fixed direction, in lengths of what firings give: multiples of u √D."""
    epoch_tokens: int = Field(1_000_000, ge=1)
    """A world never runs out; where a reader counts epochs, this many tokens are one."""
    seed: int = 0


OUTLIERS = Config(offset=5.0, outlier_dims=4, outlier_scale=60.0)
"""A mean far from zero and four coordinates 60 times the others: what leaves most latents dead."""
WIDE = Config(width=64, num_features=4096, active=8.0)
"""More features than even a dictionary 32 times the width can hold."""


HEAVY = Config(
    width=256,
    num_features=16_384,
    active=16.0,
    offset=5.0,
    outlier_dims=4,
    outlier_scale=30.0,
    sink_share=0.004,
    sink_scale=30.0,
)
"""Many features under a mean far from zero, four coordinates with 80 times the variance of firings, and one token in
250 that is an outlier altogether; these tokens have most of the variance."""


class Sample(NamedTuple):
    """Activations and the truth behind them."""

    x_TD: Tensor
    codes: SparseCodes
    """Over true features: which fire, ascending, and how strongly."""


class LinearWorld:
    """An `lexiscope.train.source.ActivationSource` whose features are known.

    Attributes:
        config: its settings.
        directions_GD: the true directions, unit rows.
        probabilities_G: how often each feature fires, descending, float64.
        offset_D: what every activation shares, the mean of outliers included.
        unit: u.
    """

    def __init__(self, config: Config = Config()) -> None:  # noqa: B008  frozen
        self.config = config
        draw = generator(config.seed, "world")
        directions_GD = torch.randn(config.num_features, config.width, generator=draw)
        self.directions_GD = directions_GD / directions_GD.norm(dim=1, keepdim=True)
        self.probabilities_G = firing_probabilities(config)
        second_moment = torch.tensor(config.magnitude_spread**2).exp().item()
        self.unit = (float(self.probabilities_G.sum()) * second_moment / config.width) ** 0.5
        offset_D = torch.randn(config.width, generator=draw)
        self.offset_D = offset_D * (config.offset * self.unit * config.width**0.5 / float(offset_D.norm()))
        self._outliers = torch.randperm(config.width, generator=draw)[: config.outlier_dims]
        signs = torch.randint(0, 2, (len(self._outliers),), generator=draw) * 2 - 1
        self.offset_D[self._outliers] += signs * config.outlier_scale * self.unit
        sink_D = torch.randn(config.width, generator=draw)
        self._sink_D = sink_D * (config.sink_scale * self.unit * config.width**0.5 / float(sink_D.norm()))
        rates_G = -torch.log1p(-self.probabilities_G)
        self._throws = float(rates_G.sum())
        self._alias = _alias_table(rates_G)

    @property
    def hooks(self) -> Sequence[HookPoint]:
        return [HOOK]

    def width(self, hook: HookPoint) -> int:
        del hook
        return self.config.width

    def describe(self) -> dict[str, Any]:
        """For the manifest of what is trained on it."""
        return {"world": {"kind": "linear", **self.config.model_dump(mode="json")}}

    def batches(
        self,
        hook: HookPoint,
        *,
        batch_tokens: int,
        seed: int,
        split: Split = "train",
        epochs: int | None = None,
        skip_tokens: int = 0,
    ) -> Iterator[Tensor]:
        """Float32 [T, D]. "all" is a third stream beside the other two."""
        del hook
        first = skip_tokens // batch_tokens
        for sample in self.samples(batch_tokens=batch_tokens, seed=seed, split=split, epochs=epochs, first=first):
            yield sample.x_TD

    def samples(
        self, *, batch_tokens: int, seed: int, split: Split = "train", epochs: int | None = None, first: int = 0
    ) -> Iterator[Sample]:
        """The same activations as `batches`, with their true codes. Without ``epochs`` they never end.

        ``first``: number of the first batch; those before it are left out.
        """
        remaining = None if epochs is None else max(0, epochs * self.config.epoch_tokens - first * batch_tokens)
        for number in itertools.count(first):
            tokens = batch_tokens if remaining is None else min(batch_tokens, remaining)
            if tokens == 0:
                return
            yield self.sample(tokens, seed=seed, split=split, number=number)
            remaining = None if remaining is None else remaining - tokens

    def sample(self, tokens: int, *, seed: int = 0, split: Split = "train", number: int = 0) -> Sample:
        """Batch ``number`` of a stream."""
        config, draw = self.config, generator(self.config.seed, "batch", seed, split, number)
        codes = self._codes(tokens, draw)
        x_TD = weighted_rows(self.directions_GD, codes.latents, codes.offsets, codes.values)
        if config.noise:
            x_TD += torch.randn(tokens, config.width, generator=draw).mul_(config.noise * self.unit)
        if len(self._outliers):
            swing_TO = torch.randn(tokens, len(self._outliers), generator=draw)
            x_TD[:, self._outliers] += swing_TO.mul_(config.outlier_spread * config.outlier_scale * self.unit)
        if config.sink_share:
            x_TD[torch.rand(tokens, generator=draw) < config.sink_share] += self._sink_D
        return Sample(x_TD.add_(self.offset_D), codes)

    def _codes(self, tokens: int, draw: torch.Generator) -> SparseCodes:
        num_features = self.config.num_features
        throws_T = torch.poisson(torch.full((tokens,), self._throws), generator=draw).long()
        keep_G, other_G = self._alias
        total = int(throws_T.sum())
        columns_N = torch.randint(0, num_features, (total,), generator=draw)
        aside_N = torch.rand(total, generator=draw) >= keep_G[columns_N]
        latents_N = torch.where(aside_N, other_G[columns_N], columns_N)
        cells_N = torch.repeat_interleave(throws_T, output_size=total) * num_features + latents_N
        small = tokens * num_features < 2**31
        cells_N = torch.unique_consecutive((cells_N.int() if small else cells_N).sort().values).long()
        starts = torch.arange(tokens + 1) * num_features
        spread = self.config.magnitude_spread
        values_N = torch.randn(len(cells_N), generator=draw).mul_(spread).sub_(spread**2 / 2).exp_()
        return SparseCodes(torch.searchsorted(cells_N, starts), cells_N % num_features, values_N, num_features)


def firing_probabilities(config: Config) -> Tensor:
    """p_g, float64 [G]: a power law of the rank, capped, with the sum that was asked for.

    Raises:
        InputError: so many features can't fire so often.
    """
    weights_G = torch.arange(1, config.num_features + 1, dtype=torch.float64) ** -config.exponent
    if config.active >= config.num_features * config.max_probability:
        raise InputError(
            f"{config.num_features} features that each fire on at most {config.max_probability:g} of the tokens can't "
            f"give {config.active:g} per token; lower active or raise num_features"
        )
    low, high = 0.0, config.active / float(weights_G[-1])
    for _ in range(100):  # bisection on the factor before the power law: 100 halvings are exact in float64
        middle = (low + high) / 2
        if (middle * weights_G).clamp_max(config.max_probability).sum() < config.active:
            low = middle
        else:
            high = middle
    return (high * weights_G).clamp_max(config.max_probability)


def _alias_table(rates_G: Tensor) -> tuple[Tensor, Tensor]:
    """Walker's alias method: pick a column evenly, keep it with probability keep[column], else take other[column]."""
    share = (rates_G / rates_G.mean()).tolist()
    keep, other = [1.0] * len(share), list(range(len(share)))
    poor = [column for column, value in enumerate(share) if value < 1]
    rich = [column for column, value in enumerate(share) if value >= 1]
    while poor and rich:
        low, high = poor.pop(), rich[-1]
        keep[low], other[low] = share[low], high
        share[high] -= 1 - share[low]
        if share[high] < 1:
            poor.append(rich.pop())
    return torch.tensor(keep), torch.tensor(other)
