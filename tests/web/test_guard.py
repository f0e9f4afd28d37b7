"""Oracle: the list of requests a browser makes for another site, each of which must be refused."""

from __future__ import annotations

import pytest
from starlette.testclient import TestClient

BASE = "http://127.0.0.1:8765"
TEXT = "/d/demo/text.json"


@pytest.fixture
def client(app):
    return TestClient(app, base_url=BASE)


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "127.0.0.1",
        "127.0.0.1:80",
        "127.0.0.1:8765.evil.example",
        "localhost:8765:1",
        "0.0.0.0:8765",
        "",
    ],
)
def test_another_host_is_refused(client, host):
    assert client.get("/", headers={"host": host}).status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1:8765", "localhost:8765"])
def test_this_host_is_answered(client, host):
    assert client.get("/", headers={"host": host}).status_code == 200


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


def test_posts_from_its_own_pages_and_from_scripts_are_answered(client):
    own = {"origin": BASE, "sec-fetch-site": "same-origin"}
    assert client.post(TEXT, json={"text": "a"}, headers=own).status_code == 200
    assert client.post(TEXT, json={"text": "a"}).status_code == 200


def test_forms_big_bodies_and_other_methods_are_refused(client):
    assert client.post(TEXT, data={"text": "a"}).status_code == 415
    assert client.post(TEXT, json={"text": "x" * 70_000}).status_code == 413
    chunked = client.post(TEXT, content=iter([b"{}"]), headers={"content-type": "application/json"})
    assert chunked.status_code == 411
    assert client.delete(TEXT).status_code == 405
    assert client.options(TEXT, headers={"origin": "http://evil.example"}).status_code == 405


@pytest.mark.parametrize("path", ["/", "/d/demo", "/d/demo.json", "/d/nowhere", "/static/style.css", "/static/none"])
def test_every_answer_carries_the_policy(client, path):
    headers = client.get(path).headers
    policy = dict(part.strip().split(" ", 1) for part in headers["content-security-policy"].split(";"))
    assert policy["default-src"] == "'none'"
    assert "unsafe" not in headers["content-security-policy"]
    assert policy["script-src"] == policy["style-src"] == policy["connect-src"] == "'self'"
    assert headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in headers
