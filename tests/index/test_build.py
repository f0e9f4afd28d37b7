"""Oracle: the world's codes are known for every token, so that each number is counted again in plain Python."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest
import torch
from index_world import MODEL_WIDTH, NUM_LATENTS, PREDICATES, Dictionary, Model

from lexiscope.core.errors import InputError
from lexiscope.index.build import build_index
from lexiscope.index.config import IndexConfig

NAMES = [name for name, _ in PREDICATES]


def test_counts_are_those_of_the_codes(world, built):
    for number in range(NUM_LATENTS):
        column = world.codes_TF[:, number]
        firing = column[column > 0]
        feature = built.feature(number)
        assert feature.firings == len(firing)
        assert feature.dead == (len(firing) == 0)
        assert feature.density == pytest.approx(len(firing) / len(column), rel=2e-5)
        assert feature.max_activation == pytest.approx(column.max(), rel=2e-5)
        assert feature.mean_activation == pytest.approx(sum(map(float, firing)) / max(len(firing), 1), rel=2e-5)


def test_the_histogram_counts_every_firing_in_its_bin(world, built):
    for number in range(1, NUM_LATENTS):
        histogram = built.feature(number).histogram
        high = float(world.codes_TF[:, number].max())
        counts = [0] * 50
        for value in world.codes_TF[:, number]:
            if value > 0:
                counts[min(math.floor(float(value) / high * 50), 49)] += 1
        assert histogram.low == 0
        assert histogram.high == pytest.approx(high, rel=2e-5)
        assert histogram.counts == counts


def test_token_statistics_are_counts(world, built):
    number = NAMES.index("after an opening parenthesis")
    rows = np.flatnonzero(world.codes_TF[:, number])
    fired = Counter(world.tokens_T[rows].tolist())
    occurring = Counter(world.tokens_T.tolist())
    feature = built.feature(number)
    assert [token.share for token in feature.frequent_tokens] == pytest.approx(
        [count / len(rows) for _, count in fired.most_common(12)], rel=2e-5
    )
    for token in feature.frequent_tokens:
        assert token.piece == world.tokenizer.piece(token.token)
        assert token.coverage == pytest.approx(fired[token.token] / occurring[token.token], rel=2e-5)
        values = [float(world.codes_TF[row, number]) for row in rows if world.tokens_T[row] == token.token]
        assert token.mean_activation == pytest.approx(sum(values) / len(values), rel=2e-5)
    entropy = -sum(count / len(rows) * math.log(count / len(rows)) for count in fired.values())
    assert feature.variety == pytest.approx(math.exp(entropy), rel=2e-5)


def test_preceding_tokens_are_counts_within_contexts(world, built):
    feature = built.feature(NAMES.index("after an opening parenthesis"))
    rows = np.flatnonzero(world.codes_TF[:, feature.feature])
    before = Counter(
        world.tokenizer.piece(world.tokens_T[row - 1])
        for row in rows
        if row and world.contexts_T[row - 1] == world.contexts_T[row]
    )
    assert {token.piece for token in feature.preceding_tokens} <= {"(", " ("}
    for token in feature.preceding_tokens:
        assert token.share == pytest.approx(before[token.piece] / len(rows), rel=2e-5)


def test_kinds_of_document_are_shares_of_firings(world, built):
    kinds = {kind.kind: kind for kind in built.feature(NAMES.index("a name")).kinds}
    assert kinds["prose"].share == 1
    in_prose = sum(world.documents[document].kind == "prose" for document in world.documents_T)
    assert kinds["prose"].share_of_text == pytest.approx(in_prose / len(world.tokens_T), rel=2e-5)


def test_logit_effects_are_the_extremes_of_the_unembedding(world, built):
    effects_FV = Model(world).unembed(Dictionary().directions_FD).double()
    for number in (0, 7, NUM_LATENTS - 1):
        feature = built.feature(number)
        ranked = sorted(enumerate(effects_FV[number].tolist()), key=lambda pair: -pair[1])
        assert [effect.token for effect in feature.promoted_tokens] == [token for token, _ in ranked[:10]]
        assert [effect.token for effect in feature.suppressed_tokens] == [token for token, _ in ranked[:-11:-1]]
        assert feature.promoted_tokens[0].effect == pytest.approx(ranked[0][1], rel=2e-4)


def test_neighbours_are_live_and_ranked_by_cosine(built):
    directions_FD = Dictionary().directions_FD
    for number in (0, 3):
        cosines = {
            other: float(torch.cosine_similarity(directions_FD[number], directions_FD[other], dim=0))
            for other in range(1, NUM_LATENTS)  # latent 0 never fires
            if other != number
        }
        best = sorted(cosines, key=lambda other: -cosines[other])[:8]
        neighbours = built.feature(number).neighbours
        assert [neighbour.feature for neighbour in neighbours] == best
        assert neighbours[0].cosine == pytest.approx(cosines[best[0]], rel=1e-4)


def test_examples_show_the_feature_on_every_token_of_its_text(world, built):
    """Each window is found again in the stored text, and the activations beside it must be the codes of those rows."""
    number = NAMES.index("inside a string")
    feature = built.feature(number)
    ordinals = {document.id: ordinal for ordinal, document in enumerate(world.documents)}
    examples = [*feature.strongest, *feature.weakest, *(item for band in feature.bands for item in band.examples)]
    assert len(examples) > 30
    for example in examples:
        [row] = np.flatnonzero(
            (world.documents_T == ordinals[example.document]) & (world.positions_T == example.position)
        )
        rows = np.arange(row - example.focus, row - example.focus + len(example.pieces))
        assert [world.tokenizer.piece(token) for token in world.tokens_T[rows]] == example.pieces
        assert np.allclose(world.codes_TF[rows, number], example.activations, rtol=2e-5)
        assert len(set(world.contexts_T[rows])) == 1
        assert example.activation == pytest.approx(world.codes_TF[row, number], rel=2e-5)
        assert example.heldout == world.documents[ordinals[example.document]].heldout


def test_examples_cover_the_range_and_do_not_repeat(world, built):
    number = NAMES.index("after an opening parenthesis")
    feature = built.feature(number)
    strengths = [example.activation for example in feature.strongest]
    assert strengths == sorted(strengths, reverse=True)
    assert strengths[0] == feature.max_activation
    assert sum(band.firings for band in feature.bands) == feature.firings
    for band in feature.bands:
        assert all(band.low - 1e-4 <= example.activation <= band.high + 1e-4 for example in band.examples)
    weakest = min(float(value) for value in world.codes_TF[:, number] if value > 0)
    assert feature.weakest == [] or feature.weakest[0].activation >= weakest - 1e-5
    examples = [*feature.strongest, *feature.weakest, *(item for band in feature.bands for item in band.examples)]
    near = [tuple(example.pieces[max(0, example.focus - 6) : example.focus + 4]) for example in examples]
    assert len(near) == len(set(near))


def test_several_passes_give_the_same_index(world, store, built, tmp_path):
    """The memory limit must not show in the result."""
    config = IndexConfig(firings_at_once=4000)
    again = build_index(Dictionary(), Model(world), store, out=tmp_path / "index", config=config)
    for number in range(NUM_LATENTS):
        assert again.feature(number) == built.feature(number)


def test_a_dictionary_of_other_activations_is_refused(world, store, tmp_path):
    narrow = Dictionary()
    narrow.width = MODEL_WIDTH
    with pytest.raises(InputError, match="width 16"):
        build_index(narrow, Model(world), store, out=tmp_path / "index")
    stranger = Model(world)
    stranger.fingerprint = "another"
    with pytest.raises(InputError, match="another model"):
        build_index(Dictionary(), stranger, store, out=tmp_path / "index")
    assert not any(tmp_path.iterdir())


def test_the_histogram_of_effects_holds_the_whole_vocabulary(world, built):
    effects_FV = Model(world).unembed(Dictionary().directions_FD).double()
    for number in (0, 7):
        effects = built.feature(number).effects
        row = effects_FV[number].tolist()
        assert (effects.low, effects.high) == pytest.approx((min(row), max(row)), rel=1e-4)
        assert sum(effects.counts) == len(row)
        assert effects.counts[-1] >= 1
        assert effects.std == pytest.approx(float(np.std(row)), rel=1e-3)
