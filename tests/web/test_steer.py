"""What the page that steers is answered. Oracles: a tiny model of random weights under `lexiscope.steer.editing` in
this process, the reading of `lexiscope.index.live`, and the table of what is refused."""

from __future__ import annotations

import itertools
import json
import sys
import time
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from starlette.testclient import TestClient
from tests.lm.conftest import tiny, tiny_folder  # noqa: F401

from lexiscope import saes
from lexiscope.core.artifact import open_artifact
from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.documents import DocumentInfo
from lexiscope.harvest.store import StoreChunk
from lexiscope.index.build import build_index
from lexiscope.index.live.reading import read_texts
from lexiscope.saes import Batch
from lexiscope.steer.editing import editing
from lexiscope.steer.interventions import Ablate, Add, Clamp, Scale
from lexiscope.web import reader
from lexiscope.web.app import create_app
from lexiscope.web.client import Client
from lexiscope.web.pages import steer

from .serving import running

worlds = sys.modules["index_world"]
BASE = "http://127.0.0.1:8765"
HOOK = HookPoint("resid_post", 1)
DEAD = 3
PROMPT = "a w3 b c w7"
URL = "/d/demo/steered.json"


class Store(worlds.Store):
    """What a real model has at one place."""

    def __init__(self, said, model, x_TD, folder):
        super().__init__(said, folder)
        self.hooks, self._model, self._x_TD = [HOOK], model, x_TD

    def width(self, hook):
        return self._x_TD.shape[1]

    def check_model(self, model):
        assert model is self._model

    def chunks(self, hook, *, chunk_tokens=100, start=0):
        for first in range(start, self.num_tokens, chunk_tokens):
            yield StoreChunk(first, self._x_TD[first : first + chunk_tokens])


@pytest.fixture(scope="module")
def real(tiny, tmp_path_factory):  # noqa: F811
    """A tiny model, a dictionary of it in which one feature is dead, their index, and the folder that it is in."""
    model, root = tiny("llama"), tmp_path_factory.mktemp("real")
    tokens_BC = torch.randint(3, model.vocab_size, (40, 12), generator=torch.Generator().manual_seed(7))
    x_TD = model.read(tokens_BC, [HOOK])[HOOK].flatten(0, 1).float()
    sae = saes.create(saes.relu_l1.Config(num_latents=24), Batch.same(x_TD), seed=1)
    with torch.no_grad():
        sae.b_enc_F[DEAD] = -1e6
    sae.hook = HOOK
    with write_artifact(root / "demo" / "sae", "sae", config={"sae": {"architecture": "relu_l1"}}) as draft:
        (draft.path / "sae.safetensors").write_bytes(b"weights")
    sae.artifact = open_artifact(root / "demo" / "sae", "sae")
    rows = np.arange(tokens_BC.numel())
    said = SimpleNamespace(
        tokens_T=tokens_BC.flatten().numpy().astype(np.int32),
        documents_T=(rows // 12).astype(np.int32),
        positions_T=(rows % 12).astype(np.int32),
        contexts_T=(rows // 12).astype(np.int32),
        documents=[DocumentInfo(str(number), "text", "none", 0, heldout=False) for number in range(40)],
    )
    index = build_index(sae, model, Store(said, model, x_TD, root / "demo" / "store"), out=root / "demo" / "index")
    return SimpleNamespace(model=model, sae=sae, index=index, root=root)


def app_of(real):
    app = create_app(real.root)
    app.state.library.dictionary("demo").reader.__dict__["_parts"] = (real.model, real.sae)
    return app


@pytest.fixture
def ask(real):
    client = TestClient(app_of(real), base_url=BASE)

    def ask(url=URL, **body):
        content = json.dumps({"prompt": PROMPT, "tokens": 8, **body})
        return client.post(url, content=content, headers={"content-type": "application/json"})

    return ask


def by_hand(real, given, **settings):
    """The new tokens, by steer's own interface."""
    model = real.model
    tokens = torch.tensor([[model.tokenizer.bos_id, *model.tokenizer.encode(PROMPT).ids]])
    with editing(model, real.sae, given, units=real.index, error=settings.pop("error", "keep")):
        return model.generate_tokens(tokens, max_new_tokens=8, **settings)[0].tolist()


def live(real):
    """Two features that fire on the prompt's last tokens."""
    [reading] = read_texts(real.model, real.sae, [PROMPT], index=real.index)
    return [firing.feature for firing in reading.tokens[-1].firings[:2]]


@pytest.mark.parametrize("error", ["keep", "drop"])
@pytest.mark.parametrize(("temperature", "seed"), [(0, 0), (1.5, 1), (1.5, 2)])
def test_tokens_are_those_of_steer_itself(real, ask, temperature, seed, error):
    one, other = live(real)
    settings = {"temperature": temperature, "seed": seed}
    cases = {
        (f"clamp:{one}:3max",): [Clamp(features=one, to="3max")],
        (f"add:{one}:-2mean", f"scale:{other}:4"): [Add(features=one, by="-2mean"), Scale(features=other, by=4)],
        (f"ablate:{one}", f"clamp:{other}:1q0.5"): [Ablate(features=one), Clamp(features=other, to="1q0.5")],
    }
    parted = 0
    for turn, given in cases.items():
        answer = ask(turn=list(turn), error=error, **settings).json()
        new = {run: [token["token"] for token in answer[run] if not token["prompt"]] for run in ("default", "steered")}
        assert new["default"] == by_hand(real, [], **settings)
        assert new["steered"] == by_hand(real, given, error=error, **settings)
        length = answer["prompt_tokens"]
        different = [
            place for place, (mine, theirs) in enumerate(itertools.zip_longest(*new.values())) if mine != theirs
        ]
        assert answer["differ_at"] == (length + different[0] if different else None)
        parted += bool(different)
    assert parted


def test_features_are_those_that_reading_finds_and_what_they_are_turned_to(real, ask):
    one, other = live(real)
    answer = ask(turn=[f"clamp:{one}:2max", f"scale:{other}:0.5"]).json()
    text = PROMPT + "".join(f" {token['shown'].strip()}" for token in answer["default"] if not token["prompt"])
    [reading] = read_texts(real.model, real.sae, [text], index=real.index)
    assert len(reading.tokens) == len(answer["default"])
    for token, read in zip(answer["default"], reading.tokens, strict=True):
        truth = {firing.feature: firing.activation for firing in read.firings}
        found = {firing["feature"]: firing["activation"] for firing in token["firings"]}
        assert found == pytest.approx({feature: truth[feature] for feature in found}, rel=1e-3)
        assert len(found) >= min(6, len(truth))
        assert set(found) >= {one, other} & set(truth)
    most = real.index.summaries([one])[one].max_activation
    [clean] = read_texts(real.model, real.sae, [PROMPT], index=real.index)
    for token, read in zip(answer["steered"], clean.tokens, strict=False):
        found = {firing["feature"]: firing for firing in token["firings"]}
        assert found[one]["activation"] == pytest.approx(2 * most, rel=1e-3)
        assert found[one]["turned"]
        for firing in read.firings:
            if firing.feature == other:
                assert found[other]["activation"] == pytest.approx(0.5 * firing.activation, rel=1e-3)


def test_lines_say_the_same_as_they_come(real, ask):
    turn = [f"clamp:{live(real)[0]}:3max"]
    whole, lines = ask(turn=turn).json(), ask("/d/demo/steered.ndjson", turn=turn)
    assert lines.headers["content-type"].startswith("application/x-ndjson")
    *tokens, end = [json.loads(line) for line in lines.text.splitlines()]
    for run in ("default", "steered"):
        assert [token for token in tokens if token["run"] == run] == whole[run]
    assert end == {"kind": "end", "differ_at": whole["differ_at"], "ended": whole["ended"]}
    new = [token["run"] for token in tokens if not token["prompt"]]
    assert new[:4] == ["default", "steered"] * 2


@pytest.mark.parametrize("turn", [[], ["clamp:{}:0max"], ["add:{}:0"], ["scale:{}:1"]])
def test_a_slider_that_is_off_changes_nothing(real, ask, turn):
    answer = ask(turn=[one.format(live(real)[0]) for one in turn], temperature=1, seed=5).json()
    assert answer["differ_at"] is None
    assert [token["token"] for token in answer["default"]] == [token["token"] for token in answer["steered"]]


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
    ],
)
def test_what_can_not_be_is_refused_in_a_sentence(ask, body, status, said):
    for url in (URL, "/d/demo/steered.ndjson"):
        answer = ask(url, **body)
        assert answer.status_code == status
        assert said in answer.json()["error"]


def test_the_address_of_a_view_says_what_of_it_can_not_be(real):
    turn = [
        "clamp:5:1mean",
        "add:6:-0.5max",
        f"clamp:{DEAD}:1max",
        "scale:7:2",
        "ablate:8",
        "foo",
        "clamp:99:1max",
        "ablate:5",
    ]
    view = steer.read(app_of(real).state.library, "demo", turn=turn, find=f"#{DEAD}")
    assert [one.written for one in view.turned] == turn[:5]
    mean, half, dead, twice, silent = view.turned
    summary = real.index.summaries([5])[5]
    assert mean.strength == pytest.approx(summary.mean_activation / summary.max_activation, rel=1e-3)
    assert (half.strength, twice.strength, silent.strength) == (-0.5, 2, None)
    assert dead.dead
    assert dead.strength is None
    for problem, said in zip(view.problems, ["turns no feature", "no feature 99", "turned twice"], strict=True):
        assert said in problem
    assert view.found[0].feature == DEAD


def test_one_text_at_a_time_and_a_sentence_for_those_who_wait_too_long(real, monkeypatch):
    monkeypatch.setattr(reader, "WRITING_SECONDS", 0.05)
    app = app_of(real)
    client = TestClient(app, base_url=BASE)
    body = {"prompt": PROMPT, "tokens": 3}
    with app.state.library.dictionary("demo").reader.writing():
        for url in (URL, "/d/demo/steered.ndjson"):
            answer = client.post(url, json=body)
            assert answer.status_code == 409
            assert "somebody else" in answer.json()["error"]
        assert client.post("/d/demo/text.json", json={"text": PROMPT}).status_code == 200
    assert client.post(URL, json=body).status_code == 200


def test_what_goes_wrong_later_is_the_last_line(real, monkeypatch):
    steps = real.model.stream_tokens

    def break_off(*given, **named):
        yield from itertools.islice(steps(*given, **named), 2)
        raise InputError("the model has had enough")

    monkeypatch.setattr(real.model, "stream_tokens", break_off)
    client = TestClient(app_of(real), base_url=BASE)
    for _ in range(2):  # and the next one may write
        answer = client.post("/d/demo/steered.ndjson", json={"prompt": PROMPT, "tokens": 8})
        *tokens, last = [json.loads(line) for line in answer.text.splitlines()]
        assert tokens
        assert last == {"kind": "problem", "error": "the model has had enough."}


def test_the_guard_stands_before_it(app):
    client = TestClient(app, base_url=BASE)
    for url in (URL, "/d/demo/steered.ndjson"):
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


def test_the_client_asks_for_both_texts_and_for_the_view(real):
    turn = [f"clamp:{live(real)[0]}:3max"]

    def give(app):
        app.state.library.dictionary("demo").reader.__dict__["_parts"] = (real.model, real.sae)

    with running(real.root, give) as port:
        client = Client(f"http://127.0.0.1:{port}")
        found = client.write("demo", PROMPT, turn=turn, tokens=8)
        assert [token.token for token in found.steered][found.prompt_tokens :] == by_hand(
            real, [Clamp(features=live(real)[0], to="3max")]
        )
        view = client.steer("demo", prompt=PROMPT, turn=[*turn, "ablate:2"])
        assert [one.written for one in view.turned] == [*turn, "ablate:2"]
        with pytest.raises(InputError, match="never fires"):
            client.write("demo", PROMPT, turn=[f"clamp:{DEAD}:2max"], tokens=8)


def test_nothing_is_written_on_for_somebody_who_has_left(root, give_model):
    """A reader closes the connection after the first lines: the model stops, and the next one may write at once."""
    import http.client

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
            connection.request("POST", "/d/demo/steered.ndjson", body, {"Content-Type": "application/json"})
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
