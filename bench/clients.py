"""A hundred people at once: how the web app answers them, and whether it keeps what it opens.

    python bench/clients.py RUN [--clients 100] [--seconds 120] [--pause 2]

Starts `lexiscope view RUN`. Every client asks for the JSON of random features, pages of the list and searches over one
kept connection, and reads for a while before it asks again. Prints errors, percentiles, what an answer costs the
server's processor, and its memory and descriptors after a fifth of the time and at the end, while all still ask.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple, Self

import numpy as np

SORTS = ("density", "max_activation", "variety", "documents")


class Client:
    """One kept connection."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def get(self, path: str) -> tuple[int, bytes]:
        if self._streams is None:
            self._streams = await asyncio.open_connection("127.0.0.1", self._port, limit=1 << 24)
        reader, writer = self._streams
        try:
            writer.write(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self._port}\r\n\r\n".encode())
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").lower()
            body = await reader.readexactly(int(head.partition("content-length: ")[2].partition("\r")[0]))
        except (OSError, asyncio.IncompleteReadError):
            self._streams = None  # an idle connection was closed; the next request opens one
            raise
        if "connection: close" in head:
            writer.close()
            self._streams = None
        return int(head.split()[1]), body


async def visit(
    client: Client, name: str, num_features: int, until: float, pause: float, seen: list[tuple[str, float]]
) -> None:
    chance = random.Random(id(client))
    await asyncio.sleep(chance.uniform(0, pause))
    while time.monotonic() < until:
        kind = chance.choices(("feature", "list", "search"), (8, 1, 1))[0]
        path = {
            "feature": f"/d/{name}/features/{chance.randrange(num_features)}.json",
            "list": f"/d/{name}.json?sort={chance.choice(SORTS)}&offset={chance.randrange(0, 10_000, 25)}",
            "search": f"/d/{name}.json?search=word{chance.randrange(1000)}",
        }[kind]
        began = time.monotonic()
        try:
            status, _ = await client.get(path)
            seen.append((kind if status == 200 else f"status {status}", time.monotonic() - began))
        except (OSError, asyncio.IncompleteReadError) as error:
            seen.append((type(error).__name__, time.monotonic() - began))
        await asyncio.sleep(chance.uniform(0, 2 * pause))


class State(NamedTuple):
    """Of the server: resident megabytes, open descriptors, seconds of processor time."""

    resident: float
    descriptors: int
    seconds: float

    @classmethod
    def of(cls, process: int) -> Self:
        own = Path(f"/proc/{process}")
        resident = next(line for line in (own / "status").read_text().splitlines() if line.startswith("VmRSS"))
        ticks = (own / "stat").read_text().rpartition(")")[2].split()[11:13]
        seconds = sum(map(int, ticks)) / os.sysconf("SC_CLK_TCK")
        return cls(int(resident.split()[1]) / 1024, len(list((own / "fd").iterdir())), seconds)


async def measure(port: int, process: int, given: argparse.Namespace) -> None:
    home = json.loads((await Client(port).get("/.json"))[1])
    name, num_features = home["dictionaries"][0]["name"], home["dictionaries"][0]["num_features"]
    seen: list[tuple[str, float]] = []
    start = State.of(process)
    until = time.monotonic() + given.seconds
    clients = [Client(port) for _ in range(given.clients)]
    visits = [asyncio.create_task(visit(one, name, num_features, until, given.pause, seen)) for one in clients]
    await asyncio.sleep(given.seconds / 5)
    early = State.of(process)
    await asyncio.sleep(given.seconds * 4 / 5)
    late = State.of(process)
    await asyncio.gather(*visits)
    kinds = Counter(kind for kind, _ in seen)
    print(f"{len(seen)} requests in {given.seconds:.0f} s: {dict(kinds)}")
    for kind in ("feature", "list", "search"):
        times = [seconds * 1e3 for of, seconds in seen if of == kind]
        p50, p95 = np.percentile(times, [50, 95])
        print(f"{kind:<10}p50 {p50:6.0f} ms   p95 {p95:6.0f} ms   most {max(times):6.0f} ms")
    print(f"all       p95 {np.percentile([seconds * 1e3 for _, seconds in seen], 95):6.0f} ms")
    print(f"{(late.seconds - start.seconds) / len(seen) * 1e3:.1f} ms of processor time each")
    print(f"resident {early.resident:.0f} MB, then {late.resident:.0f} MB ({late.resident / early.resident - 1:+.1%})")
    print(f"open descriptors {early.descriptors}, then {late.descriptors}")


@contextlib.contextmanager
def served(run: Path) -> Iterator[tuple[int, int]]:
    """`lexiscope view` of a run: its port and its process."""
    command = [sys.executable, "-m", "lexiscope.cli.main", "view", str(run), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        address = next(line.split()[-1] for line in server.stdout if "http://" in line)
        try:
            yield int(address.rstrip("/").rpartition(":")[2]), server.pid
        finally:
            server.terminate()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=120)
    parser.add_argument("--pause", type=float, default=2, help="seconds that a client reads, on average")
    given = parser.parse_args()
    with served(given.run) as (port, process):
        asyncio.run(measure(port, process, given))


if __name__ == "__main__":
    main()
