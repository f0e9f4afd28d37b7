"""What may stand in our own pages, templates and scripts. Oracle: the HTML parser of the standard library."""

from __future__ import annotations

import re
from html.parser import HTMLParser

import pytest
from starlette.testclient import TestClient

from lexiscope.web.drawing import rendering
from lexiscope.web.pages import pages

BASE = "http://127.0.0.1:8765"
TEMPLATES = sorted(rendering.TEMPLATES.rglob("*.html"))
SCRIPTS = sorted(rendering.STATIC.rglob("*.js"))
STYLES = sorted(rendering.STATIC.rglob("*.css"))
ELSEWHERE = re.compile(r"(?:https?:)?//(?!www\.w3\.org/)[\w.-]+\.\w+", re.IGNORECASE)
assert TEMPLATES
assert SCRIPTS
assert STYLES
PARSES = re.compile(
    r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function|createContextualFragment|setHTML"
    r"|DOMParser|srcdoc|set(?:Timeout|Interval)\(\s*[\"'`]|import\(|javascript:"
)


class Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.found: list[tuple[str, dict[str, str | None]]] = []
        self.inline = ""
        self._within = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found.append((tag, dict(attrs)))
        self._within = tag

    def handle_endtag(self, tag: str) -> None:
        self._within = ""

    def handle_data(self, data: str) -> None:
        if self._within in {"script", "style"}:
            self.inline += data


def addresses() -> list[str]:
    found = [re.sub(r"{name(:\w+)?}", "demo", page.PATH) for page in pages()]
    made = [re.sub(r"{\w+(:\w+)?}", "3", path) for path in found]
    return [*made, "/nothing", "/d/nowhere", "/d/demo/features/99", "/d/demo?sort=x", "/d/demo?search=nothing-like-it"]


@pytest.mark.parametrize("path", addresses())
def test_pages_hold_nothing_inline_and_nothing_of_others(app, path):
    answer = TestClient(app, base_url=BASE).get(path)
    assert answer.headers["content-type"].startswith("text/html")
    assert "'unsafe" not in answer.headers["content-security-policy"]
    page = Elements(answer.text)
    assert page.inline.strip() == ""
    for tag, attributes in page.found:
        assert tag not in {"iframe", "object", "embed", "base", "style"}
        assert tag != "script" or str(attributes["src"]).startswith("/static/")
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            assert name != "style", (tag, value)
            if name in {"href", "src", "action", "formaction", "poster", "data", "srcset", "xlink:href"}:
                assert re.match(r"(/(?!/)|#|\?)", value or "/"), (tag, name, value)


def test_every_answer_to_every_address_has_the_policy(app):
    client = TestClient(app, base_url=BASE, follow_redirects=False)
    described = client.get("/openapi.json").json()["paths"]
    for path in [re.sub(r"{name}", name, path) for path in described for name in ("demo", "nowhere")]:
        for feature in ("3", "99", "x"):
            for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"):
                address = re.sub(r"{\w+}", feature, path)
                answer = client.request(method, address, headers={"origin": BASE, "content-type": "application/json"})
                assert answer.headers["content-security-policy"].startswith("default-src 'none'"), (method, address)
                assert answer.headers["x-content-type-options"] == "nosniff"
                assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize("file", TEMPLATES, ids=lambda file: file.name)
def test_templates_escape_and_load_nothing(file):
    text = re.sub(r"{#.*?#}", "", file.read_text(encoding="utf-8"), flags=re.DOTALL)
    unescaped = re.findall(r"{[{%].*?\|\s*safe.*?[}%]}|autoescape|Markup", text)
    # Pages to pass on hold their own style sheet, and a policy that lets nothing else be there.
    alone = (
        "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'unsafe-inline'\">"
        in text
    )
    assert unescaped == (["{{ style | safe }}"] if alone else [])
    assert not ELSEWHERE.search(text)
    assert not re.search(r"<script(?![^>]*\bsrc=\"/static/)", text)
    assert not re.search(r"<[^>]*\s(?:on\w+|style)\s*=", text)
    # An attribute without quotation marks ends at the first space of what is put into it.
    assert not re.search(r"\s[\w:-]+=\s*{{", re.sub(r"{%.*?%}", "", text)), "an attribute without quotation marks"


@pytest.mark.parametrize("file", SCRIPTS, ids=lambda file: file.name)
def test_scripts_set_text_and_parse_no_html(file):
    text = file.read_text(encoding="utf-8")
    assert not PARSES.search(text)
    assert not ELSEWHERE.search(text)


@pytest.mark.parametrize("file", STYLES, ids=lambda file: file.name)
def test_styles_load_nothing(file):
    text = file.read_text(encoding="utf-8")
    assert "@import" not in text
    assert not re.search(r"url\(\s*[\"']?(?!/static/|#|data:image/svg\+xml)", text)


def test_jinja_escapes_by_default():
    environment = rendering.environment()
    assert environment.autoescape is True
    assert environment.from_string("{{ a }}").render(a="<b a='\"'>") == "&lt;b a=&#39;&#34;&#39;&gt;"
