"""Notes that go out of one file and into another. Oracle: the rows of both, and cells as a spreadsheet takes them."""

from __future__ import annotations

import csv
import io
import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lexiscope.core.errors import InputError
from lexiscope.index.notes import By, Dictionary, NewScore, Notes
from lexiscope.index.notes.neuronpedia import read_neuronpedia

SAE = Dictionary("f" * 64, 1000)
ANA, GPT = By(author="ana"), By(author="=gpt", kind="model", model="@m", method="+x", prompt_hash="-1")
KINDS = ["label", "pin", "rating", "bookmark", "tag", "note", "list", "item", "result"]
TEXT = st.text(st.characters(blacklist_categories=["Cs"], blacklist_characters="\0"), min_size=1, max_size=20)
RISKY = st.builds(
    str.__add__, st.sampled_from(["=", "+", "-", "@", "\t", "\r", "\n", "'", "''=", "'tis", ",", '"']), TEXT
)


WRITTEN = '"by": {"author": "a"}, "created_at": "2026-01-01T00:00:00"}'


def fill(notes):
    first = notes.labels.add(3, "=HYPERLINK(1)", GPT, [NewScore(name="detection", value=0.1 + 0.2, low=-1e-9, n=5)])
    notes.labels.score(first.id, NewScore(name="detection", value=0.75), ANA)
    second = notes.labels.add(3, 'two\nlines, "quoted"', ANA)
    notes.labels.pin(first.id, ANA)
    notes.labels.pin(second.id, GPT)
    gone = notes.labels.add(4, "gone", ANA)
    notes.labels.remove(gone.id, GPT)
    for value in (1, 2.5):
        notes.ratings.add(3, "items", "paulo-4", value, ANA)
    notes.bookmarks.add(3, ANA)
    notes.bookmarks.add(4, ANA)
    notes.bookmarks.remove(4, ANA)
    notes.tags.add(3, "-syntax", ANA)
    notes.texts.add(None, "on all", ANA)
    note = notes.texts.add(3, "first", ANA)
    notes.texts.edit(note.note, "'second", GPT)
    notes.lists.remove(notes.lists.make("gone", ANA).list, ANA)
    made = notes.lists.make("brackets", ANA)
    notes.lists.put(made.list, 3, ANA, "why")
    notes.lists.put(made.list, 3, ANA, "because")
    notes.lists.rename(made.list, "parentheses", ANA, "+")
    notes.results.put(3, "ablation", "c", {"kl": [0.1, None], "text": "\u2028"}, GPT)


def rows(notes):
    """Everything, but for numbers that depend on what was there before."""
    found = []
    for line in notes.exchange.json_lines():
        row = json.loads(line)
        for key in ("id", "note", "list"):
            row.pop(key, None)
        found.append(json.dumps(row, sort_keys=True))
    return sorted(found)


@pytest.fixture
def other(tmp_path):
    with Notes(tmp_path / "other", SAE) as opened:
        opened.lists.make("theirs", By(author="zoe"))
        opened.lists.rename(1, "still theirs", By(author="zoe"))
        opened.texts.add(9, "theirs", By(author="zoe"))
        theirs = rows(opened)
        opened.theirs = theirs
        yield opened


def check(notes, other):
    assert rows(other) == sorted({*rows(notes), *other.theirs})
    assert [label.model_dump(exclude={"id", "scores"}) for label in other.labels.of(3)] == [
        label.model_dump(exclude={"id", "scores"}) for label in notes.labels.of(3)
    ]
    assert other.search("second", "notes").matching == 1
    assert other.search("first", "notes").matching == other.search("gone").matching == 0
    [made] = [found for found in other.lists.all() if found.name == "parentheses"]
    assert [item.description for item in other.lists.items(made.list)] == ["because"]
    assert len([note for note in other.texts.history(3) if note.note == other.texts.of(3)[0].note]) == 2


def test_json_lines_come_back(notes, other):
    fill(notes)
    lines = list(notes.exchange.json_lines())
    found = other.exchange.read_json_lines(lines)
    assert found.added == len(lines) - 1
    check(notes, other)
    again = other.exchange.read_json_lines(line.encode() for line in lines)
    assert (again.added, again.known) == (0, len(lines) - 1)
    check(notes, other)


def test_csv_comes_back(notes, other):
    fill(notes)
    for what in KINDS:
        text = "".join(notes.exchange.csv_lines(what))
        for row in csv.reader(io.StringIO(text, newline="")):
            assert not [cell for cell in row if cell[:1] in set("=+-@\t\r\n")]
        if what == "item":  # which speak of lists by their numbers
            [made] = [found for found in other.lists.all() if found.name == "parentheses"]
            names, *cells = csv.reader(io.StringIO(text, newline=""))
            at = names.index("list")
            out = io.StringIO()
            csv.writer(out).writerows([names, *([*row[:at], str(made.list), *row[at + 1 :]] for row in cells)])
            text = out.getvalue()
        found = other.exchange.read_csv_lines(what, io.StringIO(text, newline=""))
        assert found.added > 0
        assert other.exchange.read_csv_lines(what, io.StringIO(text, newline="")).added == 0
    check(notes, other)


@settings(max_examples=60, deadline=None)
@given(text=TEXT | RISKY, author=TEXT | RISKY)
def test_any_cell_comes_back_and_runs_nowhere(tmp_path_factory, text, author):
    folder = tmp_path_factory.mktemp("notes")
    with Notes(folder / "a", SAE) as notes, Notes(folder / "b", SAE) as other:
        notes.labels.add(1, text, By(author=author))
        sheet = "".join(notes.exchange.csv_lines("label"))
        cells = [cell for row in csv.reader(io.StringIO(sheet, newline="")) for cell in row]
        assert not [cell for cell in cells if cell[:1] in set("=+-@\t\r\n")]
        other.exchange.read_csv_lines("label", io.StringIO(sheet, newline=""))
        assert [(label.text, label.by.author) for label in other.labels.of(1)] == [(text, author)]


def test_a_sheet_that_somebody_typed(notes):
    sheet = "author,text,feature\nana,brackets,3\nana,'tis,4\n\n"
    with pytest.raises(InputError, match="line 2 is none .*created_at|line"):
        notes.exchange.read_csv_lines("tag", io.StringIO(sheet))
    assert notes.exchange.read_csv_lines("label", io.StringIO(sheet)).added == 2
    assert [label.text for label in notes.labels.of(4)] == ["'tis"]


@pytest.mark.parametrize(
    "line",
    [
        "no JSON",
        "[" * 100_000,
        '{"what": "label"}',
        '{"what": "spell", "feature": 1}',
        '{"what": "label", "feature": 1e99, "text": "x", "by": {"author": "ana"}}',
        '{"what": "label", "feature": 1, "text": "x", "by": {"author": "ana"}, "more": 1}',
        '{"what": "label", "feature": 1000, "text": "x", "by": {"author": "ana"}}',
        '{"what": "notes", "sae_fingerprint": "e", "num_latents": 5, "tool": "x"}',
        '{"what": "notes", "version": 2, "sae_fingerprint": "e", "num_latents": 5, "tool": "x"}',
        '{"what": "item", "id": 1, "list": 77, "feature": 1, ' + WRITTEN.replace('00"', '00Z"'),
        '{"what": "tag", "id": 1, "feature": 1, "text": "x", ' + WRITTEN,
        b"\xff\xfe",
    ],
)
def test_lines_of_strangers(notes, line):
    with pytest.raises(InputError) as error:
        notes.exchange.read_json_lines([line])
    assert "; " in str(error.value)
    assert str(error.value).isprintable()


@pytest.mark.parametrize(
    "sheet", ["", "feature,text,author\n1", 'feature,text,author\n1,"x', "feature,scores\n1,[[[", "a,b\n1,2\n"]
)
def test_sheets_of_strangers(notes, sheet):
    if not sheet:
        assert notes.exchange.read_csv_lines("label", io.StringIO(sheet)).added == 0
        return
    with pytest.raises(InputError, match="; take it out, or mend it"):
        notes.exchange.read_csv_lines("label", io.StringIO(sheet))
    with pytest.raises(InputError, match="there is no 'spell'"):
        notes.exchange.csv_lines("spell")


def test_explanations_of_neuronpedia(notes):
    row = {
        "id": "abc", "modelId": "gpt2-small", "layer": "6-res-jb", "index": "12",
        "description": " opening brackets ",
        "authorId": "clkht01d40000jv08hvalcvly", "typeName": "oai_token-act-pair",
        "explanationModelName": "gpt-4o-mini",
        "createdAt": "2024-08-08T01:02:03.000Z", "embedding": [0.1], "notes": None,
    }  # fmt: skip
    lines = [json.dumps(row), json.dumps({**row, "index": 13, "explanationModelName": None, "typeName": ""}), "\n"]
    assert notes.labels.add_many(read_neuronpedia(lines)).added == 2
    [label] = notes.labels.of(12)
    assert label.text == "opening brackets"
    assert (label.by.kind, label.by.model, label.by.method) == ("model", "gpt-4o-mini", "oai_token-act-pair")
    assert label.created_at.isoformat() == "2024-08-08T01:02:03+00:00"
    for bad in ("{", '{"index": "x", "description": "y"}', '{"index": "1"}'):
        with pytest.raises(InputError, match="line 1 is no explanation"):
            list(read_neuronpedia([bad]))
