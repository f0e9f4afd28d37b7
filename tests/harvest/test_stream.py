"""Oracle: the store of the same model and corpus, whose rows the stream must give, shuffled."""

import itertools

import numpy as np
import pytest
import torch

from lexiscope.core.errors import CorpusError, InputError
from lexiscope.harvest.harvest import harvest
from lexiscope.harvest.stream import ActivationStream

from .conftest import FakeCorpus

HOOK = "resid_post.1"


@pytest.fixture
def stream(model, documents):
    return ActivationStream(model, FakeCorpus(documents), [HOOK, "mlp_out.0"], context=24, batch=4)


@pytest.fixture
def store(model, documents, tmp_path):
    out = tmp_path / "store"
    return harvest(
        model, FakeCorpus(documents), [HOOK, "mlp_out.0"], out=out, tokens=10**6, context=24, batch=4, dtype="float32"
    )


def sorted_rows(x_TD):
    """Rounded, because a document's activations depend in the last bits on what is beside it in the batch."""
    rounded = x_TD.double().numpy().round(3)
    return rounded[np.lexsort(rounded.T)]


@pytest.mark.parametrize("buffer_tokens", [1, 2, 97, 10**5])
@pytest.mark.parametrize("split", ["train", "heldout", "all"])
def test_an_epoch_gives_every_row_of_the_split_once(stream, store, split, buffer_tokens):
    settings = {"batch_tokens": 32, "seed": 0, "split": split, "epochs": 1}
    live = torch.cat(list(stream.batches(HOOK, buffer_tokens=buffer_tokens, **settings)))
    disk = torch.cat(list(store.batches(HOOK, **settings)))
    np.testing.assert_allclose(sorted_rows(live), sorted_rows(disk), atol=2e-3)


def test_widths_hooks_and_statistics_are_those_of_the_store(stream, store):
    assert stream.hooks == store.hooks
    for hook in stream.hooks:
        assert stream.width(hook) == store.width(hook)
        live, disk = stream.statistics(hook), store.statistics(hook)
        np.testing.assert_allclose(live.mean_D, disk.mean_D, atol=1e-5)
        np.testing.assert_allclose(live.std_D, disk.std_D, atol=1e-5)
        assert live.tokens == disk.tokens


def test_it_describes_what_it_is_made_from_as_a_store_does(stream, store):
    stream.statistics(HOOK)  # one pass
    assert stream.describe() == store.artifact.manifest["sources"]


def test_same_seed_same_order_other_seed_another(stream):
    one, again, other = (
        torch.cat(list(stream.batches(HOOK, batch_tokens=50, seed=seed, epochs=1, buffer_tokens=300)))
        for seed in (1, 1, 2)
    )
    assert torch.equal(one, again)
    assert not torch.equal(one, other)


def test_batches_are_full_across_epochs_and_without_epochs_never_end(stream, store):
    train = int((~store.heldout_T).sum())
    sizes = [len(batch) for batch in stream.batches(HOOK, batch_tokens=64, seed=0, epochs=2, buffer_tokens=500)]
    assert sum(sizes) == 2 * train
    assert set(sizes[:-1]) == {64}
    endless = stream.batches(HOOK, batch_tokens=64, seed=0, buffer_tokens=500)
    assert all(len(next(endless)) == 64 for _ in range(train // 64 * 2 + 5))


def test_the_model_runs_only_as_far_as_the_buffer_needs(stream, model):
    batches = stream.batches(HOOK, batch_tokens=10, seed=0, buffer_tokens=200)
    assert model.forwards == 0
    next(batches)
    assert 1 <= model.forwards <= 5  # 4 contexts of up to 23 tokens each


def test_a_corpus_without_tokens_is_an_error_not_an_endless_loop(model):
    stream = ActivationStream(model, FakeCorpus([]), [HOOK], context=24)
    with pytest.raises(CorpusError, match="no train token"):
        next(stream.batches(HOOK, batch_tokens=10, seed=0))
    with pytest.raises(CorpusError, match="no token"):
        stream.statistics(HOOK)


def test_a_hook_point_the_model_lacks_is_refused(model, documents):
    with pytest.raises(InputError, match=r"no resid_post\.7"):
        ActivationStream(model, FakeCorpus(documents), ["resid_post.7"])


def test_not_finite_activations_name_hook_and_document(model, documents):
    model.broken = set(model.tokenizer.encode("(").ids)
    stream = ActivationStream(model, FakeCorpus(documents), [HOOK], context=24)
    with pytest.raises(InputError, match=r"resid_post\.1 is NaN or infinite on token \d+ of document 'fake:"):
        next(stream.batches(HOOK, batch_tokens=10, seed=0))


@pytest.mark.parametrize("buffer_tokens", [2, 60, 301, 10**5])
@pytest.mark.parametrize("skip_batches", [1, 2, 7, 29, 61, 150])
def test_it_goes_on_anywhere_as_a_reader_that_had_read_so_far(stream, model, buffer_tokens, skip_batches):
    """Oracle: the same stream from its start, over several epochs. The model runs on two pieces at most."""
    settings = {"batch_tokens": 16, "seed": 3, "buffer_tokens": buffer_tokens}
    from_start = list(itertools.islice(stream.batches(HOOK, **settings), skip_batches + 3))
    before = model.forwards
    skipped = stream.batches(HOOK, **settings, skip_tokens=16 * skip_batches)
    for expected in from_start[skip_batches:]:
        assert torch.equal(next(skipped), expected)
    if buffer_tokens == 60:
        assert model.forwards - before <= 8  # 4 contexts of up to 23 tokens each
