"""Oracle: the same reads, made in this process."""

from __future__ import annotations

import shutil
import socket
import threading

import pytest
from starlette.testclient import TestClient

from lexiscope.core.errors import InputError, LexiscopeError
from lexiscope.web.actions import ACTIONS
from lexiscope.web.client import Client
from lexiscope.web.folder.library import Library
from lexiscope.web.jobs.actions import JOB_ACTIONS
from lexiscope.web.pages import closer, clusters, dictionary, feature, home, pages, text

from . import tested_world
from .serving import running

TOKEN = "k7Qb2wXz9LmN4pRs8TvY3hJd6FgC1aEu5"


@pytest.fixture(scope="module")
def address(root, give_model):
    with running(root, give_model) as port:
        yield f"http://127.0.0.1:{port}"


@pytest.fixture(scope="module")
def client(address):
    return Client(address)


def test_every_page_is_a_method(client):
    for page in pages():
        assert callable(getattr(client, page.__name__.rsplit(".", 1)[1]))
    assert "feature" in dir(client)
    with pytest.raises(AttributeError, match="feature"):
        client.faeture("demo", 3)


def test_objects_are_the_same_as_here(client, root):
    library = Library(root)
    assert client.home() == home.read(library)
    assert client.text("demo") == text.read(library, "demo")
    for number in (0, 3, 15):
        assert client.feature("demo", number) == feature.read(library, "demo", number)
    asked = {"sort": "density", "descending": False, "search": "<", "limit": 7, "offset": 1}
    for given in ({}, asked, {"search": "é & ="}):
        assert client.dictionary("demo", **given) == dictionary.read(library, "demo", **given)


def test_every_action_is_a_method(client):
    for action in (*ACTIONS, *JOB_ACTIONS):
        assert callable(getattr(client, action.do.__name__))
        assert action.do.__name__ in dir(client)


def test_what_is_written_through_it_is_on_the_page(root, world, give_model, tmp_path):
    """Oracle: the views of the pages, read here from the same folder."""
    own = shutil.copytree(root, tmp_path / "runs", ignore=shutil.ignore_patterns("*.sqlite*"))
    with running(own, give_model) as port:
        client = Client(f"http://127.0.0.1:{port}")
        marks = client.mark("demo", 3, action="label", text="after a bracket", author="ana")
        assert [(label.text, label.author) for label in marks.labels] == [("after a bracket", "ana")]
        assert client.mark("demo", 3, action="tag", text="é & <b>").tags == ["é & <b>"]
        ablated = client.ablate("demo", 3, author="ana")
        assert ablated.asked_by == "ana"
        confirmed = client.confirm("demo", 3, hypothesis="é", pairs=tested_world.pairs(world), author="ana")
        assert (confirmed.confirmation.hypothesis, confirmed.found_by) == ("é", "ana")
        shown = feature.read(Library(own), "demo", 3)
        assert shown.tested.confirmations == [confirmed]
        assert shown == client.feature("demo", 3)
        assert (shown.marks, shown.ablated) == (client.feature("demo", 3).marks, ablated)
        assert shown.marks.tags == ["é & <b>"]
        assert client.closer("demo", 3) == closer.read(Library(own), "demo", 3)
        assert client.clusters("demo", sort="weakest_link") == clusters.read(
            Library(own), "demo", "weakest_link", 25, 0
        )
        with pytest.raises(InputError, match="pre-activation"):
            client.near_misses("demo", 3)
        with pytest.raises(InputError, match="7 pairs"):
            client.confirm("demo", 3, hypothesis="é", pairs=tested_world.pairs(world)[:7])
        with pytest.raises(InputError, match="422"):
            client.mark("demo", 3, action="burn")
        with pytest.raises(ValueError, match="shorter|zip"):
            client.mark("demo", action="label", text="a")


def test_texts_are_read(client):
    read = client.read_text("demo", "def f(x):\n")
    assert read.tokens[0].piece == "def"
    assert 2 in [firing.feature for firing in read.tokens[0].firings]


@pytest.mark.parametrize("name", ["nowhere", "../demo", "a/b", "é", "", "x" * 200, "demo.json?x", "%2e%2e"])
def test_names_stay_names(client, name):
    with pytest.raises(InputError, match="404"):
        client.dictionary(name)


def test_refusals_are_the_sentence_of_the_app(client):
    with pytest.raises(InputError, match="features 0 to 41"):
        client.feature("demo", 99)
    with pytest.raises(InputError, match="422: limit"):
        client.dictionary("demo", limit=0)
    with pytest.raises(InputError, match="nothing to read"):
        client.read_text("demo", "")
    with pytest.raises(TypeError):
        client.dictionary("demo", colour="red")


def test_the_token_lets_in(root):
    with running(root, token=TOKEN) as port:
        address = f"http://127.0.0.1:{port}"
        assert Client(address, TOKEN).dictionary("demo").dictionary.name == "demo"
        for token in (None, "x" * 33):
            with pytest.raises(InputError, match="401"):
                Client(address, token).home()
        assert TOKEN not in repr(Client(address, TOKEN))


@pytest.mark.parametrize(
    "address",
    ["", "127.0.0.1:8765", "ftp://a", "http://", "http://a/login?code=x", "http://a/b", "http://u:p@a", "http://a:x"],
)
def test_what_is_no_address_is_refused(address):
    with pytest.raises(InputError, match="http://127.0.0.1:8765"):
        Client(address)


def test_nobody_there_is_one_sentence():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        with pytest.raises(LexiscopeError, match="lexiscope view"):
            Client(f"http://127.0.0.1:{free.getsockname()[1]}").home()


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 302 Found\r\nLocation: http://evil.example/\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nnot JSON!",
        b"HTTP/1.1 500 Oh\r\nContent-Length: 4\r\n\r\noh\x1b!",
        b"SSH-2.0-OpenSSH_9.6\r\n",
        b"",
    ],
)
def test_other_servers_are_told_from_the_app_and_not_followed(answer):
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen()

        def once():
            one, _ = listener.accept()
            with one:
                one.recv(65536)
                one.sendall(answer)

        thread = threading.Thread(target=once)
        thread.start()
        with pytest.raises(LexiscopeError) as refused:
            Client(f"http://127.0.0.1:{listener.getsockname()[1]}", TOKEN, seconds=20).home()
        thread.join()
    assert str(refused.value).isprintable()
    assert TOKEN not in str(refused.value)


def test_proxies_are_not_asked(address, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://127.0.0.1:9")
    assert Client(address).home().dictionaries


def test_the_same_through_the_address_of_the_page(client, root):
    """A view of the client is the JSON of the page, field by field."""
    from lexiscope.web.app import create_app

    raw = TestClient(create_app(root), base_url="http://127.0.0.1:8765").get("/d/demo/features/3.json").json()
    assert client.feature("demo", 3).model_dump(mode="json") == raw
