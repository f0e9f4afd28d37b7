"""The parts of the concordance. Oracle: the dense matrix of codes, column by column."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.core.codes import SparseCodes
from lexiscope.core.errors import ArtifactError
from lexiscope.core.tensors import write_tensors
from lexiscope.index.concordance.firings import Gathering, Run, merged, ranges
from lexiscope.index.concordance.sample import Sample
from lexiscope.index.concordance.text import Text, read_text, write_text
from lexiscope.index.describing.coactivation import coactivations
from lexiscope.saes.kernels import backend
from lexiscope.saes.kernels.native import library


@st.composite
def matrices(draw):
    """Codes of some rows, with dead latents, rows without codes, and negative activations."""
    rows, latents = draw(st.integers(1, 60)), draw(st.integers(1, 12))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    codes_TF = random.normal(size=(rows, latents)).astype(np.float32)
    codes_TF[random.random(codes_TF.shape) < draw(st.floats(0, 1))] = 0
    return codes_TF


KERNELS = ["stock", *(["native"] if library.loaded().dll is not None else [])]
CUTS = st.lists(st.integers(0, 100), max_size=5)


def pieces(codes_TF, cuts):
    """The same codes as they arrive: start and codes of each piece."""
    edges = [0, *sorted({cut % (len(codes_TF) + 1) for cut in cuts} - {0, len(codes_TF)}), len(codes_TF)]
    spans = itertools.pairwise(edges)
    return [(low, SparseCodes.from_dense(torch.from_numpy(codes_TF[low:high]))) for low, high in spans]


@pytest.mark.parametrize("kernels", KERNELS)
@settings(deadline=None)
@given(matrices(), CUTS, st.integers(1, 200), st.data())
def test_firings_are_the_columns_however_they_arrived(kernels, codes_TF, cuts, at_once, data):
    with backend.use(kernels):
        check_firings(codes_TF, cuts, at_once, data)


@pytest.mark.parametrize("kernels", KERNELS)
def test_a_run_without_firings_has_the_types_of_one_with_some(kernels):
    with backend.use(kernels):
        run = Gathering(5).take()
        blocks = [merged(runs, 1, 3) for runs in ([run], [run, run])]
    assert run.counts_F.tolist() == [0] * 5
    for rows, values in [(run.rows, run.values), *((block.rows, block.values) for block in blocks)]:
        assert (rows.dtype, values.dtype, len(rows), len(values)) == (np.int32, np.float32, 0, 0)


def check_firings(codes_TF, cuts, at_once, data):
    latents = codes_TF.shape[1]
    runs, gathering = [], Gathering(latents)
    for start, codes in pieces(codes_TF, cuts):
        gathering.add(codes, start)
        if len(gathering) >= at_once:
            runs.append(Run.of_tensors(gathering.take().tensors()))
    runs.append(gathering.take())
    counts_F = sum(run.counts_F for run in runs)
    assert counts_F.tolist() == (codes_TF != 0).sum(0).tolist()
    seen = []
    for low, high in ranges(counts_F, data.draw(st.integers(1, 300), "at_most")):
        firings = merged(runs, low, high)
        for piece in firings.pieces(data.draw(st.integers(1, 300), "piece")):
            for latent in range(piece.low, piece.high):
                found_rows, values = piece.of(latent)
                column_T = codes_TF[:, latent]
                assert found_rows.tolist() == np.flatnonzero(column_T).tolist()
                assert values.tolist() == column_T[column_T != 0].tolist()
                seen.append(latent)
    assert seen == list(range(latents))


@settings(deadline=None)
@given(st.lists(st.integers(0, 50), min_size=1, max_size=30), st.integers(1, 60))
def test_ranges_cover_all_and_hold_no_more_than_asked(counts, at_most):
    counts_F = np.array(counts)
    found = list(ranges(counts_F, at_most))
    assert [low for low, _ in found] == [0, *(high for _, high in found[:-1])]
    assert found[-1][1] == len(counts)
    for low, high in found:
        assert high == low + 1 or counts_F[low:high].sum() <= at_most


@settings(deadline=None)
@given(
    matrices(),
    st.lists(st.integers(0, 100), max_size=5),
    st.lists(st.integers(0, 100), max_size=5),
    st.integers(0, 300),
)
def test_a_sample_depends_on_the_rows_and_not_on_their_pieces(codes_TF, cuts, others, at_most):
    samples = []
    for edges in (cuts, others):
        parts = [Sample.of(codes, start, 0) for start, codes in pieces(codes_TF, edges)]
        halves = [Sample.joined(parts[:2], at_most), Sample.joined(parts[2:], at_most)]
        samples.append(Sample.joined(halves if parts[2:] else halves[:1], at_most))
    one, other = samples
    for left, right in zip(one, other, strict=True):
        assert np.array_equal(left, right)
    assert len(one.latents) <= max(at_most, 0)
    for place, row in enumerate(one.rows):
        kept = one.latents[one.offsets[place] : one.offsets[place + 1]]
        assert sorted(kept.tolist()) == np.flatnonzero(codes_TF[row]).tolist()


def test_a_sample_is_no_denser_in_one_place_than_in_another():
    codes_TF = np.ones((4096, 2), np.float32)
    sample = Sample.joined([Sample.of(codes, start, 0) for start, codes in pieces(codes_TF, [1000])], 1000)
    share = 1 / 2**sample.halvings
    counts = np.bincount(sample.rows // 512, minlength=8)
    assert sample.halvings == 4
    # Eight binomial counts of 512 rows: five standard deviations.
    assert np.all(np.abs(counts - 512 * share) < 5 * np.sqrt(512 * share))


@settings(deadline=None)
@given(matrices(), st.data())
def test_coactivation_is_counted_on_the_rows_of_the_sample(codes_TF, data):
    rows, latents = codes_TF.shape
    feature = data.draw(st.integers(0, latents - 1))
    sample = Sample.joined([Sample.of(codes, start, 0) for start, codes in pieces(codes_TF, [])], 10**6)
    fires_TF = codes_TF != 0
    found = coactivations(sample, feature, np.flatnonzero(fires_TF[:, feature]), fires_TF.sum(0), rows)
    assert found.sampled == fires_TF[:, feature].sum()
    for other in found.best:
        both = int((fires_TF[:, feature] & fires_TF[:, other.feature]).sum())
        assert other.together == both >= 3
        assert other.share == pytest.approx(both / found.sampled)
        assert other.pmi == pytest.approx(np.log(both / found.sampled / fires_TF[:, other.feature].mean()))
        assert other.pmi > 0
        assert other.feature != feature


@settings(deadline=None)
@given(st.lists(st.tuples(st.integers(1, 9), st.booleans(), st.integers(0, 3)), min_size=1, max_size=8))
def test_text_says_of_every_row_where_it_stands(segments):
    """Oracle: one list entry per row."""
    rows = []
    context = document = 0
    position = 0
    for length, new_context, skipped in segments:
        context += new_context
        document, position = (document + 1, 0) if skipped == 0 else (document, position + skipped - 1)
        for _ in range(length):
            rows.append((len(rows) % 7, context, document, position))
            position += 1
    columns = [np.array(column, np.int32) for column in zip(*rows, strict=True)]
    text = Text.of_rows(*columns)
    every = np.arange(len(rows))
    assert text.tokens_T.tolist() == columns[0].tolist()
    assert text.documents(every).tolist() == columns[2].tolist()
    assert text.positions(every).tolist() == columns[3].tolist()
    first = [row for row in range(len(rows)) if not row or rows[row][1] != rows[row - 1][1]]
    assert text.context_starts().tolist() == first


def test_text_comes_back_and_a_lie_about_it_does_not(tmp_path):
    rows = np.arange(50, dtype=np.int32)
    text = Text.of_rows(rows % 5, rows // 10, rows // 25, rows % 25)
    write_text(tmp_path, text)
    back = read_text(tmp_path / "text.safetensors")
    assert all(np.array_equal(left, right) for left, right in zip(text, back, strict=True))
    for lie in (
        text._replace(starts_S=text.starts_S + 1),
        text._replace(starts_S=text.starts_S[::-1].copy()),
        text._replace(documents_S=text.documents_S[1:]),
        text._replace(tokens_T=-text.tokens_T),
        text._replace(tokens_T=text.tokens_T[:3]),
        text._replace(tokens_T=text.tokens_T[:0]),
    ):
        tensors = {name: torch.from_numpy(array) for name, array in lie._asdict().items()}
        write_tensors(tmp_path / "text.safetensors", tensors)
        with pytest.raises(ArtifactError, match="damaged"):
            read_text(tmp_path / "text.safetensors")
