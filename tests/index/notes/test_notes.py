"""What is written is read back, who wrote it is known, and nothing is overwritten. Oracle: plain Python lists."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import BaseModel

from lexiscope import __version__
from lexiscope.core.errors import InputError
from lexiscope.index.notes import By, Dictionary, NewLabel, NewScore, Notes

SAE = Dictionary("f" * 64, 1000)
PEOPLE = [
    By(author="ana"),
    By(author="bo"),
    By(author="gpt", kind="model", model="x"),
    By(author="rule", kind="heuristic"),
]
STEPS = st.lists(
    st.one_of(
        st.tuples(st.just("add"), st.integers(0, 2), st.sampled_from(PEOPLE), st.sampled_from([None, 0.25, 0.5])),
        st.tuples(st.just("score"), st.integers(0, 9), st.sampled_from(["detection", "fuzzing"]), st.floats(-1, 1)),
        st.tuples(st.just("pin"), st.integers(0, 9)),
        st.tuples(st.just("unpin"), st.integers(0, 2)),
        st.tuples(st.just("remove"), st.integers(0, 9)),
    ),
    max_size=14,
)


class Shelf:
    """The labels of a few features, kept in lists."""

    def __init__(self):
        self.labels = []
        self.pinned = {}

    def add(self, feature, by, score):
        scores = {} if score is None else {"detection": score}
        self.labels.append({"feature": feature, "by": by, "scores": scores, "live": True})

    def chosen(self, feature):
        live = [n for n, label in enumerate(self.labels) if label["feature"] == feature and label["live"]]
        if self.pinned.get(feature) in live:
            return self.pinned[feature]
        scored = [n for n in live if self.labels[n]["scores"]]
        if scored:
            best = max(self.score(n) for n in scored)
            live = [n for n in scored if self.score(n) == best]
        humans = [n for n in live if self.labels[n]["by"].kind == "human"]
        return max(humans or live, default=None)

    def score(self, number):
        scores = self.labels[number]["scores"]
        return math.fsum(scores.values()) / len(scores) if scores else None


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(steps=STEPS)
def test_the_label_to_show_is_the_one_that_plain_python_chooses(tmp_path_factory, steps):
    shelf, ana = Shelf(), PEOPLE[0]
    with Notes(tmp_path_factory.mktemp("notes") / "n", SAE) as notes:
        for what, *values in steps:
            if what == "add":
                feature, by, score = values
                scores = [] if score is None else [NewScore(name="detection", value=score)]
                notes.labels.add(feature, f"label {len(shelf.labels)}", by, scores)
                shelf.add(feature, by, score)
            elif what == "unpin":
                notes.labels.unpin(values[0], ana)
                shelf.pinned.pop(values[0], None)
            else:
                number = values[0]
                if number >= len(shelf.labels) or not shelf.labels[number]["live"]:
                    with pytest.raises(InputError, match="there is no label|was removed"):
                        notes.labels.remove(number + 1, ana)
                elif what == "score":
                    notes.labels.score(number + 1, NewScore(name=values[1], value=values[2]), ana)
                    shelf.labels[number]["scores"][values[1]] = values[2]
                elif what == "pin":
                    notes.labels.pin(number + 1, ana)
                    shelf.pinned[shelf.labels[number]["feature"]] = number
                else:
                    notes.labels.remove(number + 1, ana)
                    shelf.labels[number]["live"] = False
            for feature in range(3):
                chosen = shelf.chosen(feature)
                found = notes.labels.chosen([feature])
                assert {label.id for label in found.values()} == (set() if chosen is None else {chosen + 1})
        for feature in range(3):
            labels = notes.labels.of(feature)
            assert {label.id - 1: label.score for label in labels} == {
                number: shelf.score(number)
                for number, label in enumerate(shelf.labels)
                if label["feature"] == feature and label["live"]
            }
            assert [label.chosen for label in labels] == [True, *[False] * (len(labels) - 1)][: len(labels)]
            history = notes.labels.of(feature, history=True)
            assert {label.id - 1 for label in history} == {
                number for number, label in enumerate(shelf.labels) if label["feature"] == feature
            }
        found = notes.search("label")
        assert found.matching == sum(label["live"] for label in shelf.labels)
        assert notes.search("label", chosen=True).matching == sum(shelf.chosen(n) is not None for n in range(3))


def test_every_row_says_who_when_and_with_what(notes, gpt):
    before = datetime.now(UTC)
    label = notes.labels.add(
        3, "opening brackets", gpt, [NewScore(name="detection", value=0.8, low=0.7, high=0.9, n=50)]
    )
    assert before - timedelta(seconds=1) <= label.created_at <= datetime.now(UTC)
    assert label.created_at.tzinfo == UTC
    assert (label.by, label.by.tool) == (gpt, f"lexiscope {__version__}")
    [score] = label.scores
    assert (score.name, score.value, score.low, score.high, score.n, score.by) == ("detection", 0.8, 0.7, 0.9, 50, gpt)
    assert label.score == 0.8


def test_a_score_of_the_same_name_replaces_and_the_old_one_stays(notes, ana, gpt):
    label = notes.labels.add(3, "brackets", gpt, [NewScore(name="detection", value=0.8)])
    notes.labels.score(label.id, NewScore(name="fuzzing", value=0.5), ana)
    after = notes.labels.score(label.id, NewScore(name="detection", value=0.6), ana)
    assert after.score == math.fsum([0.6, 0.5]) / 2
    assert [(score.name, score.value) for score in after.scores] == [
        ("detection", 0.8), ("fuzzing", 0.5), ("detection", 0.6),
    ]  # fmt: skip


def test_many_at_once_are_what_one_by_one_is(notes, tmp_path, ana, gpt):
    when = datetime(2026, 5, 1, tzinfo=UTC)
    new = [
        NewLabel(
            feature=number % 7,
            text=f"label {number % 11}",
            by=(ana, gpt)[number % 2],
            created_at=when + timedelta(seconds=number),
            scores=(NewScore(name="detection", value=number / 40),) if number % 3 else (),
        )
        for number in range(40)
    ]
    assert notes.labels.add_many(iter(new)).added == 40
    again = notes.labels.add_many([*new, *new])
    assert (again.added, again.known) == (0, 80)
    with Notes(tmp_path / "other", SAE) as other:
        for label in new:
            other.labels.add_many([label])
        for feature in range(7):
            assert notes.labels.of(feature) == other.labels.of(feature)
    notes.labels.remove(1, ana)
    assert notes.labels.add_many(new[:1]).known == 1
    assert notes.labels.get(1).ended_by == ana


def test_a_rating_of_the_same_items_replaces_ones_own(notes, ana):
    bo = By(author="bo")
    notes.ratings.add(5, "items", "paulo-4", 2, ana)
    notes.ratings.add(5, "items", "paulo-4", 3, bo)
    notes.ratings.add(5, "other", "paulo-4", 1, ana)
    notes.ratings.add(5, "items", "paulo-4", 4, ana)
    assert [(r.items, r.value, r.by.author) for r in notes.ratings.of(5)] == [
        ("items", 4, "ana"), ("other", 1, "ana"), ("items", 3, "bo"),
    ]  # fmt: skip
    assert [r.value for r in notes.ratings.of(5, history=True)] == [4, 1, 3, 2]
    assert [r.value for r in notes.ratings.on("items")] == [4, 3]


def test_bookmarks_are_everybodys_own(notes, ana):
    bo = By(author="bo")
    assert notes.bookmarks.add(5, ana) == notes.bookmarks.add(5, ana)
    notes.bookmarks.add(5, bo)
    notes.bookmarks.add(6, ana)
    notes.bookmarks.remove(5, ana)
    notes.bookmarks.remove(7, ana)
    assert [(b.feature, b.by.author) for b in notes.bookmarks.all()] == [(6, "ana"), (5, "bo")]
    assert [b.feature for b in notes.bookmarks.all("ana")] == [6]
    assert len(notes.bookmarks.of(5, history=True)) == 2


def test_tags(notes, ana):
    bo = By(author="bo")
    assert notes.tags.add(5, "syntax", ana) == notes.tags.add(5, "syntax", bo)
    for feature in (6, 7):
        notes.tags.add(feature, "syntax", bo)
    notes.tags.add(5, "code", ana)
    notes.tags.remove(7, "syntax", ana)
    assert notes.tags.counts() == {"syntax": 2, "code": 1}
    assert notes.tags.features("syntax") == [5, 6]
    assert {feature: [tag.text for tag in tags] for feature, tags in notes.tags.of_many([5, 6, 7]).items()} == {
        5: ["syntax", "code"],
        6: ["syntax"],
    }
    assert notes.search("syntax", "tags").matching == 2


def test_every_version_of_a_note_is_kept(notes, ana):
    bo = By(author="bo")
    note = notes.texts.add(5, "fires on brackets", ana)
    notes.texts.edit(note.note, "fires on opening brackets", bo)
    other = notes.texts.add(None, "a good dictionary", bo)
    assert [(n.text, n.by.author) for n in notes.texts.of(5)] == [("fires on opening brackets", "bo")]
    assert [n.text for n in notes.texts.of(None)] == ["a good dictionary"]
    assert notes.search("opening", "notes").matching == notes.search("fires", "notes").matching == 1
    notes.texts.remove(note.note, ana)
    assert notes.texts.of(5) == []
    assert [(n.text, n.ended_by.author) for n in notes.texts.history(5)] == [
        ("fires on opening brackets", "ana"), ("fires on brackets", "bo"),
    ]  # fmt: skip
    assert notes.search("opening", "notes").matching == 0
    for number in (note.note, other.note + 5):
        with pytest.raises(InputError, match="there is no note"):
            notes.texts.edit(number, "more", ana)


def test_lists(notes, ana):
    made = notes.lists.make("brackets", ana, "opening and closing")
    for feature, why in ((5, "opening"), (6, "closing"), (7, "")):
        notes.lists.put(made.list, feature, ana, why)
    notes.lists.put(made.list, 5, ana, "opening, in code")
    notes.lists.drop(made.list, 7, ana)
    assert {i.feature: i.description for i in notes.lists.items(made.list)} == {6: "closing", 5: "opening, in code"}
    assert notes.lists.count(made.list) == 2
    renamed = notes.lists.rename(made.list, "parentheses", ana)
    assert (renamed.list, [found.name for found in notes.lists.all()]) == (made.list, ["parentheses"])
    assert [item.list for item in notes.lists.of(5)] == [made.list]
    notes.lists.remove(made.list, ana)
    assert notes.lists.all() == notes.lists.of(5) == []
    with pytest.raises(InputError, match="there is no list"):
        notes.lists.put(made.list, 5, ana)


def test_results_of_experiments(notes, ana):
    class Ablation(BaseModel):
        kl: float
        tokens: list[str]

    found = Ablation(kl=0.25, tokens=["(", "["])
    notes.results.put(5, "ablation", "c0", Ablation(kl=1, tokens=[]), ana)
    notes.results.put(5, "ablation", "c0", found, ana)
    notes.results.put(5, "patching", "c0", {"deep": [1, None, "x"]}, ana)
    assert Ablation.model_validate(notes.results.get(5, "ablation", "c0").payload) == found
    assert notes.results.get(5, "ablation", "c1") is None
    assert [result.kind for result in notes.results.of(5)] == ["patching", "ablation"]
    assert len(notes.results.of(5, history=True)) == 3
    for bad in (float("nan"), object(), {1: 2}):
        with pytest.raises(InputError, match="change it and try again"):
            notes.results.put(5, "ablation", "c0", bad, ana)
    with pytest.raises(InputError, match="keep less than"):
        notes.results.put(5, "ablation", "c0", "x" * (17 << 20), ana)


@pytest.mark.parametrize("feature", [-1, 1000, 2**70])
def test_no_such_feature(notes, ana, feature):
    for write in (
        lambda: notes.labels.add(feature, "x", ana),
        lambda: notes.tags.add(feature, "x", ana),
        lambda: notes.bookmarks.add(feature, ana),
        lambda: notes.texts.add(feature, "x", ana),
        lambda: notes.ratings.add(feature, "x", "y", 1, ana),
        lambda: notes.results.put(feature, "x", "y", {}, ana),
    ):
        with pytest.raises(InputError, match="feature"):
            write()


@pytest.mark.parametrize("text", ["", "a\0b", "\ud800", "x" * 2001])
def test_text_that_cant_be_kept(notes, ana, text):
    with pytest.raises(InputError, match="; change it and try again"):
        notes.labels.add(5, text, ana)
    assert not notes.path.exists()


@settings(max_examples=60, deadline=None)
@given(text=st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=40))
def test_any_other_text_comes_back_as_it_was(tmp_path_factory, text):
    with Notes(tmp_path_factory.mktemp("notes") / "n", SAE) as notes:
        notes.labels.add(1, text, By(author=text))
        notes.tags.add(1, text, By(author=text))
        assert notes.labels.of(1)[0].text == notes.labels.of(1)[0].by.author == notes.tags.of(1)[0].text == text
        hits = notes.search(text).hits
        assert all(hit.found.text == text for hit in hits)
