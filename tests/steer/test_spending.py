"""Which contributions are kept. Oracle: plain Python, token by token, that sorts a list."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import InputError
from lexiscope.steer.spending.rules import (
    EveryFeature,
    First,
    LongEnough,
    PerSequence,
    PerToken,
    parse,
    spend,
    threshold_for,
    written,
)


@st.composite
def coded(draw):
    """Codes of a few tokens with many ties, lengths, and which sequence each token is of."""
    tokens, latents = draw(st.integers(1, 6)), draw(st.integers(1, 7))
    dense = draw(
        st.lists(st.lists(st.sampled_from([0.0, 0.5, 1.0, -1.0, 2.0]), min_size=latents, max_size=latents),
                 min_size=tokens, max_size=tokens)
    )  # fmt: skip
    lengths = draw(st.lists(st.sampled_from([0.5, 1.0, 2.0]), min_size=latents, max_size=latents))
    sequences = sorted(draw(st.lists(st.integers(0, 2), min_size=tokens, max_size=tokens)))
    return torch.tensor(dense), torch.tensor(lengths), torch.tensor(sequences)


def entries(dense_TF, lengths_F):
    """(token, latent, length of the contribution) of all that fire."""
    return [
        (token, latent, abs(value) * lengths_F[latent].item())
        for token, row in enumerate(dense_TF.tolist())
        for latent, value in enumerate(row)
        if value
    ]


def kept(dense_TF, lengths_F, spending, sequences_T=None):
    codes = SparseCodes.from_dense(dense_TF)
    left = codes.keep(spend(codes, lengths_F, spending, sequences_T))
    assert torch.equal(left.values, dense_TF[left.tokens(), left.latents])
    return set(zip(left.tokens().tolist(), left.latents.tolist(), strict=True))


def longest(found, number):
    return {(token, latent) for token, latent, _ in sorted(found, key=lambda one: (-one[2], one[0], one[1]))[:number]}


@given(coded(), st.integers(0, 8))
def test_so_many_of_every_token(given_, k):
    dense_TF, lengths_F, _ = given_
    expected = set().union(
        *(
            longest([one for one in entries(dense_TF, lengths_F) if one[0] == token], k)
            for token in range(len(dense_TF))
        )
    )
    assert kept(dense_TF, lengths_F, PerToken(features=k)) == expected


@given(coded(), st.sampled_from([0, 0.5, 1, 1.7, 30]))
def test_a_budget_is_of_a_whole_sequence(given_, each):
    """Which of two equal contributions of different tokens stays is a matter of the order; how many stay is not."""
    dense_TF, lengths_F, sequences_T = given_
    found = kept(dense_TF, lengths_F, PerSequence(features_per_token=each), sequences_T)
    of = entries(dense_TF, lengths_F)
    for sequence in set(sequences_T.tolist()):
        tokens = [token for token, its in enumerate(sequences_T.tolist()) if its == sequence]
        mine = [one for one in of if one[0] in tokens]
        expected = sorted((length for *_, length in mine), reverse=True)[: int(each * len(tokens))]
        assert sorted((length for token, latent, length in mine if (token, latent) in found), reverse=True) == expected


@given(coded(), st.sampled_from([0, 0.5, 1, 3]))
def test_long_enough_and_first(given_, bound):
    dense_TF, lengths_F, _ = given_
    of = entries(dense_TF, lengths_F)
    assert kept(dense_TF, lengths_F, LongEnough(length=bound)) == {one[:2] for one in of if one[2] >= bound}
    assert kept(dense_TF, lengths_F, First(latents=int(bound))) == {one[:2] for one in of if one[1] < int(bound)}
    assert kept(dense_TF, lengths_F, EveryFeature()) == {one[:2] for one in of}


def test_the_threshold_that_spends_so_many():
    codes = SparseCodes.from_dense(torch.tensor([[3.0, 1.0, 0.5], [2.0, 0.0, 0.25]]))
    spending = threshold_for(codes, torch.ones(3), 1.5)
    assert spending.length == 1.0
    assert int(spend(codes, torch.ones(3), spending).sum()) == 3
    with pytest.raises(InputError, match=r"9 features per token can't be spent where 2\.5 fire"):
        threshold_for(codes, torch.ones(3), 9)


@pytest.mark.parametrize(
    "text",
    [
        "all",
        "k=8",
        "threshold=0.5",
        "budget=12.5",
        "prefix=1024",
        "prefix=1048577",
        "k=1234567",
        "threshold=0.123456789",
    ],
)
def test_written_and_read(text):
    assert written(parse(text)) == text


@pytest.mark.parametrize(
    "text",
    "|8|k|k=|k=-1|k=1.5|k=nan|k=8=9|k=9999999999999999999999|threshold=inf|all=3|budget=-1|prefix=x|rule=k".split("|"),
)
def test_what_says_no_number(text):
    with pytest.raises(InputError, match="says no number of features; write all, k=8"):
        parse(text)
