"""Signing in, in Chromium. Oracle: the browser, which keeps the cookie from scripts and from other sites."""

from __future__ import annotations

import http.server
import threading

import pytest

from lexiscope.web.security.guard import Guard

from ..serving import running  # noqa: TID252 - tests are not installed

TOKEN = "k7Qb2wXz9LmN4pRs8TvY3hJd6FgC1aEu5"


class OtherSite(http.server.BaseHTTPRequestHandler):
    """A page elsewhere with a link to us, an image, a frame, a form and a script that want something of us."""

    page = ""

    def do_GET(self) -> None:
        content = self.page.encode()
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def other():
    """Served at "localhost", which is another site than 127.0.0.1."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), OtherSite) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://localhost:{server.server_address[1]}"
        server.shutdown()
        thread.join()


@pytest.fixture
def signing(root, give_model):
    """An app with a token: its address, and its link."""
    kept = []

    def prepare(app):
        give_model(app)
        kept.append(next(found.kwargs["access"] for found in app.user_middleware).door)

    with running(root, prepare, token=TOKEN) as port:
        address = f"http://127.0.0.1:{port}"
        yield address, f"{address}/login?code={kept[0].code}"


def test_the_link_opens_the_app_once(browser, signing):
    address, link = signing
    context = browser.new_context()
    page = context.new_page()
    assert page.goto(address).status == 401
    page.goto(link)
    page.wait_for_url(f"{address}/")
    assert page.goto(f"{address}/d/demo").status == 200
    assert page.evaluate("document.cookie") == ""
    [cookie] = context.cookies()
    assert (cookie["httpOnly"], cookie["sameSite"], cookie["expires"]) == (True, "Strict", -1)
    sent = "{method: 'POST', headers: {'Content-Type': 'application/json'}, body: '{\"text\": \"def\"}'}"
    assert page.evaluate(f"fetch('/d/demo/text.json', {sent}).then(answer => answer.status)") == 200
    stranger = browser.new_context().new_page()
    assert stranger.goto(link).status == 403


def test_from_a_link_on_another_site_one_is_signed_in_too(browser, signing, other):
    """Where a redirect would lose the cookie."""
    address, link = signing
    OtherSite.page = f'<a href="{link}">in</a>'
    page = browser.new_context().new_page()
    page.goto(other)
    page.click("a")
    page.wait_for_url(f"{address}/")
    assert "demo" in page.inner_text("main")


def test_another_site_gets_nothing_from_a_browser_that_is_signed_in(browser, signing, other, monkeypatch):
    address, link = signing
    context = browser.new_context()
    page = context.new_page()
    page.goto(link)
    page.wait_for_url(f"{address}/")
    statuses = answered(monkeypatch)
    OtherSite.page = f"""<img src="{address}/static/icon.svg"><iframe src="{address}/d/demo"></iframe>
        <form method=post enctype=text/plain action="{address}/d/demo/text.json">
        <input name='{{"text":"a","x":"' value='"}}'></form>
        <script>
        const json = {{"Content-Type": "application/json"}};
        const tried = [{{}}, {{mode: "no-cors"}}, {{credentials: "include"}}, {{method: "POST", body: "{{}}"}},
            {{method: "POST", mode: "no-cors", credentials: "include", body: '{{"text": "a"}}'}},
            {{method: "DELETE"}}, {{method: "POST", headers: json, body: "{{}}"}}];
        const ask = how => fetch("{address}/d/demo.json", how).then(answer => answer.text(), () => "");
        window.read = Promise.all(tried.map(ask));
        </script>"""
    page.goto(other)
    assert page.evaluate("window.read") == [""] * 7
    page.wait_for_timeout(100)
    page.evaluate("document.forms[0].submit()")
    page.wait_for_url(f"{address}/**")
    assert len(statuses) >= 10  # an image, a frame, seven fetches and a form; some are asked for first with OPTIONS
    assert set(statuses) <= {401, 403, 405}


def answered(monkeypatch) -> list[int]:
    """Every status that the app answers another site with from now on; a browser does not tell of all."""
    statuses: list[int] = []
    call = Guard.__call__

    async def watched(guard, scope, receive, send):
        async def noted(message):
            from_there = (b"sec-fetch-site", b"cross-site") in scope["headers"]
            if message["type"] == "http.response.start" and from_there:
                statuses.append(message["status"])
            await send(message)

        await call(guard, scope, receive, noted)

    monkeypatch.setattr(Guard, "__call__", watched)
    return statuses
