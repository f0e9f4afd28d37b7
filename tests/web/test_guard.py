"""Oracles: the list of requests a browser makes for another site, each one to be refused, and raw ASGI messages."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from starlette.testclient import TestClient

from lexiscope.web.app import create_app
from lexiscope.web.security import guard
from lexiscope.web.security.access import Access
from lexiscope.web.security.guard import MAX_BODY_BYTES, Guard

BASE = "http://127.0.0.1:8765"
TEXT = "/d/demo/text.json"
JSON = {"content-type": "application/json"}


@pytest.fixture
def client(app):
    return TestClient(app, base_url=BASE)


def lookalikes() -> list[str]:
    """Names that lead to this machine, or look as if: what a site sends that had its own name point here."""
    own = ["127.0.0.1:8765", "localhost:8765", "127.0.0.1", "localhost"]
    around = [
        template.format(name, name.split(":")[0])
        for name in own
        for template in (
            "{0}.evil.example", "evil.example:{0}", "{1}.evil.example:8765", "evil-{1}:8765", "{1}.:8765", "{1}:08765",
            "{1}:8765:1", "{1}:8765.", "x@{1}:8765", "{1}:8765@evil.example", "{1}:8765#.evil.example", "[{1}]:8765",
            "{1}:8766", "{1}:80", "{1}:443", "{1}:", "{1}%00:8765", "{1}:8765,evil.example", "{1}:8765/", "{1}\\:8765",
            "evil.example.{1}:8765", "{1}evil:8765", "www.{1}:8765", "{1}..:8765", "http://{1}:8765", "//{1}:8765",
            "{1}:8765?x", "{1}:8765;evil.example", "{1} :8765", "{1}: 8765", "{1}:+8765", "{1}:8765\t", "{1}%2e:8765",
        )
    ]  # fmt: skip
    numbers = ["127.1", "127.0.1", "2130706433", "0x7f000001", "0x7f.0.0.1", "0177.0.0.1", "017700000001", "127.0.0.01"]
    numbers += [
        "127.0.0.2",
        "0.0.0.0",
        "0",
        "[::1]",
        "[::]",
        "[::ffff:127.0.0.1]",
        "[::ffff:7f00:1]",
        "[0:0:0:0:0:0:0:1]",
    ]
    names = ["LOCALHOST", "Localhost", "localhost.localdomain", "ip6-localhost", "evil.example", "127.0.0.1.nip.io"]
    names += [
        "localtest.me",
        "lvh.me",
        "xn--lcalhost-54a",
        "local host",
        "*",
        "null",
        "loca1host",
        "127-0-0-1.sslip.io",
    ]
    return sorted(
        {*around, *(f"{name}:8765" for name in [*numbers, *names]), ""} - {"127.0.0.1:8765", "localhost:8765"}
    )


@pytest.mark.parametrize("host", lookalikes())
def test_another_host_is_refused(client, host):
    assert client.get("/", headers={"host": host}).status_code == 400


def test_a_hundred_hosts_were_tried():
    assert len(lookalikes()) >= 100


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765"])
def test_this_host_is_answered(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize("hosts", [[], ["127.0.0.1:8765", "evil.example"], ["127.0.0.1:8765", "127.0.0.1:8765"]])
def test_one_host_is_named(hosts):
    assert exchange([("host", host) for host in hosts])[0]["status"] == 400


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "http://evil.example"},
        {"origin": "null"},
        {"origin": "https://127.0.0.1:8765"},
        {"origin": "http://127.0.0.1:8766"},
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
        {"sec-fetch-site": "none"},
    ],
)
def test_posts_from_other_sites_are_refused(client, headers):
    assert client.post(TEXT, json={"text": "a"}, headers=headers).status_code == 403


@pytest.mark.parametrize("dest", ["image", "iframe", "script", "empty", "object", "style"])
def test_other_sites_can_link_to_a_page_and_nothing_else(client, dest):
    """An image or a frame of it would be answered by making the page; how long that takes is somebody's secret, too."""
    link = {"sec-fetch-site": "cross-site", "sec-fetch-mode": "navigate", "sec-fetch-dest": "document"}
    assert client.get("/d/demo", headers=link).status_code == 200
    assert client.get("/d/demo", headers=link | {"sec-fetch-dest": dest}).status_code == 403
    assert (
        client.get("/d/demo", headers=link | {"sec-fetch-mode": "no-cors", "sec-fetch-dest": dest}).status_code == 403
    )


def test_posts_from_its_own_pages_and_from_scripts_are_answered(client):
    own = {"origin": BASE, "sec-fetch-site": "same-origin"}
    assert client.post(TEXT, json={"text": "a"}, headers=own).status_code == 200
    assert client.post(TEXT, json={"text": "a"}).status_code == 200


def test_forms_big_bodies_and_other_methods_are_refused(client):
    assert client.post(TEXT, data={"text": "a"}).status_code == 415
    assert client.post(TEXT, json={"text": "x" * 70_000}).status_code == 413
    assert client.post(TEXT, content=iter([b'{"text": ', b'"a"}']), headers=JSON).status_code == 200
    assert client.post(TEXT, content=iter([b" " * 1000] * 70), headers=JSON).status_code == 413
    assert client.request("GET", "/", content=b"x").status_code == 400
    for method in ("OPTIONS", "TRACE", "CONNECT", "PROPFIND", "BREW"):
        refused = client.request(method, TEXT, headers={"origin": BASE})
        assert refused.status_code == 405
        assert set(refused.headers["allow"].split(", ")) == {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"}
    assert client.delete(TEXT).status_code == 415
    assert client.request("DELETE", TEXT, headers=JSON).status_code == 405


def test_long_addresses_and_many_headers_are_refused(client):
    assert client.get("/?" + "x" * 5000).status_code == 414
    assert client.get("/", headers={f"x-{number}": "1" for number in range(70)}).status_code == 431
    assert client.get("/", headers={"x-long": "x" * 17_000}).status_code == 431


@pytest.mark.parametrize(
    "path",
    ["/", "/d/demo", "/d/demo.json", "/d/nowhere", "/d/nowhere.json", "/static/style.css", "/static/none", "/login"],
)
def test_every_answer_carries_the_policy(client, path):
    holds_the_policy(client.get(path).headers)


def test_refusals_carry_the_policy(client):
    for answer in (
        client.get("/", headers={"host": "evil.example"}),
        client.post(TEXT, json={"text": "a"}, headers={"origin": "null"}),
        client.post(TEXT, data={"text": "a"}),
        client.post(TEXT, json={"text": "x" * 70_000}),
        client.options("/"),
        client.post("/d/demo", json={}),
    ):
        assert answer.status_code >= 400
        holds_the_policy(answer.headers)


def holds_the_policy(headers):
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == policy["base-uri"] == policy["frame-ancestors"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert not [name for name in headers if name.startswith("access-control-")]


def test_head_is_get_without_a_body(client):
    answer = client.head("/d/demo")
    assert answer.status_code == 200
    assert answer.content == b""


def test_a_crash_is_one_sentence_with_the_policy(root, caplog):
    app = create_app(root)
    app.add_api_route("/crash", lambda: 1 / 0)
    app.add_api_route("/crash.json", lambda: 1 / 0)
    client = TestClient(app, base_url=BASE)
    for path in ("/crash", "/crash.json"):
        answer = client.get(path, headers={"authorization": "Bearer not-to-be-logged"})
        assert answer.status_code == 500
        assert "ZeroDivision" not in answer.text
        holds_the_policy(answer.headers)
    assert "ZeroDivisionError" in caplog.text
    assert "not-to-be-logged" not in caplog.text


def test_a_body_that_does_not_come_is_not_waited_for(monkeypatch):
    monkeypatch.setattr(guard, "BODY_SECONDS", 0.05)
    sent = exchange([("host", "127.0.0.1:8765"), ("content-type", "application/json")], method="POST", body=[b"{"])
    assert sent[0]["status"] == 408
    assert (b"connection", b"close") in sent[0]["headers"]


def test_a_body_that_ends_too_early_reaches_nobody():
    headers = [("host", "127.0.0.1:8765"), ("content-type", "application/json")]
    assert exchange(headers, method="POST", body=[b'{"text": "a"}', None]) == []


def test_a_body_without_an_end_is_cut_at_the_limit():
    asked = []

    def pieces():
        while True:
            asked.append(1)
            yield b"x" * 1024

    sent = exchange([("host", "127.0.0.1:8765"), ("content-type", "application/json")], method="POST", body=pieces())
    assert sent[0]["status"] == 413
    assert len(asked) == MAX_BODY_BYTES // 1024 + 1


def exchange(headers: list[tuple[str, str]], *, method: str = "GET", body: Any = ()) -> list[dict[str, Any]]:
    """What a guard sends, asked with raw messages. A body of None is the other side going away; the app must not be
    reached with half a body."""
    sent: list[dict[str, Any]] = []
    pieces = iter(body)

    async def receive() -> dict[str, Any]:
        try:
            piece = next(pieces)
        except StopIteration:
            await asyncio.sleep(60)
        return {"type": "http.request", "body": piece, "more_body": True} if piece else {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        sent.append(message)

    async def app(scope: Any, receive: Any, send: Any) -> None:
        raise AssertionError

    scope = {"type": "http", "method": method, "path": "/", "raw_path": b"/", "query_string": b"", "client": ("::1", 1)}
    raw = [(name.encode(), value.encode()) for name, value in headers]
    asyncio.run(Guard(app, Access.at(port=8765))({**scope, "headers": raw}, receive, send))
    return sent
