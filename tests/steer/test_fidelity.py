"""The fidelity curve. Oracle: dense arithmetic in float64, one context after another, predictions one at a time."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from tests.measure.conftest import HOOK, model, source, store  # noqa: F401

from lexiscope import saes
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.measure.heldout import Excerpts, text_of
from lexiscope.measure.passes import LOSS_EXCERPT_CHARACTERS
from lexiscope.saes.base import Batch
from lexiscope.steer.spending.fidelity import curve
from lexiscope.steer.spending.rules import parse
from lexiscope.text.pack import pack

TOKENS = 400


@pytest.fixture(scope="module")
def sae(store):  # noqa: F811
    sample_TD = store.rows(HookPoint.parse(HOOK), np.arange(2000))
    made = saes.create(saes.relu_l1.Config(expansion=4), Batch.same(sample_TD))
    made.hook = HookPoint.parse(HOOK)
    return made


def contexts_of(model, store):  # noqa: F811
    """Token ids of the first contexts of the held-out text."""
    documents = Excerpts(text_of(store)).documents(LOSS_EXCERPT_CHARACTERS)
    seen = 0
    for batch in pack(documents, model.tokenizer, context=32, batch=16, bos=model.bos):
        for tokens_C, mask_C, attention_C in zip(batch.tokens_BC, batch.mask_BC, batch.attention_BC, strict=True):
            yield tokens_C[attention_C], mask_C[attention_C]
            seen += int((mask_C[1:] & mask_C[:-1]).sum())
        if seen >= TOKENS:
            return


def kept(sae, x_TD, number):
    """The largest contributions of every token, densely."""
    codes_TF = sae.encode(x_TD).dense().double()
    lengths_TF = codes_TF.abs() * sae.W_dec_FD.double().norm(dim=1)
    for row, lengths in zip(codes_TF, lengths_TF.tolist(), strict=True):
        for latent in sorted(range(len(row)), key=lambda one: -lengths[one])[number:]:
            row[latent] = 0
    return codes_TF


@torch.no_grad()
def test_against_dense_arithmetic(model, store, sae):  # noqa: F811
    found = curve(sae, model, store, [parse("k=3"), parse("all"), parse("k=0")], tokens=TOKENS)
    errors, squares, sums, tokens, fired = 0.0, 0.0, 0.0, 0, 0
    rises, divergences = [], []
    for tokens_C, mask_C in contexts_of(model, store):
        x_TD = model.read(tokens_C[None], [sae.hook])[sae.hook][0][mask_C]
        codes_TF = kept(sae, x_TD, 3)
        y_TD = codes_TF @ sae.W_dec_FD.double() + sae.b_dec_D.double()
        errors += float((x_TD - y_TD).square().sum())
        squares, sums = squares + float(x_TD.double().square().sum()), sums + x_TD.double().sum(0)
        tokens, fired = tokens + len(x_TD), fired + int((codes_TF != 0).sum())
        clean_CV = model.logits(tokens_C[None])[0].double().log_softmax(1)

        def replace(x_BCD, y_TD=y_TD, mask_C=mask_C):
            out_BCD = x_BCD.clone()
            out_BCD[0, mask_C] = y_TD.float()
            return out_BCD

        with model.splice({sae.hook: replace}):
            spliced_CV = model.logits(tokens_C[None])[0].double().log_softmax(1)
        for place in range(len(tokens_C) - 1):
            if mask_C[place] and mask_C[place + 1]:
                rises.append(float(clean_CV[place, tokens_C[place + 1]] - spliced_CV[place, tokens_C[place + 1]]))
                divergences.append(float((clean_CV[place].exp() * (clean_CV[place] - spliced_CV[place])).sum()))
    few, everything, nothing = found.points
    assert found.tokens == len(rises)
    assert few.features_per_token == pytest.approx(fired / tokens)
    assert few.most_features == 3
    assert few.scores["fvu"].value == pytest.approx(errors / (squares - float(sums.square().sum()) / tokens), rel=1e-5)
    assert few.scores["loss_difference"].value == pytest.approx(sum(rises) / len(rises), rel=1e-4)
    assert few.scores["kl_divergence"].value == pytest.approx(sum(divergences) / len(rises), rel=1e-4)
    assert everything.features_per_token > few.features_per_token > nothing.features_per_token == 0
    assert few.decode_operations == sae.width * few.features_per_token
    assert few.scores["fvu"].low < few.scores["fvu"].value < few.scores["fvu"].high


def test_all_is_what_the_scorecard_measures(model, store, sae):  # noqa: F811
    """A threshold that everything exceeds and a prefix of the whole dictionary change nothing."""
    points = curve(sae, model, store, [parse("all"), parse("threshold=0"), parse(f"prefix={sae.num_latents}")]).points
    assert points[0].scores == points[1].scores == points[2].scores


def test_a_prefix_needs_no_more_of_the_encoder(model, store, sae):  # noqa: F811
    points = curve(sae, model, store, [parse("prefix=10"), parse("k=2")], tokens=TOKENS).points
    assert [point.encode_operations for point in points] == [sae.width * 10, sae.width * sae.num_latents]
    topk = saes.create(saes.topk.Config(expansion=4, k=4), Batch.same(torch.randn(64, sae.width)))
    topk.hook = sae.hook
    competing = curve(topk, model, store, [parse("prefix=10")], tokens=TOKENS).points[0]
    assert competing.encode_operations == sae.width * topk.num_latents  # whether one fires depends on all


def test_nothing_to_compare(model, store, sae):  # noqa: F811
    with pytest.raises(InputError, match="there is nothing to compare; give at least one way of spending, such as k=8"):
        curve(sae, model, store, [])
