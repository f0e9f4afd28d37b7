"""Oracle: the matrix that was written, held in memory."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.core.manifest import read_manifest, write_sealed
from lexiscope.harvest.store import ActivationStore
from lexiscope.text.document import is_heldout

from .conftest import FakeModel, make_store

HOOK = "resid_post.1"


def matrix(rows, width, dtype="bfloat16", seed=0):
    x_TD = torch.randn(rows, width, generator=torch.Generator().manual_seed(seed))
    return x_TD.to(getattr(torch, dtype)).float()


@pytest.fixture(scope="module")
def written():
    return matrix(3000, 8)


@pytest.fixture(scope="module")
def store(written, tmp_path_factory):
    return make_store(tmp_path_factory.mktemp("store") / "store", written, shard_tokens=700)


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_random_access_chunks_and_shuffling_agree_whatever_the_sizes(tmp_path_factory, data):
    T, width = data.draw(st.integers(1, 400), "rows"), data.draw(st.integers(1, 20), "width")
    dtype = data.draw(st.sampled_from(["float32", "bfloat16", "float16"]), "dtype")
    x_TD = matrix(T, width, dtype)
    shard_tokens = data.draw(st.integers(max(1, T // 10), 500), "shard_tokens")
    store = make_store(tmp_path_factory.mktemp("s") / "store", x_TD, dtype=dtype, shard_tokens=shard_tokens)
    assert (store.num_tokens, store.width(HOOK)) == (T, width)
    indices = data.draw(st.lists(st.integers(0, T - 1), max_size=50), "indices")
    assert torch.equal(store.rows(HOOK, indices), x_TD[indices])
    chunks = list(store.chunks(HOOK, chunk_tokens=data.draw(st.integers(1, 300), "chunk_tokens")))
    assert torch.equal(torch.cat([chunk.x_TD for chunk in chunks]), x_TD)
    assert [chunk.start for chunk in chunks] == np.cumsum([0, *(len(chunk.x_TD) for chunk in chunks)])[:-1].tolist()
    batches = store.batches(
        HOOK,
        batch_tokens=data.draw(st.integers(1, 100), "batch_tokens"),
        seed=data.draw(st.integers(0, 5), "seed"),
        split="all",
        epochs=1,
        buffer_tokens=data.draw(st.integers(1, 500), "buffer_tokens"),
    )
    shuffled = torch.cat(list(batches))
    assert torch.equal(sort_rows(shuffled), sort_rows(x_TD))


def sort_rows(x_TD):
    return torch.from_numpy(x_TD.numpy()[np.lexsort(x_TD.numpy().T)])


def read_rows(store, **settings):
    """Row numbers in the order given, found through the tokens: in these stores, token = row."""
    chosen = {"batch_tokens": 64, "seed": 0, "epochs": 1} | settings
    return torch.cat(list(store.batches(HOOK, **chosen)))


def test_train_and_heldout_are_disjoint_by_document_and_together_everything(store, written):
    ids = np.array([info.id for info in store.documents()])
    heldout_T = np.array([is_heldout(name) for name in ids])[store.documents_T]
    np.testing.assert_array_equal(store.heldout_T, heldout_T)
    assert 0 < heldout_T.sum() < len(heldout_T) / 2
    for split, wanted in (("train", ~heldout_T), ("heldout", heldout_T), ("all", heldout_T | True)):
        assert torch.equal(sort_rows(read_rows(store, split=split)), sort_rows(written[wanted]))


def test_same_seed_same_batches_other_seed_others(store):
    assert torch.equal(read_rows(store, buffer_tokens=500), read_rows(store, buffer_tokens=500))
    assert not torch.equal(read_rows(store, buffer_tokens=500), read_rows(store, buffer_tokens=500, seed=1))


def test_batches_are_full_across_epochs_and_without_epochs_never_end(store):
    train = int((~store.heldout_T).sum())
    sizes = [len(batch) for batch in store.batches(HOOK, batch_tokens=64, seed=0, epochs=2)]
    assert sum(sizes) == 2 * train
    assert set(sizes[:-1]) == {64}
    endless = store.batches(HOOK, batch_tokens=64, seed=0)
    assert all(len(next(endless)) == 64 for _ in range(200))


def test_a_reader_goes_on_exactly_after_the_rows_it_has_given(store):
    whole = list(store.batches(HOOK, batch_tokens=50, seed=4, epochs=2, buffer_tokens=333))
    rest = store.batches(HOOK, batch_tokens=50, seed=4, epochs=2, buffer_tokens=333, skip_tokens=50 * 30)
    for expected, batch in zip(whole[30:], rest, strict=True):
        assert torch.equal(batch, expected)


def test_no_more_rows_than_the_buffer_are_read_at_once(store, monkeypatch):
    gather, sizes = ActivationStore._gather, []

    def counted(self, hook, rows_T):
        sizes.append(len(rows_T))
        return gather(self, hook, rows_T)

    monkeypatch.setattr(ActivationStore, "_gather", counted)
    read_rows(store, buffer_tokens=600)
    assert 300 < max(sizes) <= 600


def test_an_empty_split_says_so(tmp_path):
    store = make_store(tmp_path / "store", matrix(5, 3))
    empty = "train" if store.heldout_T.all() else "heldout"
    with pytest.raises(InputError, match=f"no {empty} rows; harvest more documents"):
        store.batches(HOOK, batch_tokens=2, seed=0, split=empty)


def test_a_window_stays_in_its_context(tmp_path):
    contexts_T = [0] * 5 + [1] * 2 + [2] * 13
    store = make_store(tmp_path / "store", matrix(20, 3), contexts_T=contexts_T)
    for row in range(20):
        for before, after in ((0, 0), (2, 3), (50, 50)):
            tokens, offset = store.window(row, before, after)
            expected = [
                other
                for other in range(max(0, row - before), min(20, row + after + 1))
                if contexts_T[other] == contexts_T[row]
            ]
            assert tokens.tolist() == expected
            assert tokens[offset] == row


@pytest.mark.parametrize("row", [-1, 3000])
def test_a_row_that_is_not_there_is_an_index_error(store, row):
    with pytest.raises(IndexError):
        store.rows(HOOK, [row])
    with pytest.raises(IndexError):
        store.window(row, 1, 1)


def test_another_hook_point_says_which_there_are(store):
    with pytest.raises(InputError, match=r"holds resid_post\.1, not resid_post\.2"):
        store.width("resid_post.2")
    with pytest.raises(InputError, match=r"holds resid_post\.1, not mlp_out\.0"):
        store.batches("mlp_out.0", batch_tokens=2, seed=0)


def test_a_store_of_another_model_is_refused(store, tokenizer):
    with pytest.raises(InputError, match="not of fake"):
        store.check_model(FakeModel(tokenizer, {}))


SHARD = f"activations/{HOOK}/00001.safetensors"


@pytest.mark.parametrize("name", [SHARD, "rows/tokens.safetensors", "documents.parquet", "statistics.safetensors"])
def test_a_truncated_or_missing_file_is_named_when_the_store_is_opened(tmp_path, written, name):
    path = tmp_path / "store"
    make_store(path, written)
    data = (path / name).read_bytes()
    (path / name).write_bytes(data[:-1])
    with pytest.raises(ArtifactError, match=f"{name} is truncated"):
        ActivationStore.open(path)
    (path / name).unlink()
    with pytest.raises(ArtifactError, match=f"{name} is missing"):
        ActivationStore.open(path)


@pytest.mark.parametrize("name", [SHARD, "rows/tokens.safetensors", "documents.parquet", "statistics.safetensors"])
def test_a_damaged_file_of_the_right_size_is_named_when_it_is_read(tmp_path, written, name):
    path = tmp_path / "store"
    make_store(path, written)
    data = (path / name).read_bytes()
    (path / name).write_bytes(b"\xff" * len(data))
    store = ActivationStore.open(path)
    with pytest.raises(ArtifactError, match=name):
        _ = (store.rows(HOOK, [1500]), store.documents(), store.statistics(HOOK))


def test_a_shard_of_another_width_or_length_is_named(tmp_path, written):
    path = tmp_path / "store"
    make_store(path, written)
    make_store(tmp_path / "other", matrix(3000, 4), dtype="float32")
    (path / SHARD).write_bytes((tmp_path / "other" / SHARD).read_bytes())
    with pytest.raises(ArtifactError, match=f"{SHARD} does not fit the manifest"):
        ActivationStore.open(path).rows(HOOK, [1500])


def test_another_kind_of_artifact_and_a_wrong_config_are_refused(tmp_path, written):
    path = tmp_path / "store"
    make_store(path, written)
    manifest = read_manifest(path)
    for change, message in (
        ({"kind": "sae"}, "is a sae, but a store is needed"),
        ({"config": manifest["config"] | {"dtype": "int8"}}, r"manifest\.json: dtype"),
        ({"config": manifest["config"] | {"hooks": ["nonsense"]}}, "nonsense"),
        ({"config": manifest["config"] | {"surplus": 1}}, "unknown key 'surplus'"),
    ):
        write_sealed(path / "manifest.json", manifest | change)
        with pytest.raises(ArtifactError, match=message):
            ActivationStore.open(path)


@pytest.mark.parametrize("folder", ["a [b]", "a*b?", "it's", "ü"])
def test_any_folder_name_works(tmp_path, folder):
    store = make_store(tmp_path / folder / "store", matrix(30, 3))
    assert [info.tokens for info in store.documents()] == [10, 10, 10]
    assert len(store.rows(HOOK, [3])) == 1
