"""serve: the app on a loopback address."""

from __future__ import annotations

import socket
import webbrowser
from collections.abc import Callable
from pathlib import Path

from lexiscope.core.errors import InputError
from lexiscope.web.app import DEFAULT_PORT, create_app

LOOPBACK = "127.0.0.1"
_HIGHEST_PORT = 65_535


def serve(
    root: Path | str,
    *,
    host: str = LOOPBACK,
    port: int = DEFAULT_PORT,
    open_browser: bool = True,
    ready: Callable[[str], None] = print,
) -> None:
    """Show the artifacts under a folder until interrupted.

    Args:
        host: only loopback is allowed: the pages are for whoever sits at this machine.
        port: 0 takes any free one.
        ready: told the address before the first request is answered.

    Raises:
        InputError: no such folder, another host, or a port that is taken or can't be.
    """
    import uvicorn

    if host not in {LOOPBACK, "localhost"}:
        raise InputError(
            f"Lexiscope is shown on {LOOPBACK} only, not on {host}; to see it from another machine, forward the port: "
            f"ssh -L {port}:{LOOPBACK}:{port} this-machine"
        )
    if not 0 <= port <= _HIGHEST_PORT:
        raise InputError(f"there is no port {port}; choose one up to {_HIGHEST_PORT} with --port")
    with socket.socket() as listener:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            listener.bind((LOOPBACK, port))
        except OSError as error:
            raise InputError(f"port {port} can't be used ({error.strerror}); choose another with --port") from None
        listener.listen()
        port = listener.getsockname()[1]
        app = create_app(root, port=port)
        address = f"http://{LOOPBACK}:{port}/"
        ready(address)
        if open_browser:
            webbrowser.open(address)
        server = uvicorn.Server(uvicorn.Config(app, log_level="warning", server_header=False))
        server.run(sockets=[listener])
