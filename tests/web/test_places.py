"""Who has a text written, and when. Oracles: the order in which tokens are asked for, a count of who is let in, and
pages that answer while a model stands still."""

from __future__ import annotations

import contextlib
import http.client
import json
import select
import threading
from concurrent.futures import ThreadPoolExecutor

import anyio
import pytest

from lexiscope.web.client import Client
from lexiscope.web.steering.places import AT_ONCE, WAITING, FullError, Places

from .serving import running
from .steering_world import LINES, PROMPT, URL, give

pytestmark = pytest.mark.anyio


@pytest.fixture
def anyio_backend():
    return "asyncio"


async def test_those_who_write_get_on_token_by_token():
    found, order = Places(at_once=3, threads=1), []

    async def write(name):
        async with found.taken():
            for _ in range(4):
                await found.turn(lambda: order.append(name))

    async with anyio.create_task_group() as tasks:
        for name in "abc":
            tasks.start_soon(write, name)
    assert "".join(order) == "abc" * 4


async def test_who_leaves_the_queue_makes_room_in_it():
    found = Places(at_once=1, waiting=1, seconds=30)
    async with found.taken(), anyio.create_task_group() as tasks:
        scopes = [anyio.CancelScope(), anyio.CancelScope()]

        async def wait(scope):
            with scope:
                async with found.taken():
                    raise AssertionError

        tasks.start_soon(wait, scopes[0])
        await anyio.wait_all_tasks_blocked()
        with pytest.raises(FullError, match="do so already"):
            async with found.taken():
                raise AssertionError
        scopes[0].cancel()
        await anyio.wait_all_tasks_blocked()
        tasks.start_soon(wait, scopes[1])
        await anyio.wait_all_tasks_blocked()
        assert not scopes[1].cancel_called
        scopes[1].cancel()


async def test_nobody_waits_for_ever_and_places_come_back():
    found = Places(at_once=1, seconds=0.01)
    async with found.taken():
        with pytest.raises(FullError, match="1 others steer|try again"):
            async with found.taken():
                raise AssertionError
    with pytest.raises(ValueError, match="broken"):
        async with found.taken():
            raise ValueError("broken")
    async with found.taken():
        pass


def asks(port, url, **body):
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    content = json.dumps({"prompt": PROMPT, "tokens": 8, **body})
    connection.request("POST", url, content, {"Content-Type": "application/json"})
    return connection


def test_pages_answer_while_every_place_is_taken_by_a_model_that_stands_still(real, monkeypatch):
    """More ask than a server has threads. Four are let in, twelve wait, the others are told so at once."""
    going, begun, most = threading.Event(), threading.Semaphore(0), 60
    steps = real.model.stream_tokens

    def stand_still(*given, **named):
        begun.release()
        going.wait()
        yield from steps(*given, **named)

    monkeypatch.setattr(real.model, "stream_tokens", stand_still)
    with running(real.root, give(real)) as port, contextlib.ExitStack() as open_ones:
        try:
            connections = [asks(port, (URL, LINES)[number % 2]) for number in range(most)]
            for connection in connections:
                open_ones.callback(connection.close)
            by_socket = {connection.sock: connection for connection in connections}
            begun.acquire()
            refused = set()
            while len(refused) < most - AT_ONCE - WAITING:
                ready, _, _ = select.select([sock for sock in by_socket if sock not in refused], [], [])
                refused.update(ready)
            for sock in refused:
                with by_socket[sock].getresponse() as answer:
                    assert answer.status == 503
                    assert "try again" in json.loads(answer.read())["error"]
            client = Client(f"http://127.0.0.1:{port}")
            assert client.home().dictionaries[0].name == "demo"
            assert client.steer("demo").prompt
            left = [connection for sock, connection in by_socket.items() if sock not in refused]
            assert len(left) == AT_ONCE + WAITING
            for connection in left[1:]:  # those who wait, and those who do not, go away
                connection.close()
        finally:
            going.set()
        with left[0].getresponse() as answer:
            assert answer.status == 200
            answer.read()
        assert len(client.write("demo", PROMPT, tokens=3).default) > 3


def test_what_is_written_at_the_same_time_is_what_is_written_alone(real):
    """Oracle: the same requests, one after another."""
    asked = [
        {"turn": ["clamp:5:3max"], "on": "generated"},
        {"turn": ["patch:all:w5 a a w2"], "temperature": 1.0, "seed": 3},
        {"turn": ["cap:6:-1max", "scale:7:3"], "temperature": 1.0, "seed": 4},
        {"temperature": 1.0, "seed": 5},
    ] * 2
    with running(real.root, give(real)) as port:
        client = Client(f"http://127.0.0.1:{port}")

        def write(body):
            return client.write("demo", PROMPT, tokens=20, **body)

        alone = [write(body) for body in asked[:4]]
        with ThreadPoolExecutor(len(asked)) as pool:
            assert list(pool.map(write, asked)) == alone * 2
