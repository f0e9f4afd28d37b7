"""Texts of strangers: files that are not what their names say, and what is no file at all. Oracle: documents, or one
sentence, within seconds and in less than twice the memory.
"""

from __future__ import annotations

import contextlib
import gzip
import itertools
import json
import os
import random
import shutil
import socket
from pathlib import Path

import duckdb
import pytest
from tests.durability.hostile import PIECES, Memory, damaged, ends_well
from tests.durability.uses import use_corpus

NAMES = [
    "a.txt",
    "b.jsonl",
    "c.ndjson",
    "d.parquet",
    "e.json",
    "f.jsonl.gz",
    "g.PARQUET",
    "h",
    "i.py",
    ".hidden",
    "n.html",
]
NAMES += ["j\nk.txt", "l\x1b[2J.jsonl", "m'\"*?[.parquet", "x" * 250 + ".txt", "\u202eo.txt", "p%00.txt", "q+r.txt"]
TABLES = [
    "SELECT 'hello ' || i AS text, i AS n FROM range(300) t(i)",
    "SELECT i AS text FROM range(10) t(i)",
    "SELECT NULL::VARCHAR AS text FROM range(10)",
    "SELECT [i::VARCHAR] AS text FROM range(9) t(i)",
    "SELECT repeat('x', 3000000) AS text FROM range(3)",
    "SELECT 'a'::BLOB AS text",
    "SELECT 'x' AS other",
    "SELECT 'a' AS text WHERE false",
    "SELECT {'a': 1} AS text",
]
ELSEWHERE = ["/dev/zero", "/dev/random", "/dev/stdin", "/proc/self/mem", "/proc/kmsg", "/nonexistent", "..", "."]


@pytest.fixture(scope="module")
def contents(tmp_path_factory: pytest.TempPathFactory) -> list[bytes]:
    """What lies in hostile files; the tables last."""
    found = [
        *(b"", b"\0", b"\0" * 1000, b"a" * 10_000_000, json.dumps({"text": "x" * 10_000_000}).encode()),
        b"\n".join(json.dumps({"text": f"line {number}"}).encode() for number in range(50)),
        b'{"text": "a"\n{"text": "b"}\n{"tex',
        *(b"[" * 100_000, b'{"a":' * 50_000 + b"1" + b"}" * 50_000),
        *(gzip.compress(b"hello\n" * 1000), gzip.compress(b"hello\n" * 1000)[:30]),
        *(b"\xff\xfe" + "hi there".encode("utf-16-le"), b"\xef\xbb\xbfhello world\n" * 30),
        b'{"text": "\\ud800"}\n{"text": null}\n{"text": 3}\n{"text": ["a"]}\n{"other": "a"}\n[1]\n"x"\nnull\n1e999\n',
        b'{"text": ' + b"9" * 6000 + b'}\n{"text": "\x01\x02"}\n{"text": "a", "text": "b"}\n\xc3\x28\n',
        *(
            b"PAR1" + b"\xff" * 100 + b"PAR1",
            b"\r" * 100_000 + b"a\x1b[2J\x07",
            "\u202e\ufeff\u0000x".encode() * 100,
            b"\x80" * 100,
        ),
    ]
    folder = tmp_path_factory.mktemp("tables")
    for number, select in enumerate(TABLES):
        duckdb.sql(f"COPY ({select}) TO '{folder / str(number)}' (FORMAT parquet)")
        found.append((folder / str(number)).read_bytes())
    return found


def make(place: Path, rng: random.Random, contents: list[bytes]) -> None:
    """Something that has a name."""
    kind, data = rng.random(), rng.choice(contents)
    if kind < 0.75:
        if len(data) < 10**6 and rng.random() < 0.4:
            data = damaged(data, rng, PIECES)
        place.write_bytes(data)
    elif kind < 0.8:
        os.mkfifo(place)
    elif kind < 0.84:
        place.symlink_to(place.name)
    elif kind < 0.9:
        place.mkdir()
        (place / "inner.txt").write_bytes(data)
    elif kind < 0.97:
        place.symlink_to(rng.choice(ELSEWHERE))
    elif len(os.fsencode(place)) < 100:
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(place))


def test_no_text_of_a_stranger_breaks_a_corpus(contents, tmp_path, amount, figure) -> None:
    rng, wanted, taken = random.Random(0), amount(50, 1000), 0
    with Memory() as memory:
        for number in range(wanted):
            folder = tmp_path / str(number)
            folder.mkdir()
            names = rng.sample(NAMES, rng.choice([1, 1, 2, 4]))
            for name in names:
                make(folder / name, rng, contents)
            given = folder / names[0] if len(names) == 1 else folder
            what = (number, [(path.name, path.lstat().st_mode, path.lstat().st_size) for path in folder.iterdir()])
            taken += ends_well(lambda given=given: use_corpus(given), what) is None
            shutil.rmtree(folder)
    assert 0 < taken < wanted
    figure("hostile corpora: tracebacks, hangs", f"0 of {wanted}", "0 of 1000")
    assert memory.factor < 2


def test_every_content_under_every_kind_of_name(contents, tmp_path, amount) -> None:
    """Each alone, so that nothing else in a folder hides it."""
    pairs = list(itertools.product(range(len(contents)), ["a.txt", "b.jsonl", "c.parquet"]))
    for number, name in random.Random(1).sample(pairs, min(len(pairs), amount(15, len(pairs)))):
        (tmp_path / name).write_bytes(contents[number])
        ends_well(lambda name=name: use_corpus(tmp_path / name), (number, name))


def test_a_folder_too_deep_to_name(tmp_path) -> None:
    """Longer than a path may be, made step by step."""
    with contextlib.chdir(tmp_path):
        for _ in range(30):
            Path("d" * 200).mkdir()
            os.chdir("d" * 200)
        Path("deep.txt").write_text("deep")
    (tmp_path / "near.txt").write_text("near")
    assert ends_well(lambda: use_corpus(tmp_path)) is None


@pytest.mark.parametrize(
    "source",
    ["", "+", "++", "a" * 5000, "\0", "hf:", "hf:\0", "generated:../../x", "stdlib:", "\x1b[2J", "file:///etc"],
)
def test_a_source_that_is_none(source: str) -> None:
    assert ends_well(lambda: use_corpus(source)) is not None
