"""Oracles: files written by this test, so the right documents and counts are known; DuckDB's own writer for Parquet."""

import json
import os
from pathlib import Path

import duckdb
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from lexiscope.core.errors import CorpusError, InputError
from lexiscope.text.corpus import Corpus
from lexiscope.text.pieces import MAX_DOCUMENT_CHARACTERS


def read(path, **options):
    """All documents by id, and what was skipped."""
    corpus = Corpus(path, **options)
    return {document.id: document.text for document in corpus.documents()}, dict(corpus.report.skipped)


def write_parquet(path, select):
    with duckdb.connect() as connection:
        connection.execute(f"COPY ({select}) TO '{path}' (FORMAT parquet)")


def test_one_text_file(tmp_path):
    (tmp_path / "story.txt").write_text("Once upon a time.\r\n", encoding="utf-8", newline="")
    assert read(tmp_path / "story.txt") == ({"files:story.txt:0": "Once upon a time.\r\n"}, {})


def test_a_folder(tmp_path):
    (tmp_path / "a" / ".git").mkdir(parents=True)
    (tmp_path / "a" / "one.py").write_text("import os\n")
    (tmp_path / "two.md").write_text("# Two\n")
    (tmp_path / "three.txt").write_text("Three.\n")
    (tmp_path / "a" / ".git" / "config").write_text("hidden")
    (tmp_path / ".hidden.txt").write_text("hidden")
    kinds = {document.id: document.kind for document in Corpus(tmp_path).documents()}
    assert kinds == {"files:a/one.py": "code", "files:two.md": "docs", "files:three.txt": "prose"}


def test_what_is_skipped_in_a_folder_is_counted(tmp_path):
    (tmp_path / "good.txt").write_text("good")
    (tmp_path / "empty.txt").write_text("")
    (tmp_path / "blank.txt").write_text(" \n\t")
    (tmp_path / "nul.txt").write_bytes(b"a\0b")
    (tmp_path / "latin1.txt").write_bytes("café".encode("latin-1"))
    (tmp_path / "image.png").write_bytes(b"\x89PNG\r\n\x1a\n\0\0\0")
    (tmp_path / "broken.parquet").write_bytes(b"PAR1 no parquet")
    documents, skipped = read(tmp_path)
    assert documents == {"files:good.txt": "good"}
    assert skipped == {"empty": 2, "NUL characters": 2, "not UTF-8": 1, "damaged Parquet file": 1}


def test_byte_order_mark_is_no_text(tmp_path):
    (tmp_path / "bom.txt").write_bytes(b"\xef\xbb\xbfhello")
    (tmp_path / "bom.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "hello"}\n')
    documents, skipped = read(tmp_path)
    assert set(documents.values()) == {"hello"}
    assert not skipped


def test_json_lines(tmp_path):
    lines = ['{"text": "one", "n": 1}', "{broken", '{"other": "x"}', '{"text": 3}', '["text"]', "", "[" * 100_000]
    lines += ['{"text": "\\ud800"}', '{"text": "a\\u0000b"}', '{"text": "last"}']
    (tmp_path / "data.jsonl").write_bytes("\n".join(lines).encode() + b'\n{"text": "\xff"}')
    documents, skipped = read(tmp_path / "data.jsonl")
    assert documents == {"files:data.jsonl:1": "one", "files:data.jsonl:10": "last"}
    assert skipped == {
        "broken JSON line": 2,
        "record without 'text'": 2,
        "'text' that is not a string": 1,
        "lone surrogates": 1,
        "NUL characters": 1,
        "not UTF-8": 1,
    }


def test_json_lines_with_another_column(tmp_path):
    (tmp_path / "data.jsonl").write_text(json.dumps({"body": "one"}))
    assert read(tmp_path / "data.jsonl", text_column="body")[0] == {"files:data.jsonl:1": "one"}
    with pytest.raises(CorpusError, match="record without 'text'"):
        read(tmp_path / "data.jsonl")


def test_a_json_line_that_is_too_long_is_passed_over(tmp_path):
    long = json.dumps({"text": "x" * 10_000_000})
    (tmp_path / "data.jsonl").write_text(f'{{"text": "one"}}\n{long}\n{{"text": "three"}}\n{long}')
    documents, skipped = read(tmp_path / "data.jsonl")
    assert documents == {"files:data.jsonl:1": "one", "files:data.jsonl:3": "three"}
    assert skipped == {"line longer than 8 MiB": 2}


def test_a_ten_megabyte_line_comes_in_pieces(tmp_path):
    text = "é" * 10_000_000
    (tmp_path / "long.txt").write_text(text, encoding="utf-8")
    corpus = Corpus(tmp_path)
    found = list(corpus.documents())
    assert "".join(document.text for document in found) == text
    assert max(len(document.text) for document in found) <= MAX_DOCUMENT_CHARACTERS
    assert [document.id for document in found] == [
        f"files:long.txt#{number}" for number in range(-(-len(text) // MAX_DOCUMENT_CHARACTERS))
    ]
    assert corpus.report.split == 1


def test_a_long_file_that_stops_being_text(tmp_path):
    (tmp_path / "half.txt").write_bytes(b"text \n" * 500_000 + b"\xff" + b"more" * 500_000)
    documents, skipped = read(tmp_path / "half.txt")
    assert skipped == {"not UTF-8": 1}
    assert documents
    assert set("".join(documents.values()).split("\n")) == {"text ", ""}


@pytest.mark.parametrize("name", ["data.parquet", "data[1]?*.parquet", "it's.PARQUET"])
def test_parquet(tmp_path, name):
    write_parquet(tmp_path / "plain", "SELECT * FROM (VALUES ('one', 1), (NULL, 2), ('three', 3)) AS t(text, n)")
    (tmp_path / "plain").rename(tmp_path / name)
    documents, skipped = read(tmp_path / name)
    assert documents == {f"files:{name}:0": "one", f"files:{name}:2": "three"}
    assert skipped == {"record without text": 1}


def test_parquet_without_the_column(tmp_path):
    path = tmp_path / "data.parquet"
    write_parquet(path, """SELECT 'a' AS body, 1 AS text, 'b' AS "od""d" """)
    with pytest.raises(CorpusError, match=r"no column 'text' of strings; it has: body, od\"d\. Name one"):
        read(path)
    assert list(read(path, text_column='od"d')[0].values()) == ["b"]


@pytest.mark.parametrize("select", ["SELECT 'a' AS zzzz", "SELECT 'zzzz' AS text"])
def test_parquet_with_a_name_or_a_text_that_is_not_utf8(tmp_path, select):
    """For a column's name DuckDB's binding raises a plain RuntimeError."""
    write_parquet(tmp_path / "plain", select)
    (tmp_path / "data.parquet").write_bytes((tmp_path / "plain").read_bytes().replace(b"zzzz", b"zz\xff\xfe"))
    with pytest.raises(CorpusError, match="damaged Parquet file"):
        read(tmp_path / "data.parquet")


def test_unreadable_file(tmp_path, monkeypatch):
    (tmp_path / "a.txt").write_text("a")
    (tmp_path / "b.txt").write_text("b")
    original = Path.open

    def refuse(self, *args, **kwargs):
        if self.name == "a.txt":
            raise PermissionError(13, "Permission denied")
        return original(self, *args, **kwargs)

    monkeypatch.setattr(Path, "open", refuse)
    assert read(tmp_path) == ({"files:b.txt": "b"}, {"unreadable file": 1})
    with pytest.raises(CorpusError, match="unreadable file"):
        read(tmp_path / "a.txt")


def test_a_file_name_that_is_not_utf8(tmp_path):
    path = os.path.join(os.fsencode(tmp_path), b"caf\xe9.txt")  # noqa: PTH118 - a name in bytes
    try:
        with open(path, "w") as file:  # noqa: PTH123
            file.write("text")
    except OSError:
        pytest.skip("this file system takes only UTF-8 names")
    documents, _ = read(tmp_path)
    assert documents == {"files:caf\\xe9.txt": "text"}


@pytest.mark.parametrize("content", [b"", b"\0\0", b"\xff\xfe", b"   \n"])
@pytest.mark.parametrize("name", ["a.txt", "a.jsonl", "a.parquet", "a"])
def test_nothing_usable_is_an_error(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(CorpusError, match="no usable document"):
        read(tmp_path / name)


def test_an_empty_folder_is_an_error(tmp_path):
    with pytest.raises(CorpusError, match="no usable document"):
        read(tmp_path)


def test_order_is_seeded(tmp_path):
    for number in range(30):
        (tmp_path / f"{number}.txt").write_text(str(number))
    orders = [list(read(tmp_path, seed=seed)[0]) for seed in (0, 0, 1)]
    assert orders[0] == orders[1] != orders[2]
    assert sorted(orders[0]) == sorted(orders[2])


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(content=st.binary(max_size=300), name=st.sampled_from(["a.txt", "a.jsonl", "a.parquet", "a.bin"]))
def test_any_bytes_give_documents_or_an_input_error(tmp_path, content, name):
    (tmp_path / name).write_bytes(content)
    try:
        documents, _ = read(tmp_path / name)
    except InputError:
        return
    assert all(text.strip() and "\0" not in text and text.encode() for text in documents.values())


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(data=st.data())
def test_a_damaged_parquet_file_gives_documents_or_an_input_error(tmp_path, data):
    path = tmp_path / "data.parquet"
    if not path.exists():
        write_parquet(path, "SELECT 'text ' || range AS text FROM range(200)")
    content = bytearray(path.read_bytes())
    at = data.draw(st.integers(0, len(content) - 1))
    damaged = content[:at] if data.draw(st.booleans()) else content[:at] + b"\xff\xff" + content[at + 2 :]
    (tmp_path / "damaged.parquet").write_bytes(damaged)
    try:
        read(tmp_path / "damaged.parquet")
    except InputError:
        return


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(texts=st.lists(st.text(max_size=20), max_size=8))
def test_json_lines_round_trip(tmp_path, texts):
    (tmp_path / "data.jsonl").write_text("".join(json.dumps({"text": text}) + "\n" for text in texts))
    usable = [text for text in texts if text.strip() and "\0" not in text]
    try:
        documents, _ = read(tmp_path / "data.jsonl")
    except InputError:
        documents = {}
    assert list(documents.values()) == usable


def test_a_single_text_file_is_many_documents(tmp_path):
    text = "".join(f"Line {number} of a long book.\n" for number in range(20_000))
    (tmp_path / "book.txt").write_text(text)
    found = list(Corpus(tmp_path / "book.txt").documents())
    assert "".join(document.text for document in found) == text
    assert len({document.id for document in found}) == len(found) > 20
    held = list(Corpus(tmp_path / "book.txt", split="heldout", heldout_share=0.3).documents())
    assert 0 < len(held) < len(found) / 2
    (tmp_path / "other.txt").write_text("A second file.")
    assert {document.id.partition("#")[0] for document in Corpus(tmp_path).documents()} == {
        "files:book.txt",
        "files:other.txt",
    }


@pytest.mark.skipif(not Path("/proc/self").exists(), reason="what the system shows of itself is Linux's")
def test_what_is_no_file_with_an_end_is_left_out(tmp_path):
    """Reading a pipe or the kernel's log would wait for ever, reading a device would never end."""
    os.mkfifo(tmp_path / "pipe.txt")
    links = {
        "null.txt": "/dev/zero",
        "log.txt": "/proc/kmsg",
        "self.txt": "self.txt",
        "up": ".",
        "gone.txt": "/nowhere",
    }
    for name, target in links.items():
        (tmp_path / name).symlink_to(target)
    (tmp_path / "folder.jsonl").mkdir()
    (tmp_path / "folder.jsonl" / "inside.txt").write_text("inside")
    (tmp_path / "linked.txt").symlink_to(tmp_path / "folder.jsonl" / "inside.txt")
    assert sorted(read(tmp_path)[0].values()) == ["inside", "inside"]
    for name in ("pipe.txt", "null.txt", "log.txt"):
        with pytest.raises(CorpusError, match="no usable document"):
            read(tmp_path / name)


def test_a_parquet_file_of_nothing_does_not_take_for_ever(tmp_path):
    """Ten million rows without text in a few kilobytes."""
    write_parquet(tmp_path / "void.parquet", "SELECT NULL::VARCHAR AS text FROM range(10000000)")
    corpus = Corpus(tmp_path / "void.parquet")
    with pytest.raises(CorpusError, match="claims to hold far more than its size"):
        list(corpus.documents())
    assert corpus.report.skipped["record without text"] < 3_000_000
