"""Text made to run, on every page, in Chromium. Oracles: the browser, which would run it, say that its policy forbade
it or ask another host; and what may be in a page of ours at all.

Tokens, ids and kinds of documents, licences, and names of folders, models and corpora are hostile, and so are labels,
tags, notes and their authors, what was tested, and what is searched for and typed.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import re
import shutil
import sys
from pathlib import Path
from types import SimpleNamespace
from urllib.parse import quote

import numpy as np
import pytest
import torch
from tests.steer.made_findings import confirmation, dose_response

from lexiscope.core.artifact import open_artifact
from lexiscope.core.draft import write_artifact
from lexiscope.core.manifest import MANIFEST, read_sealed, write_sealed
from lexiscope.harvest.documents import DocumentInfo
from lexiscope.index.build import build_index
from lexiscope.index.notes import By, Notes
from lexiscope.steer.confirming.pairs import Pair
from lexiscope.steer.experiments import findings
from lexiscope.text.tokenizer import Encoded
from lexiscope.web.drawing.characters import labelled, visible
from lexiscope.web.exports.report import write_report
from lexiscope.web.pages import pages

from ..serving import running  # noqa: TID252 - tests are not installed
from .payloads import names, payloads

worlds = sys.modules["index_world"]

CONTEXT = 64
AS_NAMES = 40


class Tokenizer(worlds.WordTokenizer):
    """Every payload is one token; what is between them is letters."""

    def __init__(self, texts):
        self.pieces = ["?", *texts]
        self._ids = {piece: number for number, piece in enumerate(self.pieces)}
        self.vocab_size = len(self.pieces)
        self._known = re.compile("|".join(map(re.escape, sorted(texts, key=len, reverse=True))) + "|.", re.DOTALL)

    def encode(self, text):
        found = list(self._known.finditer(text))
        ids = [self._ids.get(match.group(), 0) for match in found]
        return Encoded(ids, [match.start() for match in found], [match.end() for match in found])


def codes_of(tokens_T):
    """Token t fires feature t mod 42, the more the larger it is, and the next one a little. Token 0 fires none."""
    codes_TF = np.zeros((len(tokens_T), worlds.NUM_LATENTS), dtype=np.float32)
    rows = np.arange(len(tokens_T))
    codes_TF[rows, tokens_T % worlds.NUM_LATENTS] = 1 + tokens_T % 97 / 10
    codes_TF[rows, (tokens_T + 1) % worlds.NUM_LATENTS] = 0.5 + tokens_T % 13 / 100
    codes_TF[tokens_T == 0] = 0
    return codes_TF


class Model(worlds.Model):
    def read(self, tokens_BC, hooks, attention_BC=None):
        return {worlds.HOOK: torch.from_numpy(np.stack([codes_of(np.array(row)) for row in tokens_BC.tolist()]))}


@pytest.fixture(scope="module")
def hostile():
    """A world of payloads: every one once forward, once in another order; then nothing, so that features are rare."""
    texts = [text for text in payloads() if len(text) <= 200]
    tokenizer = Tokenizer(texts)
    order = np.concatenate([np.arange(1, len(texts) + 1), np.random.default_rng(3).permutation(len(texts)) + 1])
    tokens_T = np.concatenate([order, np.zeros(2 * len(order))]).astype(np.int32)
    rows = np.arange(len(tokens_T))
    per_document = 2 * CONTEXT
    documents = [
        DocumentInfo(
            texts[(7 * number) % len(texts)], texts[(number % 5) * 31], texts[number % 7 * 17], 0, heldout=False
        )
        for number in range(-(-len(tokens_T) // per_document))
    ]
    return SimpleNamespace(
        texts=texts,
        tokenizer=tokenizer,
        tokens_T=tokens_T,
        documents=documents,
        documents_T=(rows // per_document).astype(np.int32),
        positions_T=(rows % per_document).astype(np.int32),
        contexts_T=(rows // CONTEXT).astype(np.int32),
        codes_TF=codes_of(tokens_T),
    )


@pytest.fixture(scope="module")
def shelf(hostile, tmp_path_factory):
    """A folder with a whole run, and copies of its index under hostile names and said to be of hostile things."""
    root = tmp_path_factory.mktemp("hostile")
    store = worlds.Store(hostile, root / "demo" / "store")
    sae = worlds.Dictionary()
    with write_artifact(root / "demo" / "sae", "sae", config={"sae": {"architecture": hostile.texts[1]}}) as draft:
        (draft.path / "sae.safetensors").write_bytes(b"weights")
    sae.artifact = open_artifact(root / "demo" / "sae", "sae")
    build_index(sae, Model(hostile), store, out=root / "demo" / "index")
    for number, name in enumerate(names(AS_NAMES)):
        folder = root / name / "index"
        shutil.copytree(root / "demo" / "index", folder)
        says = read_sealed(folder / MANIFEST)
        one, two, three, four = (hostile.texts[(number * 4 + place) * 5 % len(hostile.texts)] for place in range(4))
        says["sources"] = {"model": {"name": one}, "corpus": {"source": two, "licences": [three]}}
        says["software"]["lexiscope"] = four
        write_sealed(folder / MANIFEST, {key: value for key, value in says.items() if key != "manifest_sha256"})
    return root


@pytest.fixture(scope="module")
def address(shelf, hostile):
    def prepare(app):
        app.state.library.dictionary("demo").reader.__dict__["_parts"] = (Model(hostile), worlds.Dictionary())

    with running(shelf, prepare) as port:
        write_marks(port, hostile.texts)
        write_findings(shelf / "demo" / "index", hostile.texts)
        yield f"http://127.0.0.1:{port}"


def write_marks(port: int, texts: list[str]) -> None:
    """Labels, tags and notes, as pages send them."""
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=60)) as connection:
        for number in range(84):
            text = "".join(texts[number * 20 : number * 20 + 5]).replace("\x00", "")[:200]
            action = ("label", "label", "note", "tag")[number % 4]
            said = {"action": action, "text": text, "author": texts[number].replace("\x00", "")}
            path = f"/d/demo/features/{number % 42}/marks.json"
            connection.request("POST", path, json.dumps(said), {"Content-Type": "application/json"})
            answer = connection.getresponse()
            assert (answer.status, answer.read())[0] == 200, text


def write_findings(index: Path, texts: list[str]) -> None:
    """What was tested of every fourth feature, as commands write it."""
    with Notes.open(index) as notes:
        for feature in range(0, 42, 4):
            said = texts[feature * 20 : feature * 20 + 20]
            pairs = [
                Pair(prompt=said[number], answer=said[number + 1], other_prompt=said[number + 2], other_answer="b")
                for number in range(8)
            ]
            artifact, author = open_artifact(index, "index"), By(author=said[0].replace("\x00", "") or "a")
            findings.keep_confirmation(notes, artifact, confirmation(feature, hypothesis=said[1]), pairs, author)
            made = dose_response(feature, (-1.0, 1.0), said[2]).model_copy(update={"verdict": "".join(said[3:8])})
            findings.keep_dose_response(notes, artifact, made, {"goal": said[9]}, author)


@pytest.fixture(scope="module")
def watched(browser):
    """A page, and a list of everything that should not have happened on it."""
    context = browser.new_context()
    wrong: list[str] = []
    context.on("request", lambda request: elsewhere(request.url) and wrong.append(f"asked for {request.url}"))
    page = context.new_page()
    page.on("dialog", lambda dialog: (wrong.append(f"dialog {dialog.message}"), dialog.dismiss()))
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("popup", lambda popup: wrong.append(f"opened {popup.url}"))
    page.on("console", lambda message: is_error(message) and wrong.append(message.text))
    context.add_init_script(
        "addEventListener('securitypolicyviolation', event => console.error('policy: ' + event.blockedURI), true)"
    )
    yield page, wrong
    context.close()


def is_error(message) -> bool:
    """Whether the browser complains, of anything but an answer that is an error."""
    return message.type == "error" and not message.text.startswith("Failed to load resource: the server responded with")


def elsewhere(url: str) -> bool:
    return not url.startswith(("http://127.0.0.1:", "file:///", "data:,", "about:"))


STRANGE = """() => {
    const strange = window.__xss === undefined ? [] : ["it ran"];
    const plain = new Set(%s);
    for (const element of document.querySelectorAll("*")) {
        const name = element.localName;
        if (!plain.has(name)) strange.push(element.outerHTML.slice(0, 200));
        for (const {name: key, value} of element.attributes) {
            const address = ["href", "src", "action", "formaction", "data", "xlink:href", "srcdoc"].includes(key);
            const here = /^([/#?]|$)/.test(value) && !value.startsWith("//");
            if (key.startsWith("on") || key === "style" || (address && !here)) strange.push(`${name} ${key}=${value}`);
        }
    }
    return strange;
}"""
PLAIN = """
html head body title meta link script style noscript header main footer nav section article aside div p span a
b i em strong small kbd code pre mark bdi time abbr sup sub h1 h2 h3 h4 ul ol li dl dt dd table thead tbody tfoot tr th
td caption colgroup col form input button label select option optgroup textarea output fieldset legend details summary
dialog figure figcaption hr br wbr progress meter datalist menu template canvas svg g path line rect circle ellipse
polyline polygon text tspan defs use clipPath linearGradient stop desc mask pattern symbol marker
""".split()


def look_at(page, wrong) -> str:
    """What a page says, once it has been seen that nothing strange is in it."""
    strange = page.evaluate(STRANGE % json.dumps(PLAIN))
    assert not strange, f"{page.url}: {strange[:3]}"
    assert not wrong, f"{page.url}: {wrong[:3]}"
    return page.evaluate("document.documentElement.textContent")


def addresses() -> list[str]:
    """Every page of the dictionary, as it stands."""
    found = [re.sub(r"{name(:\w+)?}", "demo", page.PATH) for page in pages()]
    paths = [path for path in found if "{" not in path]
    paths += [re.sub(r"{\w+(:\w+)?}", str(feature), path) for path in found if "{" in path for feature in range(42)]
    return paths


def test_the_oracles_see_what_runs(watched):
    """A page without any protection, or the tests below would show nothing."""
    page, wrong = watched
    seen = 0
    for text in (
        "<img src=x onerror=__xss=1>",
        "<img src=//evil.example/x>",
        "<p style=color:red>",
        "<iframe></iframe>",
    ):
        page.goto("about:blank")
        page.set_content(f"<main>{text}</main>")
        page.wait_for_timeout(50)
        seen += bool(page.evaluate(STRANGE % json.dumps(PLAIN)) or wrong)
        wrong.clear()
    assert seen == 4


def test_a_thousand_tokens_stay_text(watched, address, hostile):
    page, wrong = watched
    assert len(hostile.texts) >= 1000
    said = []
    for path in [*addresses(), "/d/demo?limit=200", "/d/demo?limit=200&sort=density"]:
        page.goto(address + path)
        said.append(look_at(page, wrong))
    everything = "".join(said)
    shown = [text for text in hostile.texts if visible(text) in everything or labelled(text) in everything]
    assert len(shown) >= 1000, f"only {len(shown)} of {len(hostile.texts)} were on a page"


def test_names_stay_text(watched, address):
    """Of folders, models, corpora and licences, on the shelf and on the pages of the dictionaries."""
    page, wrong = watched
    page.goto(address)
    said = look_at(page, wrong)
    assert sum(name in said for name in names(AS_NAMES)) >= AS_NAMES / 2  # white space and control characters are drawn
    links = page.locator("a").evaluate_all("links => links.map(link => link.getAttribute('href'))")
    dictionaries = sorted({link for link in links if re.fullmatch(r"/d/[\w-]+", link or "")})
    assert len(dictionaries) == AS_NAMES + 1
    for path in dictionaries[::3]:
        page.goto(address + path)
        look_at(page, wrong)


def test_what_is_searched_for_stays_text(watched, address):
    page, wrong = watched
    packed, line = [], ""
    for text in sorted(payloads(), key=len)[::5]:
        if len(line) + len(text) > 100:
            packed.append(line)
            line = ""
        line = (line + text)[:100]
    for line in packed[:30]:
        page.goto(f"{address}/d/demo?search={quote(line, safe='')}")
        look_at(page, wrong)
    for line in packed[30:40]:
        asked = quote(line[:90], safe="")
        page.goto(f"{address}/d/demo/find?promotes={asked}")
        look_at(page, wrong)
        page.goto(f"{address}/d/demo/find?wanted={asked}%0A{asked}&unwanted={asked}")
        look_at(page, wrong)
        page.goto(f"{address}/d/demo?look=labels&search={asked}&tag={asked}&kind={asked}")
        look_at(page, wrong)
    for line in packed[-10:]:
        # Errors repeat what was asked for.
        page.goto(f"{address}/d/{quote(line, safe='')}?sort={quote(line, safe='')}")
        look_at(page, wrong)


def test_what_is_typed_stays_text(watched, address, hostile):
    """On every page with a field for text."""
    page, wrong = watched
    fields = 0
    for path in [path for path in addresses() if not re.search(r"/features/(?!3$)\d", path)]:
        page.goto(address + path)
        for field in page.locator("form[data-url] textarea:visible").all():
            fields += 1
            for start in range(0, 600, 100):
                text = "".join(hostile.texts[start : start + 100])
                most = int(field.get_attribute("maxlength")) - 100
                field.fill(text[:most].encode("utf-8", "ignore").decode())
                with page.expect_response(lambda response: response.request.method == "POST", timeout=20_000):
                    field.press("Control+Enter")
                page.wait_for_timeout(50)
                look_at(page, wrong)
    assert fields >= 1


def test_the_report_stays_text(watched, shelf):
    page, wrong = watched
    report = write_report(shelf / "demo")
    page.goto(report.as_uri())
    assert "__xss" in look_at(page, wrong)
