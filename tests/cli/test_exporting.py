"""Export and import. Oracles: what the app answers at the same address, the notes as they were, an HTML parser."""

from __future__ import annotations

import csv
import gzip
import io
import json
import shutil
from collections.abc import Callable
from html.parser import HTMLParser
from pathlib import Path

import pytest
from starlette.testclient import TestClient

from lexiscope.index.notes import By, Notes
from lexiscope.web.app import create_app

Run = Callable[..., "tuple[int, str, str]"]
HOSTILE = "=1+1 <script>alert(1)</script> \u202e\n'x"


@pytest.fixture(scope="session")
def indexed(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of its own, with notes."""
    run = tmp_path_factory.mktemp("indexed") / "a run"
    shutil.copytree(run_folder, run)
    with Notes.open(run / "index") as notes:
        notes.labels.add(3, HOSTILE, By(author="ana"))
        notes.labels.add(5, "brackets", By(author="gpt", kind="model"))
        made = notes.lists.make("worth a look", By(author="ana"))
        for feature in (5, 3):
            notes.lists.put(made.list, feature, By(author="ana"))
    return run


@pytest.fixture
def fresh(indexed: Path, tmp_path: Path) -> Path:
    """The same index without notes."""
    shutil.copytree(indexed / "index", tmp_path / "fresh" / "index")
    return tmp_path / "fresh"


def refused(outcome: tuple[int, str, str]) -> str:
    code, out, err = outcome
    assert (code, out) == (2, "")
    *before, said = err.splitlines()
    assert all(line.endswith(" ...") for line in before)  # what was begun
    assert said.startswith("lexiscope: ")
    assert "; " in said
    return said


@pytest.mark.parametrize(
    "address",
    ["/", "/d/a-run?sort=density&limit=5", "/d/a-run/features/5", "/d/a-run/map", "/compare?a=a-run:3&b=a-run:5"],
)
def test_a_page_is_what_its_address_answers(lexiscope: Run, indexed: Path, tmp_path: Path, address: str) -> None:
    client = TestClient(create_app(indexed), base_url="http://127.0.0.1:8765")
    path, _, query = address.partition("?")
    expected = client.get(f"{path}.json?{query}").text
    assert lexiscope("export", "page", indexed, address) == (0, expected, "")
    whole = f"http://localhost:1234{address}#what"
    assert lexiscope("export", "page", indexed, whole, "--out", tmp_path / "page.json")[0] == 0
    assert (tmp_path / "page.json").read_text() == expected


def test_a_page_is_a_table(lexiscope: Run, indexed: Path, tmp_path: Path) -> None:
    client = TestClient(create_app(indexed), base_url="http://127.0.0.1:8765")
    expected = client.get("/d/a-run.csv?limit=7").content
    assert lexiscope("export", "page", indexed, "/d/a-run?limit=7", "--csv")[1].encode() == expected
    assert lexiscope("export", "page", indexed, "/d/a-run?limit=7", "--out", tmp_path / "list.csv")[0] == 0
    assert (tmp_path / "list.csv").read_bytes() == expected
    assert len(list(csv.reader(io.StringIO(expected.decode())))) == 8
    assert [path.name for path in tmp_path.iterdir()] == ["list.csv"]


@pytest.mark.parametrize(
    ("address", "words"),
    [
        ("/d/nowhere", "no dictionary 'nowhere'"),
        ("/d/a-run/features/999999", "no feature 999999"),
        ("/d/a-run?limit=x", "limit"),
        ("/nothing", "no page at this address"),
        ("/d/a-run/../../etc/passwd", "no page at this address"),
        ("//evil.example/x", "no page at this address"),
        ("/d/caf\xe9", "is no address"),
        ("http://[", "is no address"),
        ("/d/a-run\n/x", "no page at this address"),
    ],
)
def test_what_is_no_page_leaves_no_file(
    lexiscope: Run, indexed: Path, tmp_path: Path, address: str, words: str
) -> None:
    assert words in refused(lexiscope("export", "page", indexed, address, "--out", tmp_path / "x.json"))
    assert not list(tmp_path.iterdir())


def test_a_page_without_a_table_says_so(lexiscope: Run, indexed: Path) -> None:
    assert "--csv only where" in refused(lexiscope("export", "page", indexed, "/d/a-run/map", "--csv"))


def test_features_are_one_file_that_runs_nothing(lexiscope: Run, indexed: Path, tmp_path: Path) -> None:
    assert lexiscope("export", "features", indexed / "index", 5, 3, "--out", tmp_path / "some.html")[0] == 0
    by_list = lexiscope("export", "features", indexed, "--list", "worth a look")
    assert by_list == (0, (tmp_path / "some.html").read_text(), "")
    tags = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, _: tags.append(tag)
    parser.feed(by_list[1])
    assert not {"script", "img", "link", "iframe"} & set(tags)
    shown = json.loads(lexiscope("export", "features", indexed, 5, 3, "--json")[1])
    assert [one["feature"]["feature"] for one in shown["features"]] == [5, 3]
    assert shown["fidelity"] is not None


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "numbers"),
        (["3", "--list", "x"], "numbers"),
        (["--list", "nothing\n"], "0 lists"),
        (["999999"], "no feature 999999"),
        (["1"] * 101, "from 1 to 100"),
    ],
)
def test_features_that_can_not_be_kept(lexiscope: Run, indexed: Path, arguments: list[str], words: str) -> None:
    assert words in refused(lexiscope("export", "features", indexed, *arguments))


@pytest.mark.parametrize("name", ["there", "-x", "a\nb", "\u202ex", "ein Name.html", "x" * 300, "no/folder"])
def test_nothing_is_written_over(lexiscope: Run, indexed: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / "there").write_text("mine")
    (tmp_path / "-x").symlink_to("nowhere")
    before = sorted(tmp_path.iterdir())
    outcome = lexiscope("export", "features", indexed, 3, f"--out={tmp_path / name}")
    if outcome[0] == 0:
        assert sorted(tmp_path.iterdir()) == sorted([*before, tmp_path / name])
        assert "Feature 3" in (tmp_path / name).read_text()
        outcome = lexiscope("export", "features", indexed, 3, f"--out={tmp_path / name}")
    assert "choose another --out" in refused(outcome)
    assert (tmp_path / "there").read_text() == "mine"
    assert not list(tmp_path.glob(".*"))


def test_notes_go_out_and_come_in(lexiscope: Run, indexed: Path, fresh: Path, tmp_path: Path) -> None:
    assert lexiscope("export", "notes", indexed, "--out", tmp_path / "notes.jsonl")[0] == 0
    with gzip.open(tmp_path / "notes.jsonl.gz", "wb") as packed:
        packed.write(b"\xef\xbb\xbf" + (tmp_path / "notes.jsonl").read_bytes())
    code, out, _ = lexiscope("import", "notes", fresh, tmp_path / "notes.jsonl.gz", "--json")
    assert (code, json.loads(out)) == (0, {"added": 5, "known": 0})
    again = lexiscope("import", "notes", fresh, tmp_path / "notes.jsonl")
    assert again[0] == 0
    assert "0 added, 5 there already" in again[2]
    assert lexiscope("export", "notes", fresh) == (0, (tmp_path / "notes.jsonl").read_text(), "")


def test_labels_go_through_a_spreadsheet(lexiscope: Run, indexed: Path, fresh: Path, tmp_path: Path) -> None:
    assert lexiscope("export", "notes", indexed, "--what", "label", "--out", tmp_path / "labels.csv")[0] == 0
    with (tmp_path / "labels.csv").open(newline="") as file:
        assert {row["text"] for row in csv.DictReader(file)} == {f"'{HOSTILE}", "brackets"}
    assert lexiscope("import", "notes", fresh, tmp_path / "labels.csv", "--what", "label")[0] == 0
    with Notes.open(fresh / "index") as notes:
        assert [label.text for label in notes.labels.of(3)] == [HOSTILE]


def test_explanations_of_neuronpedia_come_in(lexiscope: Run, fresh: Path, tmp_path: Path) -> None:
    for number in (0, 1):
        row = {"index": str(number), "description": f"says {number}", "typeName": "m", "explanationModelName": "gpt"}
        (tmp_path / f"batch-{number}.jsonl").write_text(json.dumps({**row, "createdAt": "2024-08-08T01:02:03Z"}) + "\n")
    files = [tmp_path / "batch-0.jsonl", tmp_path / "batch-1.jsonl"]
    assert json.loads(lexiscope("import", "neuronpedia", fresh, *files, "--json")[1]) == {"added": 2, "known": 0}
    assert json.loads(lexiscope("import", "neuronpedia", fresh, *files, "--json")[1]) == {"added": 0, "known": 2}
    with Notes.open(fresh / "index") as notes:
        assert notes.labels.of(1)[0].by.model == "gpt"


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"{", "line 1 is no"),
        (b'{"index": 999999, "description": "x"}', "no feature 999999"),
        (b"\xff\xfe", "line 1 is no"),
        (b"x" * (1 << 12), "line 1 is no"),
        (None, "No such file"),
    ],
)
def test_files_of_strangers(lexiscope: Run, fresh: Path, tmp_path: Path, content: bytes | None, words: str) -> None:
    file = tmp_path / "of a\nstranger.jsonl"
    if content is not None:
        file.write_bytes(content)
    for verb in ("notes", "neuronpedia"):
        said = refused(lexiscope("import", verb, fresh, file))
        assert "stranger.jsonl" in said
        assert words in said or verb == "notes"
    assert not list(fresh.rglob("*.partial"))


def test_a_packed_file_that_is_none(lexiscope: Run, fresh: Path, tmp_path: Path) -> None:
    for content in (b"", b"x", gzip.compress(b'{"what": "notes"}' * 1000)[:-9]):
        (tmp_path / "n.jsonl.gz").write_bytes(content)
        outcome = lexiscope("import", "notes", fresh, tmp_path / "n.jsonl.gz")
        assert outcome[0] == (0 if content == b"" else 2)


def test_a_line_without_end(lexiscope: Run, fresh: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lexiscope.cli.files.MOST_OF_A_LINE", 1000)
    (tmp_path / "n.jsonl").write_bytes(b" " * 5000)
    assert "line of more than" in refused(lexiscope("import", "notes", fresh, tmp_path / "n.jsonl"))


def test_which_index_is_meant(lexiscope: Run, indexed: Path, tmp_path: Path) -> None:
    assert "no folder" in refused(lexiscope("export", "notes", tmp_path / "none"))
    assert "holds no index" in refused(lexiscope("export", "notes", tmp_path))
    assert "store" in refused(lexiscope("export", "notes", indexed / "store"))
    shutil.copytree(indexed / "index", tmp_path / "one")
    assert lexiscope("export", "notes", tmp_path)[0] == 0
    shutil.copytree(indexed / "index", tmp_path / "two")
    assert "holds 2 indexes" in refused(lexiscope("export", "notes", tmp_path))
    shutil.copytree(indexed / "index", tmp_path / "index")
    assert lexiscope("export", "notes", tmp_path)[0] == 0
