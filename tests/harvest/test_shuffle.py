"""Oracle: plain counting. An order is right if every row comes once per epoch, whatever the sizes."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.harvest.shuffle import ShuffledOrder, rebatch

subsets = st.integers(0, 2**32 - 1).flatmap(
    lambda seed: st.tuples(st.integers(1, 3000), st.floats(0.05, 1)).map(
        lambda size: np.flatnonzero(np.random.default_rng(seed).random(size[0]) < size[1])
    )
)


def stream(rows_T, *, buffer_tokens, seed, epochs=1, skip_tokens=0):
    order = ShuffledOrder(rows_T, buffer_tokens=buffer_tokens, seed=seed)
    return [refill.rows_T[refill.order_T.numpy()] for refill in order.refills(epochs=epochs, skip_tokens=skip_tokens)]


@settings(max_examples=100, deadline=None)
@given(rows_T=subsets.filter(len), buffer_tokens=st.integers(1, 4000), seed=st.integers(0, 9), epochs=st.integers(1, 3))
def test_every_row_once_per_epoch_and_never_more_than_the_buffer(rows_T, buffer_tokens, seed, epochs):
    parts = stream(rows_T, buffer_tokens=buffer_tokens, seed=seed, epochs=epochs)
    assert max(map(len, parts)) <= buffer_tokens
    given_T = np.concatenate(parts)
    for epoch in np.split(given_T, epochs):
        np.testing.assert_array_equal(np.sort(epoch), rows_T)


@settings(max_examples=60, deadline=None)
@given(rows_T=subsets.filter(len), buffer_tokens=st.integers(1, 2000), skip=st.integers(0, 7000))
def test_skipping_goes_on_exactly_where_another_reader_stopped(rows_T, buffer_tokens, skip):
    whole = np.concatenate([*stream(rows_T, buffer_tokens=buffer_tokens, seed=3, epochs=3)])
    rest = stream(rows_T, buffer_tokens=buffer_tokens, seed=3, epochs=3, skip_tokens=skip)
    np.testing.assert_array_equal(np.concatenate([*rest, np.zeros(0, np.int64)]), whole[skip:])


def test_same_seed_same_order_other_seed_or_epoch_another():
    rows_T = np.arange(5000)
    first, again = (np.concatenate(stream(rows_T, buffer_tokens=1000, seed=1, epochs=2)) for _ in range(2))
    np.testing.assert_array_equal(first, again)
    other = np.concatenate(stream(rows_T, buffer_tokens=1000, seed=2))
    assert (first[:5000] == other).mean() < 0.01
    assert (first[:5000] == first[5000:]).mean() < 0.01


def test_a_full_buffer_mixes_the_whole_store():
    """200,000 rows, a buffer of a tenth: the first 1,000 rows must come from all over, not from the beginning."""
    first = np.concatenate(stream(np.arange(200_000), buffer_tokens=20_000, seed=0))[:1000]
    in_tenths = np.bincount(first // 20_000, minlength=10)
    assert in_tenths.min() > 20  # 100 expected in each; 78 blocks of 256 rows are in the buffer
    assert abs(np.corrcoef(first[:-1], first[1:])[0, 1]) < 0.1


@settings(max_examples=60, deadline=None)
@given(lengths=st.lists(st.integers(0, 50), max_size=6), batch_tokens=st.integers(1, 40))
def test_rebatching_keeps_every_row_in_order_in_batches_of_one_size(lengths, batch_tokens):
    total = sum(lengths)
    parts = torch.arange(total, dtype=torch.bfloat16)[:, None].split(lengths)
    batches = list(rebatch(((part, torch.arange(len(part))) for part in parts), batch_tokens))
    assert all(len(batch) == batch_tokens for batch in batches[:-1])
    assert all(batch.dtype == torch.float32 for batch in batches)
    assert sum(map(len, batches)) == total
    if batches:
        assert torch.equal(torch.cat(batches)[:, 0], torch.arange(total, dtype=torch.bfloat16).float())
