"""Whom the page that steers refuses, and when it ends early. Oracles: a table of what can't be, docs/security.md, and a
count of the model's steps."""

from __future__ import annotations

import http.client
import itertools
import json
import time

import pytest
from starlette.testclient import TestClient

from lexiscope.core.errors import InputError
from lexiscope.web.client import Client

from .serving import running
from .steering_world import BASE, DEAD, LINES, PROMPT, URL, app_of


@pytest.mark.parametrize(
    ("body", "status", "said"),
    [
        ({"prompt": ""}, 422, "nothing to read"),
        ({"prompt": "\ud800"}, 422, "unicode"),
        ({"prompt": "a" * 1001}, 422, "1000"),
        ({"tokens": 0}, 422, "tokens"),
        ({"tokens": 201}, 422, "tokens"),
        ({"tokens": 30}, 422, "positions"),
        ({"temperature": -1}, 422, "temperature"),
        ({"seed": 2**31}, 422, "seed"),
        ({"error": "lose"}, 422, "keep"),
        ({"colour": "red"}, 422, "colour"),
        ({"turn": ["clamp:1:1max"] * 13}, 422, "turn"),
        ({"turn": ["clamp:1:1max", "ablate:1"]}, 422, "turned twice"),
        ({"turn": ["clamp:24:1max"]}, 404, "features 0 to 23"),
        ({"turn": [f"clamp:{DEAD}:1max"]}, 422, "never fires"),
        ({"turn": ["clamp:1"]}, 422, "no strength"),
        ({"turn": ["clamp:1:nan"]}, 422, "no strength"),
        ({"turn": ["clamp:1:1e9max"]}, 422, "too strong"),
        ({"turn": ["clamp:1:1e999"]}, 422, "finite"),
        ({"turn": ["scale:1:2max"]}, 422, "plain factor"),
        ({"turn": ["ablate:1:2"]}, 422, "no strength"),
        ({"turn": ["explode:1:2"]}, 422, "turns no feature"),
        ({"turn": ["clamp:-1:2"]}, 422, "turns no feature"),
        ({"turn": ["<script>alert(1)</script>"]}, 422, "turns no feature"),
        ({"turn": ["clamp:\u0661:2max"]}, 422, "turns no feature"),
        ({"turn": ["cap:1:1e9max"]}, 422, "too strong"),
        ({"turn": ["cap:1"]}, 422, "no strength"),
        ({"turn": [f"cap:{DEAD}:1max"]}, 422, "never fires"),
        ({"turn": ["patch:1"]}, 422, "no prompt to patch from"),
        ({"turn": ["patch:all: "]}, 422, "no prompt to patch from"),
        ({"turn": ["patch:1:" + "a" * 301]}, 422, "at most 300"),
        ({"turn": ["patch:1:" + "a" * 999]}, 422, "turn"),
        ({"turn": ["patch:all:" + "w " * 60]}, 422, "positions for"),
        ({"turn": ["patch:24:w1"]}, 404, "features 0 to 23"),
        ({"turn": ["clamp:all:1max"]}, 422, "only patching"),
        ({"turn": ["patch:all:w1", "patch:all:w2"]}, 422, "all features are turned twice"),
        ({"on": "some"}, 422, "generated"),
        ({"positions": "a"}, 422, "neither a slice"),
        ({"positions": "1:2:3"}, 422, "neither a slice"),
        ({"positions": "1,,2"}, 422, "neither a slice"),
        ({"positions": "-99", "turn": ["clamp:1:2"]}, 422, "no position -99"),
        ({"edit": "../demo"}, 404, "no edit"),
        ({"edit": "demo/sae"}, 404, "no edit"),
    ],
)
def test_what_can_not_be_is_refused_in_a_sentence(ask, body, status, said):
    for url in (URL, LINES):
        answer = ask(url, **body)
        assert answer.status_code == status
        assert said in answer.json()["error"]


def test_what_goes_wrong_later_is_the_last_line(real, monkeypatch):
    steps = real.model.stream_tokens

    def break_off(*given, **named):
        yield from itertools.islice(steps(*given, **named), 2)
        raise InputError("the model has had enough")

    monkeypatch.setattr(real.model, "stream_tokens", break_off)
    client = TestClient(app_of(real), base_url=BASE)
    for _ in range(2):  # and the next one may write
        answer = client.post(LINES, json={"prompt": PROMPT, "tokens": 8})
        *tokens, last = [json.loads(line) for line in answer.text.splitlines()]
        assert tokens
        assert last == {"kind": "problem", "error": "the model has had enough."}


def test_the_guard_stands_before_it(app):
    client = TestClient(app, base_url=BASE)
    for url in (URL, LINES):
        body = json.dumps({"prompt": "def f", "tokens": 2})

        def post(url=url, body=body, **headers):
            sent = {"content-type": "application/json"} | {
                name.replace("_", "-"): value for name, value in headers.items()
            }
            return client.post(url, content=body, headers=sent)

        assert post(origin=BASE, sec_fetch_site="same-origin").status_code == 200
        assert post().status_code == 200
        assert post(origin="http://evil.example").status_code == 403
        assert post(sec_fetch_site="cross-site").status_code == 403
        assert post(sec_fetch_site="none").status_code == 403
        assert post(host="evil.example").status_code == 400
        assert post(content_type="text/plain").status_code == 415
        assert post(body=json.dumps({"prompt": "a" * 70_000})).status_code == 413
        assert client.get(url).status_code == 405
        for answer in (post(), post(origin="http://evil.example")):
            assert "default-src 'none'" in answer.headers["content-security-policy"]
        assert post(origin="http://evil.example").json()["error"].endswith("not answered.")


def test_nothing_is_written_on_for_somebody_who_has_left(root, give_model):
    """A reader closes the connection after the first lines: the model stops, and the next one may write at once."""
    steps = []

    def prepare(app):
        give_model(app)
        model, _ = app.state.library.dictionary("demo").reader.__dict__["_parts"]
        write = model.stream_tokens

        def slowly(*given, **named):
            for step in write(*given, **named):
                steps.append(time.sleep(0.02))
                yield step

        model.stream_tokens = slowly

    with running(root, prepare) as port:
        for _ in range(3):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            body = json.dumps({"prompt": "def f(x):", "tokens": 200})
            connection.request("POST", LINES, body, {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert json.loads(answer.readline())["run"] == "default"
            answer.close()
            connection.close()
        found = Client(f"http://127.0.0.1:{port}").write("demo", "def f(x):", tokens=2)
        assert len(found.default) == found.prompt_tokens + 2
        before = len(steps)
        time.sleep(0.2)
        assert len(steps) == before
    assert before < 300  # of 1200
