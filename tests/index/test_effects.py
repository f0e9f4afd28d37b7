"""Effects on the logits. Oracles: the model's own unembedding feature by feature, numpy's moments and histogram in
float64, and a central difference through the final norm of the demo model."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.core.errors import InputError
from lexiscope.index.directions.effects import (
    describe_effects,
    effect_matrix,
    effects_on,
    promoters,
    spread_of_effects,
    tokenisations,
)
from lexiscope.lm.model import LanguageModel


@pytest.fixture(scope="module")
def demo():
    return LanguageModel("demo")


@pytest.fixture(scope="module")
def directions_FD(demo):
    return torch.randn(300, demo.width, generator=torch.Generator().manual_seed(1))


def test_the_matrix_gives_what_the_model_unembeds(demo, directions_FD):
    effects_FV = directions_FD @ effect_matrix(demo)
    assert torch.allclose(effects_FV, demo.unembed(directions_FD)[:, : demo.tokenizer.vocab_size], atol=1e-4)


def test_ends_are_those_of_every_effect_sorted(demo, directions_FD):
    effects_FV = demo.unembed(directions_FD)[:, : demo.tokenizer.vocab_size]
    found, _ = describe_effects(effect_matrix(demo), directions_FD, keep=5)
    ordered = effects_FV.sort(dim=1, descending=True).values
    assert torch.allclose(found.promoted_effects, ordered[:, :5], atol=1e-4)
    assert torch.allclose(found.suppressed_effects, ordered.flip(1)[:, :5], atol=1e-4)
    assert torch.allclose(effects_FV.gather(1, found.promoted_tokens), found.promoted_effects, atol=1e-4)
    assert torch.allclose(effects_FV.gather(1, found.suppressed_tokens), found.suppressed_effects, atol=1e-4)


@settings(deadline=None)
@given(
    st.integers(1, 30),
    st.integers(1, 40),
    st.sampled_from([1.0, 1e-3, 1e3]),
    st.integers(0, 2**31),
)
def test_shapes_are_numpys(width, vocabulary, scale, seed):
    random = torch.Generator().manual_seed(seed)
    U_DV = torch.randn(width, vocabulary, generator=random) ** 3
    U_DV -= U_DV.mean(1, keepdim=True)
    directions_FD = torch.randn(7, width, generator=random) * scale
    directions_FD[3] = 0
    _, shapes = describe_effects(U_DV, directions_FD, keep=3, bins=6)
    for row, effects_V in enumerate((directions_FD @ U_DV).double().numpy()):
        low, high = effects_V.min(), effects_V.max()
        assert shapes.low_F[row] == pytest.approx(low, rel=1e-4, abs=1e-4 * scale)
        assert shapes.high_F[row] == pytest.approx(high, rel=1e-4, abs=1e-4 * scale)
        assert int(shapes.counts_FB[row].sum()) == vocabulary
        assert shapes.std_F[row] == pytest.approx(effects_V.std(), rel=1e-3, abs=1e-5 * scale)
        if high - low > 1e-3 * scale and vocabulary > 2:
            z = (effects_V - effects_V.mean()) / effects_V.std()
            assert shapes.skewness_F[row] == pytest.approx((z**3).mean(), rel=1e-2, abs=1e-2)
            assert shapes.kurtosis_F[row] == pytest.approx((z**4).mean(), rel=1e-2)
            # A token on the border of two bins may fall into either.
            expected = np.histogram(effects_V, bins=6, range=(low, high))[0]
            moved = np.abs(np.cumsum(expected - shapes.counts_FB[row].numpy())).max()
            borders = np.linspace(low, high, 7)[:, None]
            assert moved <= (np.abs(effects_V - borders) < 1e-4 * (high - low)).sum(1).max()


@pytest.mark.parametrize("vocabulary", [1600, 1601, 1663, 9000])
def test_ends_of_a_large_vocabulary_are_exact(vocabulary):
    """Oracle: a full sort, with ties about."""
    random = torch.Generator().manual_seed(vocabulary)
    U_DV = torch.randn(3, vocabulary, generator=random)
    U_DV[:, 1500:1600] = U_DV[:, :100]
    directions_FD = torch.randn(60, 3, generator=random)
    found, _ = describe_effects(U_DV, directions_FD, keep=9)
    effects_FV = directions_FD @ U_DV
    ordered_FV = effects_FV.sort(dim=1, descending=True).values
    assert torch.allclose(found.promoted_effects, ordered_FV[:, :9], atol=1e-5)
    assert torch.allclose(found.suppressed_effects, ordered_FV.flip(1)[:, :9], atol=1e-5)
    assert torch.allclose(effects_FV.gather(1, found.promoted_tokens), found.promoted_effects, atol=1e-5)
    assert all(len(set(row)) == 9 for row in [*found.promoted_tokens.tolist(), *found.suppressed_tokens.tolist()])


def test_a_part_of_the_features_is_described_as_in_the_whole(directions_FD):
    U_DV = torch.randn(directions_FD.shape[1], 9000, generator=torch.Generator().manual_seed(2))
    whole = describe_effects(U_DV, directions_FD, keep=4)
    parts = [describe_effects(U_DV, part, keep=4) for part in torch.split(directions_FD, 116)]
    for kind in (0, 1):
        for column, values in enumerate(whole[kind]):
            joined = torch.cat([part[kind][column] for part in parts])
            assert torch.allclose(joined.double(), values.double(), rtol=1e-4, atol=1e-4)


def test_spread_needs_no_vocabulary(demo, directions_FD):
    U_DV = effect_matrix(demo)
    wanted_F = (directions_FD @ U_DV).double().std(1, correction=0)
    assert torch.allclose(spread_of_effects(U_DV, directions_FD).double(), wanted_F, rtol=1e-4)


def test_an_effect_is_the_slope_of_a_logit(demo):
    """A central difference: logits of a residual stream moved along the direction, the norm's size held fixed."""
    norm, _ = demo._anatomy.final_maps()
    x_D = torch.randn(demo.width, generator=torch.Generator().manual_seed(3)) * 5
    direction_D = torch.randn(demo.width, generator=torch.Generator().manual_seed(4))
    direction_D -= (direction_D @ x_D) / (x_D @ x_D) * x_D  # along the sphere, where the norm divides by the same
    size = x_D.square().mean().sqrt()
    head = demo.module.get_output_embeddings()
    with torch.no_grad():
        step = 0.05
        up, down = (head(norm((x_D + sign * step * direction_D)[None, None]))[0, 0] for sign in (1, -1))
    slope_V = (up - down) / (2 * step) * size
    slope_V = slope_V - slope_V.mean()
    effects_V = (direction_D @ effect_matrix(demo))[: demo.tokenizer.vocab_size]
    assert torch.corrcoef(torch.stack([slope_V[: len(effects_V)], effects_V]))[0, 1] > 0.999


def test_promoters_are_those_of_the_whole_table(demo, directions_FD):
    """Oracle: the table of all effects, column by column."""
    U_DV = effect_matrix(demo)
    table_FV = demo.unembed(directions_FD)
    means_F = torch.rand(300, generator=torch.Generator().manual_seed(5))
    ways = tokenisations(demo.tokenizer, "return")
    assert {"".join(way.pieces) for way in ways} == {"return", " return"}
    columns_FN = table_FV[:, [way.tokens[0] for way in ways]]
    assert torch.allclose(effects_on(U_DV, directions_FD, [way.tokens[0] for way in ways]), columns_FN, atol=1e-4)
    spread_F = table_FV[:, : demo.tokenizer.vocab_size].std(1, correction=0)
    orders = {
        "effect": columns_FN.amax(1),
        "standardised": columns_FN.amax(1) / spread_F,
        "at_mean": columns_FN.amax(1) * means_F,
    }
    for by, score_F in orders.items():
        found = promoters(
            U_DV,
            directions_FD,
            spread_of_effects(U_DV, directions_FD),
            demo.tokenizer,
            "return",
            by=by,
            keep=7,
            means_F=means_F,
        )
        assert [entry.feature for entry in found.features] == score_F.topk(7).indices.tolist()
        first = found.features[0]
        assert first.tokenisation == int(columns_FN[first.feature].argmax())
        assert {"effect": first.effect, "standardised": first.standardised, "at_mean": first.at_mean}[
            by
        ] == pytest.approx(float(score_F.max()), rel=1e-3)


def test_a_direction_made_for_a_token_is_found(demo, directions_FD):
    """Known truth: the column of U itself, planted among directions of its length."""
    U_DV = effect_matrix(demo)
    [way] = [way for way in tokenisations(demo.tokenizer, "def") if way.pieces == ["def"]]
    column_D = U_DV[:, way.tokens[0]]
    planted_FD = directions_FD * column_D.norm() / directions_FD.norm(dim=1, keepdim=True)
    planted_FD[123] = column_D
    found = promoters(U_DV, planted_FD, spread_of_effects(U_DV, planted_FD), demo.tokenizer, "def", keep=1)
    assert found.features[0].feature == 123
    assert found.features[0].standardised > 3


def test_tokenisations_with_and_without_a_space_are_the_same_asked_either_way(demo):
    asked = [{tuple(way.tokens) for way in tokenisations(demo.tokenizer, text)} for text in ("Paris", " Paris")]
    assert asked[0] == asked[1]
    assert len(asked[0]) == 2
    assert len(tokenisations(demo.tokenizer, "\n")) == 2
    assert [way.pieces for way in tokenisations(demo.tokenizer, " ")] == [[" "]]
    for asked in ("\x00", " \x00"):  # the space before it is a token of its own
        assert [way.pieces for way in tokenisations(demo.tokenizer, asked)] == [["\x00"]]
    with pytest.raises(InputError, match="no token"):
        tokenisations(demo.tokenizer, "")


def test_mean_activations_are_asked_for_where_they_are_missing(demo, directions_FD):
    U_DV = effect_matrix(demo)
    with pytest.raises(InputError, match="index"):
        promoters(U_DV, directions_FD, torch.ones(300), demo.tokenizer, "a", by="at_mean")
