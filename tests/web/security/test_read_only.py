"""What `--read-only` promises. Oracles: every file that Python opens, the folder before and after, and the answers."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from starlette.routing import Route
from starlette.testclient import TestClient

from lexiscope.web.app import create_app
from lexiscope.web.security.access import Access

BASE = "http://127.0.0.1:8765"
WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
STEERED = {"prompt": "def f(x):", "turn": ["clamp:14:2max"], "tokens": 3}
READS = {"/d/demo/text.json": {"text": "a"}, "/d/demo/steered.json": STEERED, "/d/demo/steered.ndjson": STEERED}
"""What is sent a text and changes nothing."""
CHANGES = {
    "os.mkdir",
    "os.remove",
    "os.rename",
    "os.rmdir",
    "os.truncate",
    "os.chmod",
    "os.chown",
    "os.link",
    "os.symlink",
}

watching: list[list[str]] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if not watching:
        return
    if event == "open" and isinstance(arguments[2], int) and arguments[2] & WRITES:
        watching[-1].append(str(arguments[0]))
    elif event in CHANGES or (event == "sqlite3.connect" and "mode=ro" not in str(arguments[0])):
        watching[-1].append(f"{event} {arguments[0]}")


sys.addaudithook(_note)  # for as long as the process lives


@contextlib.contextmanager
def writes() -> Iterator[list[str]]:
    """What is opened for writing, or changed, in the meantime."""
    watching.append([])
    try:
        yield watching[-1]
    finally:
        watching.pop()


@pytest.fixture
def client(root, give_model):
    app = create_app(root, access=Access.at(port=8765, read_only=True))
    give_model(app)
    return TestClient(app, base_url=BASE)


def routes(app) -> list[tuple[str, str]]:
    """Every address of the app with every method that it answers, of the dictionary "demo"."""
    found = []
    for route in app.routes:
        if isinstance(route, Route):
            path = (
                route.path.replace("{feature:int}", "3").replace("{name:path}", "style.css").replace("{name}", "demo")
            )
            found += [(method, path) for method in route.methods or {"GET"}]
    return found


def test_every_change_is_refused_in_a_sentence(client):
    changes = [(method, path) for method, path in routes(client.app) if method not in {"GET", "HEAD"}]
    for method, path in [*changes, ("POST", "/"), ("PUT", "/d/demo"), ("PATCH", "/d/demo.json"), ("DELETE", "/d/demo")]:
        answer = client.request(method, path, json=READS.get(path, {"text": "a"}), headers={"origin": BASE})
        if path in READS:
            assert answer.status_code == 200
            continue
        assert answer.status_code == 403, (method, path)
        assert "--read-only" in answer.text


def test_what_only_reads_is_still_guarded(client):
    assert client.put("/d/demo/text.json", json={"text": "a"}).status_code == 403
    assert (
        client.post("/d/demo/text.json", json={"text": "a"}, headers={"origin": "http://evil.example"}).status_code
        == 403
    )
    assert client.post("/d/demo/text.json/", json={"text": "a"}).status_code == 403


def test_nothing_is_opened_for_writing(client, root):
    before = snapshot(root)
    asked = 0
    with writes() as found:
        for method, path in routes(client.app):
            if "{" not in path:
                client.request(method, path, json=READS.get(path, {"text": "a"}) if method == "POST" else None)
                asked += 1
        for path in ("/d/nowhere", "/d/demo/features/99", "/d/demo?sort=x", "/d/demo?search=%3C"):
            client.get(path)
    assert asked >= 8
    assert [path for path in found if path != os.devnull] == []
    assert snapshot(root) == before


def test_the_oracle_sees_writing(tmp_path):
    with writes() as found:
        (tmp_path / "a").write_text("a")
        (tmp_path / "a").unlink()
    assert len(found) == 2


def snapshot(folder: Path) -> list[tuple[str, int, int]]:
    return sorted((str(path), path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*"))
