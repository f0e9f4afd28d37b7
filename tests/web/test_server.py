"""Oracle: the operating system, which knows what is listened to and where, and raw sockets that send what we like."""

from __future__ import annotations

import asyncio
import contextlib
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from lexiscope.core.errors import InputError
from lexiscope.web.security import connections
from lexiscope.web.server import listen, serve

from .serving import running

JSON = "POST /d/demo/text.json HTTP/1.1\r\nContent-Type: application/json"
TOKEN = "k7Qb2wXz9LmN4pRs8TvY3hJd6FgC1aEu5"


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::"])
def test_other_hosts_need_a_token_and_are_told_so(root, host):
    with pytest.raises(InputError, match=r"--new-token.*ssh -L"):
        serve(root, host=host)


def test_a_name_is_no_address(root):
    with pytest.raises(InputError, match="--allow-host"):
        serve(root, host="example.org")


def test_a_taken_port_is_one_sentence(root):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        with pytest.raises(InputError, match="--port"):
            serve(root, port=taken.getsockname()[1], open_browser=False)


@pytest.mark.parametrize("port", [-1, 65_536, 70_000])
def test_a_port_that_cannot_be_is_one_sentence(root, port):
    with pytest.raises(InputError, match=f"no port {port}.*--port"):
        serve(root, port=port, open_browser=False)


def test_no_answer_waits_for_the_one_before_to_be_acknowledged():
    """Oracle: the option of a socket that asyncio accepted."""

    async def accepted() -> int:
        found = asyncio.get_running_loop().create_future()

        async def met(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.set_result(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
            writer.close()

        with listen("127.0.0.1", 0) as listener:
            async with await asyncio.start_server(met, sock=listener):
                _, writer = await asyncio.open_connection(*listener.getsockname())
                writer.close()
                return await asyncio.wait_for(found, 30)

    assert asyncio.run(accepted()) == 1


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        serve(tmp_path / "none", port=0, open_browser=False)


def test_a_browser_is_not_started_with_the_link(root):
    """Every user of a machine can see what a program was started with."""
    with pytest.raises(InputError, match="--browser"):
        serve(root, port=0, token=TOKEN, open_browser=True)


def test_the_program_listens_on_loopback_only_and_keeps_the_token_to_itself(root, tmp_path):
    """Oracles: /proc/net/tcp for the address, and everything that was printed for the token."""
    file = tmp_path / "token"
    file.write_text(TOKEN)
    file.chmod(0o600)
    arguments = ["view", str(root), "--port", "0", "--token-file", str(file), "--read-only"]
    program = [sys.executable, "-c", "from lexiscope.cli.main import main; main()", *arguments]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            link = process.stdout.readline().strip()
            port = int(re.fullmatch(r"http://127\.0\.0\.1:(\d+)/login\?code=[\w-]{43}", link)[1])
            base = f"http://127.0.0.1:{port}"
            assert listening_at(port) == {"0100007F"}
            opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
            for path in ("/", "/d/demo", "/nothing?token=" + TOKEN, "/d/demo/features/999"):
                for value in (f"Bearer {TOKEN}", "Bearer wrong"):
                    request = urllib.request.Request(base + path, headers={"Authorization": value, "Referer": link})
                    try:
                        answer = opener.open(request, timeout=20).read().decode()
                    except urllib.error.HTTPError as error:
                        answer = error.read().decode()
                    assert TOKEN not in answer
            with opener.open(link, timeout=20) as signed_in:
                session = re.match(r"[^=]+=([^;]+);", signed_in.headers["set-cookie"])[1]
            with socket.create_connection(("127.0.0.1", port)) as broken:
                broken.sendall(f"GET / HTTP/9\r\nAuthorization: Bearer {TOKEN}\r\nbroken\r\n\r\n".encode())
                assert TOKEN.encode() not in broken.recv(4096)
        finally:
            process.send_signal(signal.SIGINT)
            said = process.stdout.read()
    for secret in (TOKEN, session, link.rpartition("=")[2]):
        assert secret not in said


def listening_at(port: int) -> set[str]:
    """Addresses, as the kernel writes them, that this port is listened at."""
    rows = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()[1:]]
    return {row[1].split(":")[0] for row in rows if row[3] == "0A" and int(row[1].split(":")[1], 16) == port}


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def until(true, seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < end
        time.sleep(0.02)


@pytest.fixture
def crowd_at():
    """Makes connections, and closes them in the end."""
    with contextlib.ExitStack() as crowd:
        yield lambda port, count: [
            crowd.enter_context(socket.create_connection(("127.0.0.1", port), timeout=20)) for _ in range(count)
        ]


def ask(port: int, path: str = "/d/demo.json") -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        one.sendall(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n".encode())
        return b"".join(iter(lambda: one.recv(65536), b""))


HALVES = [b"", b"G", b"GET / HTTP/1.1\r\n", b"GET / HTTP/1.1\r\nHost: 127.0.0.1\r\nX-A: b\r\n"]
POST = "POST /d/demo/text.json HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
HALF_A_BODY = POST + "Content-Length: 99\r\n\r\n{{"


def test_two_hundred_half_requests_keep_nobody_waiting_and_end(root, monkeypatch, crowd_at):
    """Sockets that say nothing, half a header or half a body. Others are answered meanwhile; then all are closed by the
    server, and its descriptors are back."""
    monkeypatch.setattr(connections, "HEADER_SECONDS", 1.0)
    monkeypatch.setattr("lexiscope.web.security.guard.BODY_SECONDS", 1.0)
    with running(root) as port:
        assert b"200 OK" in ask(port)
        before = descriptors()
        slow = crowd_at(port, 200)
        for number, one in enumerate(slow):
            one.sendall([*HALVES, HALF_A_BODY.format(port=port).encode()][number % 5])
        until(lambda: descriptors() >= before + 400)
        for _ in range(10):
            assert b"200 OK" in ask(port)
        for number, one in enumerate(slow):
            answer = b""
            with contextlib.suppress(ConnectionResetError):
                answer = one.recv(4096)  # returns when the server closes
            assert (b"408" in answer) == (number % 5 == 4)
            one.close()
        until(lambda: descriptors() <= before)


def test_a_trickle_does_not_buy_time(root, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.5)
    with running(root) as port, socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        started = time.monotonic()
        with pytest.raises((BrokenPipeError, ConnectionResetError)):
            for letter in f"GET /{'x' * 4000}":
                one.sendall(letter.encode())
                time.sleep(0.02)
        assert time.monotonic() - started < 40  # 80 s worth of letters


def test_the_second_request_of_a_connection_has_an_end_too(root, monkeypatch):
    monkeypatch.setattr(connections, "HEADER_SECONDS", 0.3)
    with running(root) as port, socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        one.sendall(f"GET /nothing.json HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"}"):
            answer += one.recv(65536)
        one.sendall(b"GET / HT")
        assert closed(one)


def test_an_answer_that_nobody_reads_is_dropped(root, monkeypatch):
    monkeypatch.setattr(connections, "STALL_SECONDS", 0.3)
    with running(root) as port:
        ask(port)
        before = descriptors()
        with socket.socket() as one:
            one.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            one.connect(("127.0.0.1", port))
            request = f"GET /static/style.css HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode()
            one.settimeout(20)
            with contextlib.suppress(OSError):
                for _ in range(400):
                    one.sendall(request)
            until(lambda: descriptors() <= before + 1)


def test_more_connections_than_there_is_room_for(root, monkeypatch, crowd_at):
    """The oldest silent ones give way; whoever asks is answered."""
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 20)
    with running(root) as port:
        before = descriptors()
        crowd = crowd_at(port, 100)
        for one in crowd[:80]:
            assert closed(one)
        assert b"200 OK" in ask(port)
        assert descriptors() <= before + 100 + 21


def test_half_bodies_leave_room_as_well(root, monkeypatch, crowd_at):
    monkeypatch.setattr(connections, "MAX_CONNECTIONS", 20)
    monkeypatch.setattr("lexiscope.web.security.guard.BODY_SECONDS", 2.0)
    with running(root) as port:
        for one in crowd_at(port, 60):
            one.sendall(HALF_A_BODY.format(port=port).encode())
        assert b"200 OK" in ask(port)


def closed(one: socket.socket) -> bool:
    try:
        return one.recv(4096) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize(
    ("request_line", "status"),
    [
        ("GET /" + "x" * 5000 + " HTTP/1.1", 414),
        ("GET /" + "x" * 70_000 + " HTTP/1.1", (400, 414)),
        ("GET / HTTP/1.1\r\nX-Long: " + "x" * 17_000, 431),
        ("GET / HTTP/1.1\r\nX-Long: " + "x" * 70_000, (400, 431)),
        ("GET / HTTP/1.1\r\nHost: evil.example", 400),
        ("GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade", 200),
        ("OPTIONS * HTTP/1.1", 405),
        ("CONNECT evil.example:443 HTTP/1.1", 405),
        ("GET http://evil.example/ HTTP/1.1", 404),
        (f"{JSON}\r\nContent-Length: 1\r\nContent-Length: 2", 400),
        (f"{JSON}\r\nContent-Length: 99999999999", 413),
        (f"{JSON}\r\nTransfer-Encoding: gzip, chunked", 400),
        ("\x16\x03\x01", 400),
    ],
)  # fmt: skip
def test_odd_requests_get_an_answer(port, request_line, status):
    with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        one.sendall(f"{request_line}\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
        answer = one.recv(65536)
    assert answer.startswith(
        tuple(f"HTTP/1.1 {each} ".encode() for each in (status if isinstance(status, tuple) else [status]))
    )
    assert b"content-security-policy: default-src 'none'" in answer


def test_a_body_in_pieces_is_cut_at_the_limit(port):
    """Chunks without an end, and no length said before."""
    with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        one.sendall(f"{POST.format(port=port)}Transfer-Encoding: chunked\r\n\r\n".encode())
        sent = 0
        with pytest.raises(OSError):
            while sent < 1 << 30:
                sent += one.send(b"400\r\n" + b"x" * 1024 + b"\r\n")
        assert sent < 32 << 20  # what the kernel keeps, not what we would send


@pytest.fixture(scope="module")
def port(root):
    with running(root) as port:
        yield port
