"""Oracle: the operating system, which knows what is listened to and where."""

from __future__ import annotations

import socket

import pytest

from lexiscope.core.errors import InputError
from lexiscope.web.server import serve


@pytest.mark.parametrize("host", ["0.0.0.0", "192.168.1.2", "::", "example.org"])
def test_other_hosts_are_refused_with_a_way_out(root, host):
    with pytest.raises(InputError, match="ssh -L"):
        serve(root, host=host)


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


def test_a_missing_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="no folder"):
        serve(tmp_path / "none", port=0, open_browser=False)
