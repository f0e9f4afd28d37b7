"""Search by example. Oracles: AUROC by counting pairs, Fisher's test by listing every way to label, labels drawn at
random from the start, and features planted for a known reason."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from index_world import Dictionary, Model

from lexiscope.core.errors import InputError
from lexiscope.index.live.by_example import Marked, find_by_example
from lexiscope.index.live.separation import Units, fisher, relabellings, score

DEF, NAME, ALWAYS = 2, 14, 1


@pytest.fixture(scope="module")
def read(world):
    return Model(world), Dictionary()


@settings(deadline=None)
@given(st.integers(0, 2**31), st.integers(1, 6), st.integers(2, 12), st.integers(2, 4))
def test_auroc_is_the_share_of_pairs_in_order(seed, num_features, num_units, levels):
    random = torch.Generator().manual_seed(seed)
    strengths_FU = torch.randint(levels, (num_features, num_units), generator=random) / levels
    labels_UP = torch.rand(num_units, 5, generator=random) < 0.5
    labels_UP[0], labels_UP[1] = True, False
    features_N, units_N = strengths_FU.nonzero(as_tuple=True)
    shuffle = torch.randperm(len(features_N), generator=random)
    features_N, units_N = features_N[shuffle], units_N[shuffle]
    units = Units(features_N, units_N, strengths_FU[features_N, units_N], labels_UP[:, 0])
    found = score(units, labels_UP)
    assert found.features_A.tolist() == sorted(set(features_N.tolist()))
    for place, feature in enumerate(found.features_A.tolist()):
        for column in range(5):
            wanted = strengths_FU[feature][labels_UP[:, column]].tolist()
            unwanted = strengths_FU[feature][~labels_UP[:, column]].tolist()
            pairs = [(a > b) + (a == b) / 2 for a, b in itertools.product(wanted, unwanted)]
            assert found.auroc_AP[place, column] == pytest.approx(sum(pairs) / len(pairs))
            difference = sum(wanted) / len(wanted) - sum(unwanted) / len(unwanted)
            assert found.difference_AP[place, column] == pytest.approx(difference, abs=1e-6)


def test_fisher_counts_every_way_to_label():
    """Oracle: all ways to choose which units are wanted, the firing ones fixed."""
    for wanted, unwanted, fires in ((3, 4, 3), (2, 5, 2), (4, 4, 6)):
        fired = set(range(fires))
        ways = [len(fired & set(chosen)) for chosen in itertools.combinations(range(wanted + unwanted), wanted)]
        for both in range(max(0, fires - unwanted), min(wanted, fires) + 1):
            exact = sum(way >= both for way in ways) / len(ways)
            assert fisher(both, wanted, fires - both, unwanted) == pytest.approx(exact)


def test_the_feature_of_what_the_texts_share_comes_first(read):
    found = find_by_example(*read, ["def f(x):", "a def g"], ["return a", "one two three", "Mary (x)"])
    first = found.features[0]
    assert (first.feature, first.auroc, first.fires_wanted, first.fires_unwanted) == (DEF, 1.0, 2, 0)
    assert [strength.max for strength in first.wanted] == [1.0, 1.0]
    assert [strength.max for strength in first.unwanted] == [0.0, 0.0, 0.0]
    assert first.wanted[1].mean == pytest.approx(1 / 3)
    assert first.odds_ratio == pytest.approx(2.5 * 3.5 / (0.5 * 0.5))
    assert found.unit == "text"
    assert found.chance.exhaustive
    assert found.chance.relabellings == math.comb(5, 2)


def test_marks_ask_for_tokens(read):
    """Known truth: Mary and John are names; the rest of the same sentence, and its capital letters, are not."""
    text = "When John gave Mary a pear The keys and Mary had the lid"
    spans = [(text.index(name, start), text.index(name, start) + 4) for name, start in (("John", 0), ("Mary", 0))]
    spans.append((text.rindex("Mary"), text.rindex("Mary") + 4))
    found = find_by_example(*read, [Marked(text, spans)], [])
    assert (found.unit, found.wanted, found.wanted + found.unwanted) == ("token", 3, 13)
    assert found.features[0].feature == NAME
    assert found.features[0].auroc == 1.0
    capital = next(feature for feature in found.features if feature.feature == 7)
    assert 0.5 < capital.auroc < 1
    assert capital.fires_unwanted == 2


def test_strengths_are_relative_to_the_index(read):
    class Index:
        def summaries(self, features):
            from types import SimpleNamespace

            return {feature: SimpleNamespace(max_activation=12.0 if feature == DEF else 0.0) for feature in features}

    found = find_by_example(*read, ["def f"], ["a b"], index=Index())
    first = next(feature for feature in found.features if feature.feature == DEF)
    assert first.wanted[0].max == 0.5


def test_with_few_texts_chance_does_as_well_and_it_is_said(read, world):
    """Any two of four texts share a letter that begins a word of theirs alone: whatever is wanted, one is perfect."""
    words = {
        letter: next(word for word in world.tokenizer.pieces if word.startswith(f" {letter}")) for letter in "abcdef"
    }
    texts = ["".join(words[letter] for letter in letters) for letters in ("abc", "ade", "bdf", "cef")]
    found = find_by_example(*read, texts[:2], texts[2:])
    assert found.chance.mean_auroc == 1.0
    assert found.features[0].auroc == 1.0
    assert found.features[0].auroc_p == 1.0


def test_labels_that_mean_nothing_are_seldom_significant():
    """Oracle: labels drawn at random in the first place; p at most 0.1 comes up in about a tenth of 200 searches."""
    random = torch.Generator().manual_seed(0)
    hits = 0
    for trial in range(200):
        strengths_FU = torch.rand(30, 14, generator=random) * (torch.rand(30, 14, generator=random) < 0.4)
        features_N, units_N = strengths_FU.nonzero(as_tuple=True)
        wanted_U = torch.zeros(14, dtype=torch.bool)
        wanted_U[torch.randperm(14, generator=random)[:6]] = True
        labels_UP, _ = relabellings(wanted_U, "text", 100, trial)
        labels_UP = torch.cat([wanted_U[:, None], labels_UP], 1)
        scores = score(Units(features_N, units_N, strengths_FU[features_N, units_N], wanted_U), labels_UP)
        best_P = scores.auroc_AP.amax(0)
        hits += int((best_P >= best_P[0]).sum()) / len(best_P) <= 0.1
    assert 0.04 <= hits / 200 <= 0.17


def test_shifted_marks_keep_their_lengths():
    wanted_U = torch.tensor([0, 1, 1, 1, 0, 0, 0, 1, 0, 0], dtype=torch.bool)
    labels_UP, exhaustive = relabellings(wanted_U, "token", 500, 0)
    assert exhaustive
    assert labels_UP.shape == (10, 9)
    for column in labels_UP.T:
        assert any(torch.equal(column, wanted_U.roll(shift)) for shift in range(1, 10))
    drawn_UP, exhaustive = relabellings(wanted_U, "token", 4, 0)
    assert not exhaustive
    assert drawn_UP.shape == (10, 4)


@pytest.mark.parametrize(
    ("wanted", "unwanted", "sentence"),
    [
        ([], ["a"], "nothing is wanted"),
        (["a"], [], "nothing is unwanted"),
        ([""], ["a"], "nothing to read"),
        (["a " * 600], ["a"], "positions"),
        ([Marked("a b", [(50, 60)])], ["a"], "nothing is wanted"),
    ],
)
def test_impossible_searches_are_refused_in_a_sentence(read, wanted, unwanted, sentence):
    with pytest.raises(InputError, match=sentence):
        find_by_example(*read, wanted, unwanted)
