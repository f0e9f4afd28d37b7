"""The app on a real socket, served as `lexiscope view` does."""

from __future__ import annotations

import contextlib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from lexiscope.web.app import create_app
from lexiscope.web.security.access import Access
from lexiscope.web.server import configuration


@contextlib.contextmanager
def running(root: Path, prepare: Callable[[Any], None] = lambda app: None, **access: Any) -> Iterator[int]:
    """The port of the running app.

    Args:
        prepare: given the app before its first request.
        access: settings of `Access.at`.
    """
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(512)
        port = listener.getsockname()[1]
        app = create_app(root, access=Access.at(port=port, **access))
        prepare(app)
        server = uvicorn.Server(configuration(app))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listener]})
        thread.start()
        while not server.started:
            time.sleep(0.01)
        try:
            yield port
        finally:  # a test that fails must not leave a thread that nobody ends
            server.should_exit = True
            thread.join()
