"""What the page that steers is answered. Oracles: a tiny model of random weights under `lexiscope.steer.editing` in
this process, and the reading of `lexiscope.index.live`."""

from __future__ import annotations

import itertools
import json

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.index.live.reading import read_texts
from lexiscope.steer.editing import editing
from lexiscope.steer.interventions import Ablate, Add, Cap, Clamp, Patch, Scale
from lexiscope.web.client import Client
from lexiscope.web.pages import steer

from .serving import running
from .steering_world import DEAD, LINES, PROMPT, app_of, give, live


def by_hand(real, given, **settings):
    """The new tokens, by steer's own interface."""
    model = real.model
    tokens = torch.tensor([[model.tokenizer.bos_id, *model.tokenizer.encode(PROMPT).ids]])
    with editing(model, real.sae, given, units=real.index, error=settings.pop("error", "keep")):
        return model.generate_tokens(tokens, max_new_tokens=8, **settings)[0].tolist()


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


OTHER = "w5 a a w2"


def test_caps_patches_and_places_are_those_of_steer_itself(real, ask):
    one, other = live(real)
    patch = {"source": OTHER, "from_position": -1, "tokens": "all"}
    cases = [
        ({"turn": [f"cap:{one}:-0.5max"]}, [Cap(features=one, to="-0.5max")]),
        ({"turn": [f"patch:{one}:{OTHER}"]}, [Patch(features=one, **patch)]),
        ({"turn": ["patch:all:" + OTHER]}, [Patch(**patch)]),
        (
            {"turn": ["patch:all:" + OTHER, f"clamp:{one}:3max"], "positions": "-2:"},
            [Patch(**patch, positions="-2:"), Clamp(features=one, to="3max", positions="-2:")],
        ),
        ({"turn": [f"clamp:{one}:3max"], "positions": "1, -1"}, [Clamp(features=one, to="3max", positions=[1, -1])]),
        ({"turn": [f"clamp:{other}:4max"], "on": "prompt"}, [Clamp(features=other, to="4max", tokens="prompt")]),
        ({"turn": [f"clamp:{other}:4max"], "on": "generated"}, [Clamp(features=other, to="4max", tokens="generated")]),
    ]
    texts = set()
    for body, given in cases:
        answer = ask(temperature=1.5, seed=3, **body).json()
        new = [token["token"] for token in answer["steered"] if not token["prompt"]]
        assert new == by_hand(real, given, temperature=1.5, seed=3)
        texts.add(tuple(new))
    assert len(texts) > 4


def test_what_is_patched_is_shown_where_it_is_patched(real, ask):
    one, _ = live(real)
    [there], [here] = (read_texts(real.model, real.sae, [text], index=real.index) for text in (OTHER, PROMPT))
    last = {firing.feature: firing.activation for firing in there.tokens[-1].firings}
    for turn, named in ((f"patch:{one}:{OTHER}", [one]), (f"patch:all:{OTHER}", None)):
        answer = ask(turn=[turn], positions="-2:").json()
        prompt = [token for token in answer["steered"] if token["prompt"]]
        for place, (token, clean) in enumerate(zip(prompt, here.tokens, strict=True)):
            own = {firing.feature: firing.activation for firing in clean.firings}
            patched = place >= len(prompt) - 2
            for firing in token["firings"]:
                of = last if patched and (named is None or firing["feature"] in named) else own
                assert firing["activation"] == pytest.approx(of.get(firing["feature"], 0.0), rel=1e-3, abs=1e-5)
            if patched and named:
                assert one in [firing["feature"] for firing in token["firings"] if firing["turned"]]


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
    whole, lines = ask(turn=turn).json(), ask(LINES, turn=turn)
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
    assert dead.feature.dead
    assert dead.strength is None
    for problem, said in zip(view.problems, ["turns no feature", "no feature 99", "turned twice"], strict=True):
        assert said in problem
    assert view.found[0].feature == DEAD


def test_the_client_asks_for_both_texts_and_for_the_view(real):
    turn = [f"clamp:{live(real)[0]}:3max"]

    with running(real.root, give(real)) as port:
        client = Client(f"http://127.0.0.1:{port}")
        found = client.write("demo", PROMPT, turn=turn, tokens=8)
        assert [token.token for token in found.steered][found.prompt_tokens :] == by_hand(
            real, [Clamp(features=live(real)[0], to="3max")]
        )
        view = client.steer("demo", prompt=PROMPT, turn=[*turn, "ablate:2"])
        assert [one.written for one in view.turned] == [*turn, "ablate:2"]
        with pytest.raises(InputError, match="never fires"):
            client.write("demo", PROMPT, turn=[f"clamp:{DEAD}:2max"], tokens=8)
