"""Stop: Ctrl-C and SIGTERM end long work at the next good place instead of in the middle."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


class Stopped(KeyboardInterrupt):
    """Work was asked to stop, and did so where it can go on. The message says how.

    A KeyboardInterrupt, so that nothing takes it for a failure.
    """

    def __init__(self, message: str, signal_number: int) -> None:
        super().__init__(message)
        self.exit_code = 128 + signal_number


class Asked:
    """Whether somebody asked to stop: the number of the signal, or 0."""

    signal_number = 0

    def __bool__(self) -> bool:
        return self.signal_number != 0


@contextmanager
def stoppable() -> Iterator[Asked]:
    """Within the block the first SIGINT or SIGTERM is only noted; a second one is a KeyboardInterrupt at once.

    Signals reach the main thread only; on another one nothing changes.
    """
    asked = Asked()
    if threading.current_thread() is not threading.main_thread():
        yield asked
        return

    def note(number: int, frame: FrameType | None) -> None:
        del frame
        if asked:
            raise KeyboardInterrupt
        asked.signal_number = number

    before = {number: signal.signal(number, note) for number in SIGNALS}
    try:
        yield asked
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
