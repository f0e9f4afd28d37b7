"""Oracle: sorting, searching and paging done again on the full list in Python."""

from __future__ import annotations

import shutil

import pytest
from index_world import NUM_LATENTS

from lexiscope.core.errors import ArtifactError, InputError
from lexiscope.index.feature import Filters
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.index.tables.database import Database
from lexiscope.index.tables.listing import token_class


@pytest.mark.parametrize("sort", ["feature", "density", "max_activation", "mean_activation", "variety"])
@pytest.mark.parametrize("descending", [False, True])
def test_sorted_with_the_dead_last(built, sort, descending):
    page = built.features(sort, descending=descending, limit=1000)
    assert page.matching == NUM_LATENTS
    *live, dead = page.features
    assert dead.dead
    assert dead.example is None
    keys = [getattr(feature, sort) for feature in live]
    assert keys == sorted(keys, reverse=descending)


def test_pages_join_to_the_whole_list(built):
    whole = built.features(limit=1000).features
    parts = [feature for offset in range(0, 60, 7) for feature in built.features(limit=7, offset=offset).features]
    assert parts == whole


@pytest.mark.parametrize("search", ["mary", "  MARY ", "script", "'", "#7", "no such token", "%", "\\"])
def test_search_finds_parts_of_tokens(built, search):
    wanted = search.strip().lower()
    expected = []
    for number in range(NUM_LATENTS):
        feature = built.feature(number)
        # Search knows the first six of each.
        pieces = [token.piece for token in [*feature.frequent_tokens[:6], *feature.promoted_tokens[:6]]]
        if wanted == f"#{number}" or any(wanted in piece.lower() for piece in pieces):
            expected.append(number)
    page = built.features("feature", descending=False, search=search, limit=1000)
    assert sorted(feature.feature for feature in page.features) == ([7] if search == "#7" else expected)
    assert page.matching == len(page.features)


def test_the_list_shows_the_strongest_example(built):
    for listed in built.features(limit=5).features:
        strongest = built.feature(listed.feature).strongest[0]
        silent = [0.0] * len(strongest.pieces)
        silent[strongest.focus] = strongest.activation
        assert listed.example == strongest.model_copy(update={"activations": silent})


@pytest.mark.parametrize("number", [-1, NUM_LATENTS, 10**12])
def test_a_feature_that_is_not_there(built, number):
    with pytest.raises(InputError, match=f"features 0 to {NUM_LATENTS - 1}"):
        built.feature(number)


def test_overview_adds_up(built):
    overview = built.overview()
    assert overview.num_features == NUM_LATENTS
    assert overview.dead == 1
    assert sum(overview.density.counts) == NUM_LATENTS - 1
    assert overview.firings_per_token == pytest.approx(
        sum(built.feature(number).firings for number in range(NUM_LATENTS)) / built.num_tokens, rel=1e-5
    )


def test_a_dead_feature_says_so_and_is_otherwise_empty(built):
    feature = built.feature(0)
    assert feature.dead
    assert feature.strongest == feature.bands == feature.weakest == feature.frequent_tokens == []
    assert sum(feature.histogram.counts) == 0
    assert feature.variety == 1
    assert feature.promoted_tokens


def test_a_damaged_file_is_one_clear_error(built, tmp_path):
    copy = tmp_path / "index"
    shutil.copytree(built.artifact.path, copy)
    file = copy / "features/0000000000.parquet"
    file.write_bytes(b"x" * file.stat().st_size)
    with pytest.raises(ArtifactError, match="damaged"):
        FeatureIndex.open(copy)
    file.write_bytes(b"x")
    with pytest.raises(ArtifactError, match="truncated"):
        FeatureIndex.open(copy)


@pytest.mark.parametrize(
    ("filters", "keep"),
    [
        (Filters(density_from=0.01, density_to=0.05), lambda feature: 0.01 <= feature.density <= 0.05),
        (Filters(max_activation_from=4), lambda feature: feature.max_activation >= 4),
        (Filters(documents_to=2, dead=False), lambda feature: feature.documents <= 2 and not feature.dead),
        (Filters(dead=True), lambda feature: feature.dead),
        (Filters(variety_to=1), lambda feature: feature.variety <= 1),
        (Filters(kind="prose"), lambda feature: {"prose"} == {k.kind for k in feature.kinds if k.share >= 0.5}),
        (Filters(kind="no such kind"), lambda feature: False),
        (
            Filters(token_class="punctuation"),
            lambda feature: feature.frequent_tokens and not feature.frequent_tokens[0].piece.strip()[:1].isalnum(),
        ),
    ],
)
def test_filters_keep_what_has_all_of_them(built, filters, keep):
    expected = [number for number in range(NUM_LATENTS) if keep(built.feature(number))]
    if filters.token_class:  # white space is another class
        expected = [number for number in expected if built.feature(number).frequent_tokens[0].piece.strip()]
    page = built.features("feature", filters=filters, limit=1000)
    assert sorted(feature.feature for feature in page.features) == expected
    some = built.features("feature", filters=filters, among=[*expected[1:], 10**6], limit=1000)
    assert sorted(feature.feature for feature in some.features) == expected[1:]


@pytest.mark.parametrize(
    ("piece", "expected"),
    [
        (" Mary", "word"),
        ("naïve", "word"),
        ("日本", "word"),
        ("१२", "number"),
        (" 42", "number"),
        ("\n  ", "space"),
        (" ==", "punctuation"),
        ("$", "punctuation"),
        ("a1", "other"),
        ("\ufffd", "punctuation"),
        ("", "other"),
    ],
)
def test_classes_of_tokens(piece, expected):
    assert token_class(piece) == expected


def test_what_is_unusual_stands_out_in_some_number(built):
    """The feature that always fires, a little, is unlike all others; those that start with a letter are alike."""
    first = built.features("unusual", limit=5).features
    assert built.features("unusual", limit=1000).features[:5] == first
    assert 1 in [feature.feature for feature in first]
    nearest = built.features("nearest_cosine", limit=3).features
    cosines = [built.feature(feature.feature).neighbours[0].cosine for feature in nearest]
    assert cosines == sorted(cosines, reverse=True)
    assert cosines[0] == max(built.feature(number).neighbours[0].cosine for number in range(1, NUM_LATENTS))
    kurtoses = [built.feature(f.feature).effects.kurtosis for f in built.features("effects_kurtosis", limit=9).features]
    assert kurtoses == sorted(kurtoses, reverse=True)


@pytest.mark.parametrize("number", [-3, 0, 1, 7, NUM_LATENTS - 1, NUM_LATENTS, 10**12])
def test_neighbours_by_number_are_live(built, number):
    live = [feature.feature for feature in built.features("feature", limit=1000).features if not feature.dead]
    assert sorted(live) == built.live()
    assert built.live_before(number) == max((other for other in live if other < number), default=None)
    assert built.live_after(number) == min((other for other in live if other > number), default=None)


def test_footers_are_read_once_whichever_thread_asks(built):
    """A setting of one connection does not hold for its cursors."""
    cursor = Database(built.artifact, NUM_LATENTS).cursor()
    assert cursor.execute("SELECT current_setting('parquet_metadata_cache')").fetchone() == (True,)
