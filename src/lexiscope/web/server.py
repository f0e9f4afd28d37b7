"""serve: the app at an address, with an end to what one connection can cost."""

from __future__ import annotations

import asyncio
import os
import socket
import sys
import threading
import webbrowser
from collections.abc import Callable, Iterable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from anyio import to_thread

from lexiscope.core.errors import InputError, LexiscopeError
from lexiscope.web.app import DEFAULT_PORT, create_app
from lexiscope.web.security.access import LOOPBACK, Access, address_of, family_of, is_loopback

if TYPE_CHECKING:
    import uvicorn
    from starlette.types import ASGIApp

    from lexiscope.web.folder.library import Library

_HIGHEST_PORT = 65_535
_HEADER_BYTES = 32 * 1024
_SECONDS_TO_FINISH = 5
_THREADS_PER_CORE = 4


def serve(
    root: Path | str,
    *,
    host: str = LOOPBACK,
    port: int = DEFAULT_PORT,
    token: str | None = None,
    allow_hosts: Iterable[str] = (),
    read_only: bool = False,
    open_browser: bool = False,
    ready: Callable[[str], None] = print,
) -> None:
    """Show the artifacts under a folder until interrupted.

    Args:
        host: the address that is listened at; anything but loopback needs a token.
        port: 0 takes any free one.
        token: what those who are let in know.
        allow_hosts: names by which others reach the app.
        read_only: refuse every request that could change something, and open nothing for writing.
        ready: told the address before the first request is answered, or the link that signs in once.

    Raises:
        InputError: no such folder, a port that is taken or can't be, or an address that others reach without a token.
    """
    import uvicorn

    if read_only:
        _write_nothing()
    if not 0 <= port <= _HIGHEST_PORT:
        raise InputError(f"there is no port {port}; choose one up to {_HIGHEST_PORT} with --port")
    if open_browser and token is not None:
        raise InputError("--browser would show the link that signs in to every user of this machine; open it yourself")
    Access.at(host, port, token=token, allow_hosts=allow_hosts)  # before anything is listened at
    with listen(host, port) as listener:
        port = listener.getsockname()[1]
        access = Access.at(host, port, token=token, allow_hosts=allow_hosts, read_only=read_only)
        address = f"http://{_shown(host)}:{port}/"
        app = create_app(root, access=access)
        ready(access.link(address))
        if open_browser:
            webbrowser.open(address)
        threading.Thread(target=open_ahead, args=(app.state.library,)).start()
        with nullcontext() if read_only else app.state.jobs.working():
            asyncio.run(_answer(uvicorn.Server(configuration(app)), listener))


def open_ahead(library: Library) -> None:
    """Where there is one dictionary, it is what will be looked at: a million features take a second to open."""
    with suppress(LexiscopeError):  # the page will say what is wrong
        dictionaries = library.dictionaries()
        if len(dictionaries) == 1:
            dictionaries[0].index.features(limit=1)
            dictionaries[0].index.overview()


async def _answer(server: uvicorn.Server, listener: socket.socket) -> None:
    """Few threads do the work: more would keep one another from finishing, and each keeps memory of its own."""
    to_thread.current_default_thread_limiter().total_tokens = _THREADS_PER_CORE * (os.cpu_count() or 1)
    await server.serve(sockets=[listener])


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for connections.

    Raises:
        InputError: the port is taken, or the address is none of this machine.
    """
    # Said to be TCP, as asyncio turns Nagle's algorithm off for nothing else; that holds answers back for 40 ms.
    listener = socket.socket(family_of(host), socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((address_of(host), port))
    except OSError as error:
        listener.close()
        raise InputError(
            f"port {port} at {host} can't be used ({error.strerror}); choose another with --port"
        ) from None
    listener.listen()
    return listener


def configuration(app: ASGIApp) -> uvicorn.Config:
    """How it is served: plain HTTP/1.1, no websockets, no log of requests, nobody believed about where one is from."""
    import uvicorn

    from lexiscope.web.security.connections import Connection

    return uvicorn.Config(
        app,
        http=Connection,
        ws="none",
        loop="asyncio",
        lifespan="off",
        log_level="warning",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        h11_max_incomplete_event_size=_HEADER_BYTES,
        timeout_graceful_shutdown=_SECONDS_TO_FINISH,
    )


def _write_nothing() -> None:
    """What Python and the kernels would write beside the folder that is shown: byte code, and C++ that they compile."""
    from lexiscope.saes.kernels.backend import VARIABLE

    sys.dont_write_bytecode = True
    os.environ.setdefault(VARIABLE, "stock")


def _shown(host: str) -> str:
    """The address as it can be opened on this machine."""
    address = address_of(host)
    if is_loopback(address) and ":" not in address:
        return address
    if address in {"0.0.0.0", "::"}:  # noqa: S104 - these mean every address; loopback is one of them
        return LOOPBACK
    return f"[{address}]" if ":" in address else address
