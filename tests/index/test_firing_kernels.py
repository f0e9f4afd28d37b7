"""The compiled sort, merge and summary of firings. Oracles: NumPy's stable sort, counting in Python, stock forms."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from index_world import Dictionary, Model

from lexiscope.core.codes import SparseCodes
from lexiscope.index.build import build_index
from lexiscope.index.concordance import firings
from lexiscope.index.concordance.firings import Firings, Gathering, merged
from lexiscope.index.config import IndexConfig
from lexiscope.index.tables import summary
from lexiscope.index.tables.rounding import rounded
from lexiscope.index.tables.summary import Summary, TextFacts
from lexiscope.saes.kernels.native import firings as native
from lexiscope.saes.kernels.native import library

pytestmark = pytest.mark.skipif(library.loaded().dll is None, reason=f"no native library: {library.loaded().reason}")


@st.composite
def code_pieces(draw):
    """Codes of consecutive rows in a few pieces, some without codes, for a few or for thousands of latents."""
    num_latents = draw(st.sampled_from([1, 2, 511, 512, 513, 1025, 5000]))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    pieces, start = [], draw(st.integers(0, 1000))
    for _ in range(draw(st.integers(0, 4))):
        rows = [random.choice(num_latents, min(num_latents, size), replace=False) for size in random.integers(0, 9, 30)]
        offsets = torch.tensor([0, *map(len, rows)]).cumsum(0)
        values = torch.from_numpy(random.normal(size=int(offsets[-1])).astype(np.float32))
        values[torch.from_numpy(random.random(len(values)) < 0.1)] = 0
        latents = torch.from_numpy(np.concatenate([*rows, np.empty(0, np.int64)]))
        pieces.append((start, SparseCodes(offsets, latents, values, num_latents)))
        start += len(rows)
    return num_latents, pieces


def gathered(num_latents, pieces, bits=24):
    gathering = Gathering(num_latents, bits)
    for start, codes in pieces:
        gathering.add(codes, start)
    return gathering.take()


@settings(deadline=None, max_examples=60)
@given(code_pieces(), st.integers(8, 24))
def test_a_run_is_sorted_by_latent_and_nothing_is_lost(made, bits):
    num_latents, pieces = made
    found = gathered(num_latents, pieces, bits)
    latents, rows, values = [np.empty(0, np.int64)], [np.empty(0, np.int64)], [np.empty(0, np.float32)]
    for start, codes in pieces:
        kept = codes.values.numpy() != 0
        latents.append(codes.latents.numpy()[kept])
        rows.append(codes.tokens().numpy()[kept] + start)
        values.append(rounded(codes.values.numpy()[kept], bits))
    latents, rows, values = map(np.concatenate, (latents, rows, values))
    order = latents.argsort(kind="stable")
    assert found.counts_F.tolist() == np.bincount(latents, minlength=num_latents).tolist()
    assert found.rows.tolist() == rows[order].tolist()
    assert found.values.tolist() == values[order].tolist()


@settings(deadline=None, max_examples=40)
@given(code_pieces(), st.data())
def test_runs_merged_are_the_run_of_all(made, data):
    num_latents, pieces = made
    runs = [gathered(num_latents, [piece]) for piece in pieces] or [gathered(num_latents, [])]
    whole = merged([gathered(num_latents, pieces)], 0, num_latents)
    low = data.draw(st.integers(0, num_latents - 1))
    high = data.draw(st.integers(low + 1, num_latents))
    found, span = merged(runs, low, high), slice(whole.offsets[low], whole.offsets[high])
    assert found.offsets.tolist() == (whole.offsets[low : high + 1] - whole.offsets[low]).tolist()
    assert found.rows.tolist() == whole.rows[span].tolist()
    assert found.values.tolist() == whole.values[span].tolist()


@pytest.mark.parametrize("bits", [8, 17, 23, 24])
def test_values_are_rounded_as_numpy_rounds_them(bits):
    random = np.random.default_rng(3)
    whole = random.integers(0, 2**32, 20_000, dtype=np.uint32)
    values = np.concatenate([whole.view(np.float32), np.float32([1e-45, -1e-40, np.inf, -np.inf, 3e38, 1, 1 + 2**-23])])
    values = values[values != 0]
    offsets = torch.tensor([0, len(values)])
    found = native.entries(torch.arange(len(values)), torch.from_numpy(values), offsets, len(values), 0, bits)
    assert np.array_equal(found.values_N.numpy().view(np.uint32), rounded(values, bits).view(np.uint32))


def test_a_latent_that_is_none_is_refused():
    offsets, values = torch.tensor([0, 1]), torch.ones(1)
    for latent in (-1, 5, 2**40):
        with pytest.raises(AssertionError, match="not among 5"):
            native.entries(torch.tensor([latent]), values, offsets, 5, 0, 24)


@settings(deadline=None, max_examples=60)
@given(st.integers(0, 2**32), st.sampled_from([1, 64, 65, 4097, 200_000]), st.integers(1, 7), st.integers(1, 3))
def test_a_summary_is_what_counting_finds(seed, vocabulary, keep, threads):
    """Also for several threads, dead features, ties, and tokens at the ends of the vocabulary."""
    random = np.random.default_rng(seed)
    num_rows, num_documents, num_kinds = 200, 7, 3
    tokens_T = random.choice([0, vocabulary - 1, *random.integers(0, vocabulary, 9)], num_rows).astype(np.int32)
    documents_T = np.sort(random.integers(0, num_documents, num_rows)).astype(np.int32)
    kinds_D = random.integers(0, num_kinds, num_documents).astype(np.int32)
    columns = [np.sort(random.choice(num_rows, size, replace=False)) for size in random.choice([0, 0, 1, 5, 90], 12)]
    rows = np.concatenate(columns).astype(np.int32)
    values = random.choice([-2, -1.5, 0.25, 1, 3], len(rows)).astype(np.float32)
    offsets = np.concatenate([[0], np.cumsum([len(column) for column in columns])])
    block = Firings(40, 52, offsets, rows, values)
    before = torch.get_num_threads()
    torch.set_num_threads(threads)
    try:
        found = Summary.of(block, TextFacts(tokens_T, vocabulary, documents_T, kinds_D, num_kinds), keep)
    finally:
        torch.set_num_threads(before)
    for place, column in enumerate(columns):
        of = values[offsets[place] : offsets[place + 1]]
        counts = Counter(tokens_T[column].tolist())
        often = sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:keep]
        padding = [-1] * (keep - len(often))
        assert found.firings_B[place] == len(column)
        assert found.frequent_tokens_BK[place].tolist() == [token for token, _ in often] + padding
        shares = [count / len(column) for _, count in often] + [0] * len(padding)
        assert found.frequent_shares_BK[place].tolist() == np.float32(shares).tolist()
        assert found.documents_B[place] == len(set(documents_T[column].tolist()))
        kinds = np.bincount(kinds_D[documents_T[column]], minlength=num_kinds) / max(1, len(column))
        assert found.kind_shares_BC[place].tolist() == kinds.astype(np.float32).tolist()
        entropy = -sum(count / len(column) * math.log(count / len(column)) for count in counts.values())
        assert found.varieties_B[place] == pytest.approx(math.exp(entropy), rel=1e-6)
        assert found.max_activations_B[place] == (of.max() if len(of) else 0)
        assert found.max_rows_B[place] == (column[of.argmax()] if len(of) else -1)
        assert found.mean_activations_B[place] == np.float32(of.mean(dtype=np.float64) if len(of) else 0)


@pytest.mark.parametrize("at_once", [2000, 2**24])
def test_an_index_has_the_same_bytes_without_a_compiler(world, store, tmp_path, monkeypatch, at_once):
    def made(name):
        config = IndexConfig(firings_at_once=at_once)
        return build_index(Dictionary(), Model(world), store, out=tmp_path / name, config=config).artifact

    compiled = made("compiled")
    for module in (firings, summary):
        monkeypatch.setattr(module, "is_native", lambda *_: False)
    assert made("stock").fingerprint == compiled.fingerprint
