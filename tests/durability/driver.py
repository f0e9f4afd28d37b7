"""A process that runs small stages, each in a child of its own, on a disk that fails as it is told (see shim.c).

Everything is imported once: a child costs milliseconds. It reads one request per line and answers with one.
"""

from __future__ import annotations

import ctypes
import json
import mmap
import os
import resource
import select
import signal
import struct
import sys
import time
import traceback
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import duckdb  # noqa: F401  so that no child has to find memory for it
import torch
from tests.harvest.conftest import FakeCorpus, FakeModel, byte_tokenizer
from tests.index import world as words

from lexiscope.cli import main as cli
from lexiscope.cli.stage import finished
from lexiscope.core.artifact import open_artifact
from lexiscope.core.checkpoint import Checkpoints, Keeping
from lexiscope.core.disk import write_json
from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import LexiscopeError, one_line
from lexiscope.core.stop import Stopped
from lexiscope.harvest.harvest import harvest
from lexiscope.index.build import build_index
from lexiscope.index.concordance import collect
from lexiscope.index.config import IndexConfig
from lexiscope.measure.worlds.linear import Config, LinearWorld
from lexiscope.saes import topk
from lexiscope.text.document import Document
from lexiscope.text.tokenizer import FastTokenizer
from lexiscope.train.config import TrainConfig
from lexiscope.train.run import train
from lexiscope.train.spikes import Recovery

HERE = Path(__file__).parent
STEPS, BATCH = 12, 64
WORLD = LinearWorld(Config(width=12, num_features=30, active=3))
WIDE_WORLD = LinearWorld(Config(width=256, num_features=2048, active=8))
MODEL = FakeModel(FastTokenizer(byte_tokenizer(), bos_id=256), {"resid_post.1": 6, "mlp_out.0": 3})
DOCUMENTS = [Document(f"fake:{n}", f"Text {n} " * (n % 7 + 1), "prose", "CC0-1.0") for n in range(40)]


def train_small(out: Path, every: int | None) -> None:
    optimise = TrainConfig(
        tokens=BATCH * STEPS,
        batch_tokens=BATCH,
        heldout_tokens=100,
        log_every_steps=2,
        evaluate_every_steps=5,
        dead_after_tokens=3 * BATCH,
    )
    train(WORLD, topk.Config(num_latents=40, k=3), optimise, out=out, recovery=Recovery(every_steps=every))


def train_wide(out: Path, every: int | None) -> None:
    """One that needs some memory."""
    optimise = TrainConfig(tokens=512 * 3, batch_tokens=512, heldout_tokens=100)
    train(WIDE_WORLD, topk.Config(num_latents=8192, k=8), optimise, out=out, recovery=Recovery(every_steps=every))


def harvest_small(out: Path, every: int | None) -> None:
    sizes = {"tokens": 700, "context": 24, "batch": 4, "shard_tokens": 200}
    harvest(
        MODEL,
        FakeCorpus(DOCUMENTS),
        ["resid_post.1", "mlp_out.0"],
        out=out,
        keeping=Keeping(every_steps=every),
        **sizes,
    )


def scorecard(out: Path, every: int | None) -> None:
    with write_artifact(out, "scorecard", config={"tokens": 100}) as draft:
        write_json(draft.path / "scorecard.json", {f"metric {n}": n / 7 for n in range(50)})
        (draft.path / "plots").mkdir(exist_ok=True)
        (draft.path / "plots" / "curve.svg").write_text("<svg/>" * 20)


class World:
    """That of the tests of the index, made when it is first asked for."""

    def __init__(self) -> None:
        self._made: Any = None

    def __call__(self) -> Any:
        if self._made is None:
            world = words.World()
            self._made = words.Dictionary(), words.Model(world), words.Store(world, FOLDER / "words")
        return self._made


def index_small(out: Path, every: int | None) -> None:
    collect.CHUNK_TOKENS = 100
    few = IndexConfig(firings_at_once=4000)
    build_index(*WORDS(), out=out, config=few)


TASKS: dict[str, Callable[[Path, int | None], None]] = {
    "train": train_small,
    "train wide": train_wide,
    "harvest": harvest_small,
    "scorecard": scorecard,
    "index": index_small,
}
KINDS = {"harvest": "store", "scorecard": "scorecard", "index": "index"}
FOLDER = Path(sys.argv[1])
WORDS = World()


def perform(request: dict[str, Any]) -> dict[str, Any]:
    """Run a stage, or a line of the program, as `lexiscope.cli.main.main` would: an error is a sentence."""
    warned: list[str] = []
    warnings.simplefilter("always")
    warnings.showwarning = lambda message, *_, **__: warned.append(str(message))
    out = Path(os.fsdecode(bytes.fromhex(request["out"])))
    try:
        with little_memory(request["memory"]):
            if request["task"] == "cli":
                sys.argv = ["lexiscope", *request["arguments"]]
                cli.main()
            else:
                again(request["task"], out, request["every"])
    except Stopped as error:
        return {"ended": "stopped", "kind": "Stopped", "message": str(error), "warnings": warned}
    except LexiscopeError as error:
        return {"ended": "refused", "kind": type(error).__name__, "message": str(error), "warnings": warned}
    except SystemExit as error:
        return {"ended": f"exit {error.code}", "kind": "", "message": "", "warnings": warned}
    except Exception as error:  # noqa: BLE001  whatever it is
        if (said := cli._sentence(error)) is not None:
            how = "out of memory" if said[0] == cli.NO_MEMORY else "refused"
            kind = "InputError" if said[1] == 2 else type(error).__name__
            return {"ended": how, "kind": kind, "message": one_line(said[0]), "warnings": warned}
        return traced(error, warned)
    except BaseException as error:  # noqa: BLE001  whatever it is
        return traced(error, warned)
    return {"ended": "done", "kind": "", "message": "", "warnings": warned}


def traced(error: BaseException, warned: list[str]) -> dict[str, Any]:
    """What nobody should see."""
    text = "".join(traceback.format_exception(error))
    return {"ended": "traceback", "kind": type(error).__name__, "message": text, "warnings": warned}


@contextmanager
def little_memory(more_bytes: int | None) -> Iterator[None]:
    """At most so much more than there is now."""
    none = resource.RLIM_INFINITY
    if more_bytes is not None:
        now = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (now + more_bytes, none))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (none, none))


def again(task: str, out: Path, every: int | None) -> None:
    """What the program does: nothing where the artifact is there. Here it must be whole, too."""
    kind = KINDS.get(task, "sae")
    if finished(out, kind, {}):
        open_artifact(out, kind).verify()
    else:
        TASKS[task](out, every)


class Shim:
    """The library this process was started with, and what it reports of a child."""

    def __init__(self) -> None:
        self._library = ctypes.CDLL(None)
        self._library.shim_arm.argtypes = [
            ctypes.c_char_p, ctypes.c_int, ctypes.c_int, ctypes.c_long, ctypes.c_uint, ctypes.c_int, ctypes.c_void_p,
        ]  # fmt: skip
        size = self._library.shim_report_size()
        self._shared = mmap.mmap(-1, size)
        self._address = ctypes.addressof(ctypes.c_char.from_buffer(self._shared))

    def arm(self, request: dict[str, Any]) -> None:
        fault = request["fault"]
        self._library.shim_arm(
            bytes.fromhex(request["root"]),
            fault["action"],
            fault["value"],
            fault["at"],
            fault["counted"],
            fault["clock_jump"],
            self._address,
        )
        if request["trace"]:
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC
            self._library.shim_trace(os.open(request["trace"], flags, 0o600))
            save = Checkpoints.save

            def marked(checkpoints: Checkpoints, number: int, *arguments: Any) -> None:
                save(checkpoints, number, *arguments)
                self.mark(f"checkpoint {number}")

            Checkpoints.save = marked  # type: ignore[method-assign]

    def mark(self, text: str) -> None:
        self._library.shim_mark(text.encode())

    def clear(self) -> None:
        self._shared[:24] = bytes(24)

    def report(self) -> dict[str, Any]:
        calls, fired, op = struct.unpack_from("=qqi", self._shared)
        path = self._shared[20:].split(b"\0", 1)[0]
        return {"calls": calls, "fired": fired, "op": op, "path": os.fsdecode(path)}


def give_up_powers() -> None:
    """From now on what a folder allows holds for root, too."""
    nothing = (ctypes.c_uint32 * 6)()
    header = (ctypes.c_uint32 * 2)(0x20080522, 0)
    if ctypes.CDLL(None).capset(header, nothing):
        raise OSError("capset failed")


def child(request: dict[str, Any], shim: Shim, answer: int) -> None:
    if request["powerless"]:
        give_up_powers()
    shim.arm(request)
    found = perform(request)
    if found["ended"] == "done":
        shim.mark("done")
    os.write(answer, json.dumps(found).encode())


def start(request: dict[str, Any], shim: Shim) -> tuple[int, int]:
    """A child, and where its answer comes."""
    read, write = os.pipe()
    process = os.fork()
    if process == 0:
        try:
            os.close(read)
            # What the program says goes to a file, as does what torch says when it dies.
            said = os.open(request["said"], os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o666)
            os.dup2(said, 1)
            os.dup2(said, 2)
            child(request, shim, write)
            sys.stderr.flush()
        finally:
            os._exit(0)
    os.close(write)
    return process, read


def serve(request: dict[str, Any], shim: Shim) -> list[dict[str, Any]]:
    """Run a request in as many processes at once as it asks for."""
    shim.clear()
    started = [start(request, shim) for _ in range(request["copies"])]
    ended = [watched(*one, request) for one in started]
    return [one | {"report": shim.report()} for one in ended]


def watched(process: int, read: int, request: dict[str, Any]) -> dict[str, Any]:
    """Wait for a child. One that stops is sent on its way again."""
    until = time.monotonic() + request["seconds"]
    stopped = 0
    answer = b""
    while True:
        found, status = os.waitpid(process, os.WNOHANG | os.WUNTRACED)
        if found and os.WIFSTOPPED(status):
            stopped += 1
            os.kill(process, signal.SIGCONT)
        elif found:
            break
        elif time.monotonic() > until:
            os.kill(process, signal.SIGKILL)
            os.waitpid(process, 0)
            os.close(read)
            return {"ended": "hung", "kind": "", "message": "", "warnings": [], "stopped": stopped}
        ready, _, _ = select.select([read], [], [], 0.002)
        if ready:
            part = os.read(read, 1 << 16)
            answer += part
            if not part:
                time.sleep(0.0005)
    while part := os.read(read, 1 << 16):
        answer += part
    os.close(read)
    if os.WIFSIGNALED(status):
        name = signal.Signals(os.WTERMSIG(status)).name
        return {"ended": name, "kind": "", "message": "", "warnings": [], "stopped": stopped}
    return json.loads(answer) | {"stopped": stopped}


def main() -> None:
    torch.set_num_threads(1)
    shim = Shim()
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        request = json.loads(line)
        if request["task"] == "index":
            WORDS()  # once, for all children
        answers.write(json.dumps(serve(request, shim)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
