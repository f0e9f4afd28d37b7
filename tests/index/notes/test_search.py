"""Search. Oracle: plain Python over all labels, with the stems of a few words written down by hand."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.core.errors import InputError
from lexiscope.index.notes import By, Dictionary, NewLabel, NewScore, Notes, search
from lexiscope.index.notes.words import fold, read_query

SAE = Dictionary("f" * 64, 1000)
STEMS = {
    "general": "gener", "generally": "gener", "bracket": "bracket", "brackets": "bracket", "key": "kei", "keys": "kei",
    "keyboard": "keyboard", "running": "run", "run": "run", "was": "wa", "wash": "wash", "naïve": "naiv",
    "日本": "日本", "x1": "x1", "the": "the", "λ": "λ",
}  # fmt: skip
WORDS = sorted(STEMS)
AUTHORS = [By(author="ana"), By(author="bo"), By(author="gpt", kind="model")]
TEXTS = st.lists(st.sampled_from(WORDS), min_size=1, max_size=5)
SCORES = (
    st.none() | st.sampled_from([-0.5, 0.0, 0.29, 0.57, 0.5699999999999999, 0.58, 0.999, 1.0, 1.5]) | st.floats(0, 1)
)
LABELS = st.lists(st.tuples(TEXTS, st.sampled_from(AUTHORS), st.integers(0, 4), SCORES), max_size=12)
TERMS = st.lists(
    st.one_of(
        st.tuples(st.just("word"), st.sampled_from(WORDS)),
        st.tuples(st.just("phrase"), st.lists(st.sampled_from(WORDS), min_size=2, max_size=2)),
        st.tuples(st.just("beginning"), st.sampled_from(WORDS), st.integers(1, 9)),
    ),
    min_size=1,
    max_size=2,
)


def plain(word):
    return word.replace("ï", "i")


def matches(words, term):
    stems = [STEMS[word] for word in words]
    if term[0] == "word":
        return STEMS[term[1]] in stems
    if term[0] == "phrase":
        return [STEMS[word] for word in term[1]] in [stems[n : n + 2] for n in range(len(stems))]
    # Words that share a stem with one that begins so are found, too, as they are when the whole word is typed.
    begun = {STEMS[word] for word in WORDS if plain(word).startswith(plain(term[1])[: term[2]])}
    return bool(begun & set(stems))


def typed(term):
    if term[0] == "word":
        return term[1].upper()
    return f'"{" ".join(term[1])}"' if term[0] == "phrase" else f"{term[1][: term[2]]}*"


@settings(max_examples=150, deadline=None)
@given(
    labels=LABELS,
    terms=TERMS,
    author=st.sampled_from([None, "ana", "bo", "nobody"]),
    kind=st.sampled_from([None, "human"]),
    chosen=st.booleans(),
    min_score=st.sampled_from([None, 0.01, 0.29, 0.57, 0.58, 0.7, 0.99]),
    ranked=st.sampled_from([1, 3, 10_000]),
)
def test_what_is_found_is_what_plain_python_finds(
    tmp_path_factory, labels, terms, author, kind, chosen, min_score, ranked
):
    when = datetime(2026, 1, 1, tzinfo=UTC)
    with Notes(tmp_path_factory.mktemp("notes") / "n", SAE) as notes, pytest.MonkeyPatch.context() as patch:
        patch.setattr(search, "RANKED", ranked)
        # Words of the vocabulary that begin so are in no label, but the search knows them.
        notes.tags.add(1, " ".join(WORDS), AUTHORS[0])
        notes.labels.add_many(
            NewLabel(
                feature=feature,
                text=" ".join(words),
                by=by,
                created_at=when + timedelta(seconds=number),
                scores=() if score is None else (NewScore(name="detection", value=score),),
            )
            for number, (words, by, feature, score) in enumerate(labels)
        )
        shown = {label.id for label in notes.labels.chosen(range(5)).values()}
        expected = {
            number
            for number, (words, by, _, score) in enumerate(labels, 1)
            if all(matches(words, term) for term in terms)
            and author in {None, by.author}
            and kind in {None, by.kind}
            and (not chosen or number in shown)
            and (min_score is None or (score is not None and score >= min_score))
        }
        filters = {"author": author, "kind": kind, "chosen": chosen, "min_score": min_score}
        query = " ".join(map(typed, terms))
        found = notes.search(query, **filters)
        assert {hit.found.id for hit in found.hits} == expected
        assert found.matching == len(expected)
        assert found.ranked <= min(ranked, len(expected))
        pages = [notes.search(query, **filters, limit=2, offset=offset) for offset in range(0, len(expected) + 2, 2)]
        assert [hit for page in pages for hit in page.hits] == list(found.hits)
        assert {page.matching for page in pages} == {len(expected)}
        rest = [hit.found.id for hit in found.hits[found.ranked :]]
        assert rest == sorted(rest, reverse=True)
        assert not found.ranked or min(hit.found.id for hit in found.hits[: found.ranked]) > max(rest, default=0)
        if len(terms) == 1 and terms[0][0] == "word":
            for hit in found.hits:
                marked = [hit.snippet[low:high] for low, high in hit.marks]
                assert marked == [word for word in hit.found.text.split() if STEMS[word] == STEMS[terms[0][1]]]


@settings(max_examples=150, deadline=None)
@given(query=st.text(max_size=30) | st.text("\"*(){}:^+-ANDORNEAR \\'\0,", max_size=30), as_typed=st.booleans())
def test_nothing_that_is_typed_is_syntax(tmp_path_factory, query, as_typed):
    with Notes(tmp_path_factory.mktemp("notes") / "n", SAE) as notes:
        notes.labels.add(1, "AND OR NOT NEAR text facets c1 khuman a1", AUTHORS[0])
        found = notes.search(query, as_typed=as_typed)
        assert found.matching == len(found.hits) <= 1


def test_words_of_our_own_are_found_by_nobody(notes, ana):
    notes.labels.add(1, "brackets", ana, [NewScore(name="d", value=0.5)])
    for query in ("khuman", "a1", "c1", "s50", "t5", "facets", "facets:c1", "c1*", "k*"):
        assert notes.search(query).matching == 0


def test_a_word_is_found_at_every_letter_that_is_typed(notes, ana):
    for word in ("generally", "keyboard", "boyish", "washing", "happiness", "hoping", "relational", "naïveté"):
        notes.labels.add(1, f"it is {word} so", ana)
        for length in range(1, len(word) + 1):
            found = notes.search(word[:length], as_typed=True)
            assert f"it is {word} so" in {hit.found.text for hit in found.hits}, word[:length]
    for number in range(40):  # so many that begin so that the words are no longer spelt out
        notes.labels.add(2, f"was{chr(97 + number % 26)}{number} boy{number}k", ana)
    found = {hit.found.text for hit in notes.search("was*", limit=100).hits}
    assert len(found) == 41
    assert len(notes.search("boy*", limit=100).hits) == 41


def test_the_best_match_comes_first(notes, ana):
    for text in ("a long label that says brackets among many other words", "brackets", "brackets brackets and others"):
        notes.labels.add(1, text, ana)
    first, *_ = notes.search("bracket").hits
    assert first.found.text in {"brackets", "brackets brackets and others"}
    assert notes.search("bracket").hits[-1].found.text.startswith("a long label")


def test_a_snippet_of_a_long_note(notes, ana):
    text = "before " * 100 + "the Bräckets here " + "after " * 100
    notes.texts.add(1, text, ana)
    [hit] = notes.search("brackets", "notes").hits
    assert len(hit.snippet) <= 240
    assert [hit.snippet[low:high] for low, high in hit.marks] == ["Bräckets"]
    assert text[hit.start : hit.start + len(hit.snippet)] == hit.snippet


def test_no_words_are_everything_and_no_letters_nothing(notes, ana):
    for number in range(5):
        notes.labels.add(number, f"label {number}", ana)
    assert [hit.feature for hit in notes.search("", limit=3).hits] == [4, 3, 2]
    assert notes.search("  ", author="ana", offset=3).matching == 5
    assert notes.search("+++").matching == notes.search('""').matching == notes.search("* *").matching == 0


def test_what_is_typed():
    assert [tuple(term) for term in read_query('open* "Closing Brackets" don\'t naïve* x"y z')] == [
        ("open", True), ("closing brackets", False), ("don t", False), ("naive", True), ("x", False), ("y z", False),
    ]  # fmt: skip
    assert [term.beginning for term in read_query("open brac", as_typed=True)] == [False, True]
    assert [term.beginning for term in read_query("open brac ", as_typed=True)] == [False, False]
    assert fold("Straße ÉCOLE 한국") == "straße ecole 한국"


@pytest.mark.parametrize(
    "asked",
    [
        {"query": "x" * 1001},
        {"query": "x " * 33},
        {"query": "x", "min_score": 0.555},
        {"query": "x", "min_score": float("nan")},
        {"query": "x", "min_score": -1e308},
        {"query": "x", "among": "tags", "chosen": True},
        {"query": "x", "limit": 501},
        {"query": "x", "offset": -1},
    ],
)
def test_what_cant_be_asked_is_refused_in_a_sentence(notes, asked):
    with pytest.raises(InputError, match="; (leave|give|ask)"):
        notes.search(**asked)
