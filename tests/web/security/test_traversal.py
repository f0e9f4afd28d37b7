"""Addresses made to read files. Oracles: a file outside with words nobody else has, and every file that Python opens.

Over raw sockets, because clients tidy addresses up before they send them.
"""

from __future__ import annotations

import contextlib
import itertools
import socket
import sys
from pathlib import Path
from urllib.parse import quote

import pytest

from ..serving import running  # noqa: TID252 - tests are not installed

CANARY = b"canary-4f9a1c"
MARKS = (CANARY, b"root:x:0:", b"def create_app", b"[project]")

DOTS = [
    "..", "%2e%2e", "%2E.", ".%2e", "%252e%252e", "%25252e%25252e", "%c0%ae%c0%ae",
    "%e0%80%ae%e0%80%ae", "%uff0e%uff0e", "\uff0e\uff0e", "\u2025", "\u2024\u2024", "....", ".../.",
    "..;", "..%00", "..%20", "..%09", "..%0a", ".%00.", "..%c0",
]  # fmt: skip
SLASHES = [
    "/", "%2f", "%2F", "%252f", "\\", "%5c", "%255c", "%c0%af", "%e0%80%af", "%c1%9c", "\u2215", "\u2044", "\uff0f",
    "//", "/./", "%2f%2f", "%00/", ";/", "/%20/",
]  # fmt: skip
ADDRESSES = [
    "/static/{}", "/{}", "/d/{}", "/d/{}.json", "/d/{}/text", "/d/demo/features/{}", "/d/demo?search={}&sort={}",
    "/static?name={}&path={}&file={}",
]  # fmt: skip


def encodings(outside: Path) -> list[str]:
    """Ways to name files outside: upward by any dots and slashes, absolute, long, cut, dressed up."""
    upward = [
        slash.join([*([dots] * depth), *target])
        for dots, slash in itertools.product(DOTS, SLASHES)
        for depth, target in ((1, ("app.py",)), (9, ("etc", "passwd")))
    ]
    files = [str(outside), "/etc/passwd", str(outside).lstrip("/")]
    absolute = [
        form.format(file, quote(file, safe=""))
        for file in files
        for form in (
            "{0}", "{1}", "/{0}", "//{0}", "file://{0}", "file:{0}", "%00{0}", "{0}%00", "{0}%00.css", "{0}%23.css",
            "style.css/../../..{0}", "style.css%2f..%2f..{1}", "./{0}", "~/{0}", "C:{0}", "\\\\?\\{0}", "{0}/.", "{0}/",
            "..{0}", "%2e%2e{1}", "....//....//{0}", "..\\..\\..\\{0}", "{0}?x", "{0};x", "{0}::$DATA",
        )
    ]  # fmt: skip
    long = [f"{'a/../' * number}..{outside}" for number in (10, 100, 600)] + ["../" * 1000 + "etc/passwd", "/" * 3000]
    relative = [f"{'../' * depth}{outside.name}" for depth in range(1, 12)]
    others = [
        "%",
        "%2",
        "%zz",
        ".",
        "..",
        "",
        "%00",
        "%ff%fe",
        "\x7f",
        "\u202e",
        "app.py",
        "__init__.py",
        ".git/config",
    ]
    return [*upward, *absolute, *long, *relative, *others]


@pytest.fixture(scope="module")
def outside(root) -> Path:
    """A file beside the folder that is shown, and a link to it inside."""
    file = root.parent / "canary.txt"
    file.write_bytes(CANARY)
    return file


@pytest.fixture(scope="module")
def port(root):
    with running(root) as port:
        yield port


def ask(port: int, target: str, name: str = "GET") -> bytes:
    with socket.create_connection(("127.0.0.1", port), timeout=20) as one:
        head = f"{name} {target} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n"
        one.sendall(head.encode("utf-8", "surrogatepass"))
        answer = b""
        with contextlib.suppress(ConnectionResetError):
            while part := one.recv(65536):
                answer += part
        return answer


watching: list[list[str]] = []


def _note(event: str, arguments: tuple[object, ...]) -> None:
    if watching and event in {"open", "os.listdir", "os.scandir"}:
        watching[-1].append(str(arguments[0]))


sys.addaudithook(_note)  # for as long as the process lives


def test_no_address_reads_a_file(root, port, outside):
    assert b"--" in ask(port, "/static/style.css")  # files are served at all
    assert b"canary" not in ask(port, "/")
    ask(port, "/d/demo/features/3")
    forms = encodings(outside)
    assert len(set(forms)) >= 500
    wrong: list[object] = []
    watching.append([])
    try:
        for number, form in enumerate(forms):
            # Every form in two of the places, each place with every kind of form.
            for address in (ADDRESSES[0], ADDRESSES[1 + number % (len(ADDRESSES) - 1)]):
                answer = ask(port, address.replace("{}", form))
                status = answer[9:12]
                if any(mark in answer for mark in MARKS) or status not in {b"200", b"400", b"404", b"414", b"422"}:
                    wrong.append((address, form, answer[:200]))
                if (
                    status == b"200"
                    and not address.startswith(("/d/demo?", "/d/demo/f"))
                    and form not in {"", ".", "/"}
                ):
                    # What is found in spite of all is the home page, at a few of its names.
                    assert b"<title>Lexiscope</title>" in answer, (address, form)
    finally:
        seen = watching.pop()
    assert wrong == []
    assert [path for path in seen if not inside(path, root)] == []


def inside(path: str, root: Path) -> bool:
    """In the folder that is shown or, below it, of the program itself."""
    if path.isdecimal():
        return True  # a descriptor
    real = Path(path).resolve()
    return real.is_relative_to(root.resolve()) or real.suffix in {".py", ".pyc", ".html"}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "DELETE"])
def test_other_methods_read_no_file_either(port, outside, method):
    for address in ("/static/../app.py", f"/static/{outside}", "/static/..%2fapp.py"):
        assert not any(mark in ask(port, address, method) for mark in MARKS)


def test_dictionaries_are_looked_up_by_name_only(port, outside):
    for name in (
        "..",
        ".",
        "%2e%2e",
        "demo%2f..%2fdemo",
        "demo/../demo",
        "%2fetc",
        quote(str(outside), safe=""),
        "demo%00",
    ):
        for path in (f"/d/{name}.json", f"/d/{name}/text.json", f"/d/{name}/features/3.json"):
            assert ask(port, path)[9:12] in {b"404", b"422"}, path


def test_links_are_no_assets(tmp_path):
    from lexiscope.web.drawing.assets import read_assets

    (tmp_path / "files" / "deep").mkdir(parents=True)
    (tmp_path / "secret").write_bytes(CANARY)
    (tmp_path / "files" / "a.js").write_text("1")
    (tmp_path / "files" / "deep" / "b.css").write_text("2")
    (tmp_path / "files" / ".hidden").write_bytes(CANARY)
    (tmp_path / "files" / "link").symlink_to(tmp_path / "secret")
    found = read_assets(tmp_path / "files")
    assert set(found) == {"a.js", "deep/b.css"}
    assert found["a.js"].media_type == "text/javascript"


def test_an_asset_that_has_not_changed_is_not_sent_again(app):
    from starlette.testclient import TestClient

    client = TestClient(app, base_url="http://127.0.0.1:8765")
    first = client.get("/static/style.css")
    again = client.get("/static/style.css", headers={"if-none-match": first.headers["etag"]})
    assert (first.status_code, again.status_code, again.content) == (200, 304, b"")
