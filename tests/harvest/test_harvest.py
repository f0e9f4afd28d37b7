"""Oracle: a forward pass of each document alone, cut into contexts by hand, and the text of the document itself."""

import errno
import json
import shutil

import numpy as np
import pytest
import torch

from lexiscope.core.errors import CorpusError, DiskError, InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.estimate import estimate
from lexiscope.harvest.harvest import harvest
from lexiscope.harvest.writer import StoreWriter
from lexiscope.text.document import Document, is_heldout

from .conftest import BOS, FakeCorpus, FakeModel

HOOKS = ["resid_post.1", "mlp_out.0"]
CONTEXT = 24


def run(model, corpus, tmp_path, **settings):
    chosen = {"hooks": HOOKS, "tokens": 10**6, "context": CONTEXT, "batch": 4, "dtype": "float32", "shard_tokens": 700}
    return harvest(model, corpus, out=tmp_path / "store", **(chosen | settings))


def by_hand(model, document):
    """Tokens and activations of one document, one context at a time; contexts of fewer than 4 tokens are dropped."""
    ids = model.tokenizer.encode(document.text).ids
    for start in range(0, len(ids), CONTEXT - 1):
        piece = ids[start : start + CONTEXT - 1]
        if len(piece) >= 4:
            read = model.read(torch.tensor([[BOS, *piece]]), list(model.tables))
            yield start, piece, {hook: x_BCD[0, 1:] for hook, x_BCD in read.items()}


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 1e-6), ("bfloat16", 2**-8), ("float16", 2**-10)])
def test_stored_rows_equal_a_forward_pass_of_each_document_alone(model, corpus, documents, tmp_path, dtype, tolerance):
    store = run(model, corpus, tmp_path, dtype=dtype)
    ordinal_of = {info.id: ordinal for ordinal, info in enumerate(store.documents())}
    seen = 0
    for document in documents:
        for start, tokens, activations in by_hand(model, document):
            rows = np.flatnonzero(
                (store.documents_T == ordinal_of[document.id])
                & (store.positions_T >= start)
                & (store.positions_T < start + len(tokens))
            )
            seen += len(rows)
            assert store.tokens_T[rows].tolist() == tokens
            assert len(set(store.contexts_T[rows])) == 1
            assert rows.tolist() == list(range(rows[0], rows[0] + len(rows)))
            for hook, expected_TD in activations.items():
                torch.testing.assert_close(store.rows(hook, rows), expected_TD, rtol=tolerance, atol=tolerance)
    assert seen == store.num_tokens


def test_tokens_of_a_document_decode_to_the_text_of_their_spans(model, corpus, documents, tmp_path):
    store = run(model, corpus, tmp_path)
    texts = {document.id: document.text for document in documents}
    for ordinal, info in enumerate(store.documents()):
        rows = np.flatnonzero(store.documents_T == ordinal)
        rows = rows[store.positions_T[rows].argsort()]
        assert store.positions_T[rows].tolist() == list(range(len(rows)))
        assert len(rows) == info.tokens
        start, end = store.starts_T[rows].min(), store.ends_T[rows].max()
        # A last piece too short to keep may begin inside a character of several bytes.
        decoded = model.tokenizer.decode(store.tokens_T[rows].tolist()).rstrip("\ufffd")
        assert texts[info.id][start:end].startswith(decoded)
        assert len(texts[info.id][start:end]) - len(decoded) <= 1
        assert start == 0


def test_bos_and_padding_are_never_stored(model, corpus, tmp_path):
    store = run(model, corpus, tmp_path)
    assert BOS not in store.tokens_T
    assert store.statistics("resid_post.1").max_norm < 100  # BOS has norms in the thousands
    assert min(store.starts_T) == 0
    assert min(store.positions_T) == 0


def test_documents_keep_kind_and_licence_and_are_held_out_by_the_hash_of_their_id(model, corpus, documents, tmp_path):
    store = run(model, corpus, tmp_path)
    known = {document.id: document for document in documents}
    for info in store.documents():
        assert (info.kind, info.licence) == (known[info.id].kind, known[info.id].licence)
        assert info.heldout == is_heldout(info.id)
    assert store.artifact.manifest["heldout_tokens"] == store.heldout_T.sum() > 0


def test_it_stores_exactly_as_many_tokens_as_asked_in_shards_of_a_fixed_size(model, corpus, tmp_path):
    store = run(model, corpus, tmp_path, tokens=1501, shard_tokens=500)
    assert store.num_tokens == 1501
    assert "shortfall" not in store.artifact.manifest
    shards = sorted((tmp_path / "store" / "activations" / "mlp_out.0").iterdir())
    assert [shard.stat().st_size for shard in shards] == [256 + rows * 5 * 4 for rows in (500, 500, 500, 1)]


def test_the_same_rows_are_stored_whatever_the_shards(model, documents, tmp_path):
    one = run(model, FakeCorpus(documents), tmp_path / "one", shard_tokens=10**6)
    many = run(model, FakeCorpus(documents), tmp_path / "many", shard_tokens=97)
    np.testing.assert_array_equal(one.tokens_T, many.tokens_T)
    every = np.arange(one.num_tokens)
    assert torch.equal(one.rows("resid_post.1", every), many.rows("resid_post.1", every))


def test_two_runs_leave_the_same_bytes_and_the_same_notes(model, documents, tmp_path):
    """Packing ahead and writing behind must not show, nor how far they happened to be when the last token came."""
    one, other = (
        run(model, FakeCorpus(documents), tmp_path / name, tokens=900).artifact.manifest for name in ("one", "other")
    )
    ignored = {"created"}
    assert {k: v for k, v in one.items() if k not in ignored} == {k: v for k, v in other.items() if k not in ignored}


def test_statistics_equal_numpy_on_all_stored_rows(model, corpus, tmp_path):
    store = run(model, corpus, tmp_path, dtype="bfloat16")
    full = store.rows("resid_post.1", np.arange(store.num_tokens)).double().numpy()
    site = store.statistics("resid_post.1")
    np.testing.assert_allclose(site.mean_D, full.mean(0), atol=1e-12)
    np.testing.assert_allclose(site.std_D, full.std(0), rtol=1e-9)
    note = store.artifact.manifest["statistics"]["resid_post.1"]
    assert note["mean_norm"] == pytest.approx(np.linalg.norm(full, axis=1).mean())


def test_a_corpus_that_ends_early_is_reported_not_refused(model, corpus, tmp_path):
    messages = []

    class Recorder:
        def task(self, *_, **__):
            return self

        def __enter__(self):
            return self

        def __exit__(self, *_):
            pass

        def advance(self, amount, note=""):
            messages.append((amount, note))

    store = run(model, corpus, tmp_path, tokens=10**6, progress=Recorder())
    expected = f"the corpus ended after {store.num_tokens:,} of 1,000,000 tokens"
    assert store.artifact.manifest["shortfall"] == expected
    assert messages[-1] == (0, expected)
    assert sum(amount for amount, _ in messages) == store.num_tokens
    assert "s left" in messages[0][1]


def test_the_manifest_says_what_went_in(model, corpus, documents, tmp_path):
    manifest = run(model, corpus, tmp_path, seed=5).artifact.manifest
    assert manifest["config"]["hooks"] == HOOKS
    assert (manifest["seed"], manifest["config"]["context"], manifest["config"]["dtype"]) == (5, CONTEXT, "float32")
    assert manifest["sources"]["model"]["fingerprint"] == "f" * 64
    assert manifest["sources"]["corpus"]["documents"] == len(documents)
    kept = sum(info.tokens for info in run(model, FakeCorpus(documents), tmp_path / "again").documents())
    whole = sum(len(model.tokenizer.encode(document.text).ids) for document in documents)
    assert manifest["dropped_tokens"] == whole - kept


@pytest.mark.parametrize("texts", [[], ["abc"]])
def test_a_corpus_without_a_token_to_store_is_an_error_and_leaves_nothing(model, tmp_path, texts):
    corpus = FakeCorpus(Document(f"d{i}", text, "prose", "MIT") for i, text in enumerate(texts))
    with pytest.raises(CorpusError, match="no token"):
        run(model, corpus, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_interrupt_leaves_nothing_under_the_final_name(model, documents, tmp_path):
    def interrupted():
        yield from documents[:20]
        raise KeyboardInterrupt

    corpus = FakeCorpus([])
    corpus.documents = interrupted
    with pytest.raises(KeyboardInterrupt):
        run(model, corpus, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_an_activation_that_is_not_finite_names_hook_and_document(model, tmp_path):
    texts = ["plain text", "more text", "text with # in it"]
    model.broken = set(model.tokenizer.encode("#").ids)
    corpus = FakeCorpus(Document(f"doc-{i}", text, "prose", "MIT") for i, text in enumerate(texts))
    with pytest.raises(InputError, match=r"resid_post\.1 is NaN or infinite on token 10 of document 'doc-2'"):
        run(model, corpus, tmp_path, hooks=["resid_post.1"])
    assert list(tmp_path.iterdir()) == []


def test_float16_overflow_advises_bfloat16(model, corpus, tmp_path):
    model.tables[HookPoint.parse("resid_post.1")] *= 1e5
    with pytest.raises(InputError, match=r"NaN or infinite.*harvest in bfloat16"):
        run(model, corpus, tmp_path, dtype="float16")


def test_it_refuses_before_running_when_the_disk_has_too_little_room(model, corpus, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10**6, 10**6 - 5000, 5000))
    with pytest.raises(InputError, match=r"needs 9\.2 MB, but only 5 kB are free"):
        run(model, corpus, tmp_path, tokens=100_000)
    assert model.forwards == 0


def test_a_disk_that_fills_up_on_the_way_is_one_sentence(model, corpus, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(StoreWriter, "append", full)
    with pytest.raises(DiskError, match="is full; make room"):
        run(model, corpus, tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_the_estimate_is_what_the_store_takes(model, corpus, tmp_path):
    before = estimate(model, HOOKS, tokens=2000, out=tmp_path / "store", dtype="float32")
    run(model, corpus, tmp_path, tokens=2000, shard_tokens=10**6)
    data = [path for path in (tmp_path / "store").rglob("*.safetensors") if path.name != "statistics.safetensors"]
    headers = 256 * len(data)
    assert before.bytes == sum(path.stat().st_size for path in data) - headers


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"hooks": []}, "no hook point given"),
        ({"hooks": ["resid_post.1", "resid_post.1"]}, r"resid_post\.1 is given twice"),
        ({"hooks": ["resid_post.9"]}, r"no resid_post\.9"),
        ({"hooks": ["nonsense"]}, "no hook point is called 'nonsense'"),
        ({"dtype": "int8"}, "dtype"),
        ({"tokens": 0}, "tokens"),
        ({"shard_tokens": 0}, "shard_tokens"),
        ({"context": 65}, "at most 64 tokens, not 65"),
    ],
)
def test_a_wrong_setting_is_one_sentence_and_nothing_is_written(model, corpus, tmp_path, settings, message):
    with pytest.raises(InputError, match=message):
        run(model, corpus, tmp_path, **settings)
    assert list(tmp_path.iterdir()) == []
    assert model.forwards == 0


def test_a_module_path_of_any_kind_becomes_one_folder(tokenizer, corpus, tmp_path):
    hook = "module:a.0/../../b"
    store = run(FakeModel(tokenizer, {hook: 3}), corpus, tmp_path, hooks=[hook], tokens=50)
    assert [folder.name for folder in (tmp_path / "store" / "activations").iterdir()] == ["module%3Aa.0%2F..%2F..%2Fb"]
    assert store.rows(hook, [0]).shape == (1, 3)


def test_the_manifest_is_plain_json(model, corpus, tmp_path):
    run(model, corpus, tmp_path)
    assert json.loads((tmp_path / "store" / "manifest.json").read_text())["kind"] == "store"
