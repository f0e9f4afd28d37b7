"""Oracles: what a browser does with a cookie, a clock of our own, and a count of every comparison."""

from __future__ import annotations

import hmac
from urllib.parse import urlsplit

import pytest
from starlette.datastructures import Headers
from starlette.testclient import TestClient

from lexiscope.web.app import create_app
from lexiscope.web.security import login
from lexiscope.web.security.access import Access
from lexiscope.web.security.login import MOST_FAILURES, Door, Known

TOKEN = "k7Qb2wXz9LmN4pRs8TvY3hJd6FgC1aEu5"
BASE = "http://127.0.0.1:8765"
BEARER = {"authorization": f"Bearer {TOKEN}"}


@pytest.fixture
def access():
    return Access.at(port=8765, token=TOKEN)


@pytest.fixture
def client(root, access):
    return TestClient(create_app(root, access=access), base_url=BASE)


@pytest.fixture
def link(access):
    return access.link(f"{BASE}/").removeprefix(BASE)


@pytest.mark.parametrize("path", ["/", "/d/demo.json", "/static/style.css", "/openapi.json", "/nothing", "/login/x"])
def test_without_the_token_nothing_is_answered(client, path):
    refused = client.get(path)
    assert refused.status_code == 401
    assert refused.headers["www-authenticate"] == "Bearer"
    assert "demo" not in refused.text
    assert client.get(path, headers={"authorization": "Bearer " + "x" * 33}).status_code == 401


def test_programs_send_the_token(client):
    assert client.get("/d/demo.json", headers=BEARER).status_code == 200
    assert client.get("/d/demo.json", headers={"authorization": f"bearer  {TOKEN}"}).status_code == 200
    assert not client.cookies


@pytest.mark.parametrize(
    "value", ["", "Bearer", "Bearer ", f"Basic {TOKEN}", TOKEN, f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}",
              f"Bearer {TOKEN.lower()}", f"Bearer {TOKEN} {TOKEN}", f"Bearer\u00a0{TOKEN}", "Bearer é"],
)  # fmt: skip
def test_what_is_not_the_token_is_refused(access, value):
    assert access.door.knows(Headers({"authorization": value}), "1.1.1.1") is Known.NOBODY


def test_two_authorizations_are_none(access):
    raw = [(b"authorization", f"Bearer {TOKEN}".encode())] * 2
    assert access.door.knows(Headers(raw=raw), "1.1.1.1") is Known.NOBODY


def test_the_link_signs_a_browser_in_once(client, link, root, access):
    answer = client.get(link)
    assert answer.status_code == 200
    assert "location" not in answer.headers
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Path=/" in cookie
    assert "Domain" not in cookie
    assert "Max-Age" not in cookie
    assert TOKEN not in cookie
    assert access.door.code not in cookie
    assert answer.headers["cache-control"] == "no-store"
    assert client.get("/d/demo").status_code == 200
    other = TestClient(client.app, base_url=BASE)
    assert other.get(link).status_code == 403  # spent
    assert other.get("/").status_code == 401
    assert client.get(link).status_code == 200  # whoever is in stays in


def test_behind_https_the_cookie_is_for_https(root):
    access = Access.at(port=8765, token=TOKEN, allow_hosts=["https://lab.example"])
    client = TestClient(create_app(root, access=access), base_url="https://lab.example")
    assert "Secure" in client.get(f"/login?code={access.door.code}").headers["set-cookie"]


@pytest.mark.parametrize("headers", [{"sec-purpose": "prefetch"}, {"purpose": "prefetch"}, {"x-moz": "prefetch"}])
def test_fetching_ahead_does_not_spend_the_link(client, link, headers):
    assert client.get(link, headers=headers).status_code == 403
    assert client.head(link).status_code == 401
    assert client.post(link, json={}).status_code == 401
    assert client.get(link, headers={"sec-fetch-site": "cross-site", "sec-fetch-mode": "no-cors"}).status_code == 403
    assert client.get(link).status_code == 200


@pytest.mark.parametrize("code", ["", "?code=", "?code=x", "?kode=x", "?" + "&".join(["code=x"] * 20), "?code=%ff"])
def test_other_links_do_not_sign_in(client, link, code):
    refused = client.get(f"/login{code}")
    assert refused.status_code == 403
    assert "set-cookie" not in refused.headers


@pytest.mark.parametrize("value", ["x", "", "x" * 5000, "=;=", "é"])
def test_other_cookies_are_nobody_s(client, link, access, value):
    assert client.get(link).status_code == 200
    own = client.cookies[access.door.cookie]
    client.cookies.clear()
    raw = f"{access.door.cookie}={value}".encode()
    assert client.get("/", headers={"cookie": raw}).status_code == 401
    assert client.get("/", headers={"cookie": raw + f"; {access.door.cookie}={own}".encode()}).status_code == 200


def test_with_the_cookie_a_change_says_where_it_comes_from(client, link):
    client.get(link)
    path, body = "/d/demo/text.json", {"text": ""}
    assert client.post(path, json=body).status_code == 403
    assert client.post(path, json=body, headers={"origin": BASE}).status_code == 422
    assert client.post(path, json=body, headers={"sec-fetch-site": "same-origin"}).status_code == 422
    assert client.post(path, json=body, headers=BEARER).status_code == 422


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_whoever_is_wrong_too_often_has_to_wait():
    clock = Clock()
    door = Door(TOKEN, 1, clock)
    wrong, right = Headers({"authorization": "Bearer x"}), Headers({"authorization": f"Bearer {TOKEN}"})
    assert [door.knows(wrong, "1.1.1.1") for _ in range(MOST_FAILURES)] == [Known.NOBODY] * MOST_FAILURES
    assert door.knows(wrong, "1.1.1.1") is Known.TOO_OFTEN
    assert door.knows(right, "1.1.1.1") is Known.TOO_OFTEN  # or trying on would tell
    assert door.sign_in(f"code={door.code}".encode(), "1.1.1.1") is None
    assert door.knows(right, "1.1.1.2") is Known.SCRIPT
    clock.now += door.wait("1.1.1.1")
    assert door.knows(right, "1.1.1.1") is Known.SCRIPT
    clock.now += 3600
    tried = 0
    while door.knows(wrong, "1.1.1.1") is Known.NOBODY:
        tried += 1
    assert tried == MOST_FAILURES


def test_attempts_per_day_are_few():
    """However often somebody asks: in one day, some fourteen thousand of 2^128 or more."""
    clock = Clock()
    door = Door(TOKEN, 1, clock)
    counted = 0
    for _ in range(86_400):
        clock.now += 1
        counted += door.knows(Headers({"authorization": "Bearer x"}), "1.1.1.1") is Known.NOBODY
    assert counted <= 86_400 / 6 + MOST_FAILURES


def test_neighbours_in_ipv6_are_one(access):
    door, wrong = access.door, Headers({"authorization": "Bearer x"})
    for number in range(MOST_FAILURES):
        door.knows(wrong, f"2001:db8:0:1::{number:x}")
    assert door.knows(wrong, "2001:db8:0:1:ffff::1") is Known.TOO_OFTEN
    assert door.knows(wrong, "2001:db8:0:2::1") is Known.NOBODY


def test_many_addresses_are_not_remembered_for_ever(access):
    for number in range(10_000):
        access.door.knows(
            Headers({"authorization": "Bearer x"}), f"10.{number >> 16}.{number >> 8 & 255}.{number & 255}"
        )
    assert len(access.door._failures._empty_at) <= 4096


def test_a_stale_cookie_is_no_attempt(client, link, access):
    """A browser that was signed in before a restart asks for a page and all of its files."""
    for _ in range(50):
        assert client.get("/", headers={"cookie": f"{access.door.cookie}=stale"}).status_code == 401
    assert client.get(link).status_code == 200


def test_too_many_attempts_are_told_how_long_to_wait(client, link):
    for _ in range(MOST_FAILURES):
        client.get("/", headers={"authorization": "Bearer x"})
    refused = client.get("/", headers={"authorization": "Bearer x"})
    assert refused.status_code == 429
    assert 0 < int(refused.headers["retry-after"]) <= 6
    assert client.get(link).status_code == 429


def test_every_attempt_costs_the_same(monkeypatch):
    """As many comparisons, of as many bytes, whatever is presented."""
    compared: list[tuple[int, int]] = []
    compare = hmac.compare_digest
    monkeypatch.setattr(login.hmac, "compare_digest", lambda a, b: compared.append((len(a), len(b))) or compare(a, b))
    door, costs = Door(TOKEN, 1), set()
    for number, value in enumerate(
        ["", "Bearer x", f"Bearer {TOKEN}", f"Bearer {TOKEN[:-1]}", "é", "Bearer " + "x" * 900]
    ):
        compared.clear()
        door.knows(Headers({"authorization": value, "cookie": f"{door.cookie}={value}"}), str(number))
        costs.add(tuple(compared))
    assert costs == {((32, 32), (32, 32))}
    compared.clear()
    door.sign_in(b"code=x", "1")
    door.sign_in(b"", "1")
    door.sign_in(f"code={door.code}".encode(), "1")
    assert compared == [(32, 32)] * 3


def test_pages_never_hold_the_token(client, link, access):
    client.get(link)
    secrets = [TOKEN, access.door.code, client.cookies[access.door.cookie]]
    for path in (
        "/",
        "/d/demo",
        "/d/demo.json",
        "/openapi.json",
        "/nothing",
        f"/nothing?code={access.door.code}",
        "/login",
    ):
        answer = client.get(path, headers={"referer": f"{BASE}{link}"})
        for secret in secrets:
            assert secret not in answer.text
            assert secret not in str(answer.headers)
        assert answer.headers["referrer-policy"] == "no-referrer"
    assert urlsplit(link).path == "/login"
