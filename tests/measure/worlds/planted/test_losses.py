"""Losses by document. Oracles: sums over the tokens of one document at a time, and ratios counted by hand."""

from __future__ import annotations

import pytest
import torch

from lexiscope.harvest.rows import pack_for
from lexiscope.measure.worlds.planted.losses import apart, documents, summed_losses
from lexiscope.text.corpus import Corpus


def test_sums_are_those_of_each_document_alone(model, source):
    texts = [text for text, _ in zip(Corpus(source).documents(), range(12), strict=False)]
    batches = list(pack_for(model, texts, context=32, batch=5))
    sums_K = summed_losses(model, batches)
    assert len(documents(batches)) == sum(int(batch.mask_BC[:, 1:].sum()) for batch in batches)
    for number, text in enumerate(texts):
        (alone,) = [summed_losses(model, list(pack_for(model, [text], context=32, batch=64)))]
        assert float(sums_K[number]) == pytest.approx(float(alone.sum()), rel=1e-5)


def test_apart_by_hand():
    one, other = torch.tensor([2.0, 0.0, 4.0], dtype=torch.float64), torch.tensor([1.0, 0.0, 4.0], dtype=torch.float64)
    found = apart(one, other)
    assert found.value == pytest.approx(0.2)
    assert (found.low, found.high) == pytest.approx((0.0, 1.0))  # only the last document drawn, and only the first
    assert apart(one, one) == (0, 0, 0)
    assert apart(one, other, seed=3) == apart(one, other, seed=3)
