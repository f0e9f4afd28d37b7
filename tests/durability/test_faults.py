"""A disk that is full or fails, at every kind of call. Oracles: the same stage undisturbed, byte by byte; and of what a
stage says, that it is a sentence.

Each fault strikes one run. What is under a final name after it must be whole, and the same command must then end with
the same bytes.
"""

from __future__ import annotations

import errno
import itertools
import random

import pytest
from tests.durability.conftest import SOAK
from tests.durability.faults import ALL, CHANGES, SPACE, TRANSFERS, Action, Fault, Op, contents

from lexiscope.cli.main import NO_MEMORY, _sentence

TASKS = ("train", "harvest", "scorecard", "index")
RETRIED = ALL - {Op.RENAME, Op.UNLINK, Op.MKDIR, Op.RMDIR}
KINDS = {
    "full from then on": Fault(Action.FAIL_FROM, errno.ENOSPC, 0, SPACE),
    "failing once": Fault(Action.FAIL_ONCE, errno.EIO, 0, ALL),
    "short": Fault(Action.SHORT, 0, 0, TRANSFERS),
    "interrupted": Fault(Action.FAIL_ONCE, errno.EINTR, 0, RETRIED),
    "full once": Fault(Action.FAIL_ONCE, errno.ENOSPC, 0, SPACE),
    "failing from then on": Fault(Action.FAIL_FROM, errno.EIO, 0, ALL),
    "read-only from then on": Fault(Action.FAIL_FROM, errno.EROFS, 0, CHANGES - {Op.SYNC}),
    "not allowed from then on": Fault(Action.FAIL_FROM, errno.EACCES, 0, frozenset({Op.CREATE, Op.MKDIR, Op.RENAME})),
    "over quota": Fault(Action.FAIL_FROM, errno.EDQUOT, 0, SPACE),
    "stale once": Fault(Action.FAIL_ONCE, errno.ESTALE, 0, ALL),
}
EVERYWHERE = [(task, kind) for task, kind in itertools.product(TASKS, KINDS)]
HERE_AND_THERE = [(TASKS[number % len(TASKS)], kind) for number, kind in enumerate(KINDS)]
"""Every kind once."""

READING = ("ArtifactError", "SelfCheckError")
"""What it may be called if what was written can't be read."""


def harmless(kind, fired):
    """Whether a stage should not even notice. DuckDB and safetensors take an interrupted call for a failed one."""
    if kind == "interrupted":
        foreign = fired.path.endswith(".parquet") or (fired.op in {Op.OPEN, Op.READ} and ".safetensors" in fired.path)
        return not foreign
    return kind == "short"


def check(driver, task, out, ended, expected):
    """What must hold after a fault."""
    assert ended.how in {"done", "refused"}, ended
    if ended.how == "refused":
        read = ended.fired.op in {Op.OPEN, Op.READ} or out.exists()
        assert ended.kind in {"DiskError", "InputError", *(READING if read else ())}, ended
        assert str(out.parent) in ended.message, ended
        assert ";" in ended.message, ended  # the next move
    assert {path.name for path in out.parent.iterdir()} <= {"out", ".out.work"}
    if out.exists():
        assert contents(out) == expected, ended
    after = driver.run(task, out, every=None)
    assert after.how == "done", (ended, after)
    assert contents(out) == expected, ended
    assert [path.name for path in out.parent.iterdir()] == ["out"], ended


@pytest.mark.parametrize(("task", "kind"), EVERYWHERE if SOAK else HERE_AND_THERE)
def test_a_stage_ends_with_a_sentence_and_goes_on_later(driver, whole, amount, figure, tmp_path, task, kind):
    fault = KINDS[kind]
    expected, calls = whole(task, fault.counted)
    places = sorted(random.Random(kind).sample(range(1, calls + 1), min(calls, amount(2, 100))))
    struck = 0
    for at in places:
        out = tmp_path / str(at) / "out"
        out.parent.mkdir()
        ended = driver.run(task, out, fault._replace(at=at))
        if not ended.fired:  # DuckDB's threads make a few calls more or less each time
            assert (task, ended.how) == ("index", "done")
            continue
        struck += 1
        if harmless(kind, ended.fired):
            assert ended.how == "done", ended
        check(driver, task, out, ended, expected)
    assert struck >= 0.9 * len(places)
    figure(f"disk {kind}, {task}: sentence, same bytes", f"{struck} of {struck}", "all")


def test_the_program_says_it_in_one_line(driver, tmp_path):
    """The verb itself, from its arguments to what is on the terminal."""
    assert driver.run("harvest", tmp_path / "store").how == "done"
    words = "train --hook resid_post.1 --set sae.architecture=topk --set sae.k=2 --set sae.num_latents=16"
    sizes = "--set optimise.tokens=640 --set optimise.batch_tokens=64 --set optimise.heldout_tokens=50"
    out = tmp_path / "runs" / "sae"
    command = [*f"{words} {sizes}".split(), "--store", str(tmp_path / "store"), "--out", str(out)]

    def run(fault):
        ended = driver.run("cli", out, fault, root=tmp_path / "runs", arguments=command)
        return ended.how, [line for line in ended.said.splitlines() if line.startswith("lexiscope: ")]

    full = Fault(Action.FAIL_FROM, errno.ENOSPC, 12, SPACE)
    assert run(full) == (
        "exit 1",
        [f"lexiscope: the disk of {out} is full; make room and give the same command again, or choose another --out"],
    )
    assert run(Fault()) == ("exit 0", [])
    assert out.is_dir()


ERRORS = [
    (MemoryError(), (NO_MEMORY, 1)),
    (RuntimeError("[enforce fail at alloc_cpu.cpp:127] DefaultCPUAllocator: can't allocate memory"), (NO_MEMORY, 1)),
    (RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB"), (NO_MEMORY, 1)),
    (ImportError("libtorch.so: failed to map segment from shared object"), (NO_MEMORY, 1)),
    (OSError(errno.ENOMEM, "Cannot allocate memory"), (NO_MEMORY, 1)),
    (OSError(errno.ELOOP, "Too many levels", "a"), ("a: Too many levels; give another path", 2)),
    (OSError(errno.EIO, "Input/output error"), ("Input/output error; mend that and give the same command again", 1)),
    (OSError("of a library, about a network"), None),
    (RuntimeError("a mistake of ours"), None),
]


@pytest.mark.parametrize(("error", "said"), ERRORS, ids=[repr(error)[:40] for error, _ in ERRORS])
def test_errors_of_the_system_that_no_stage_expects(error, said):
    """Oracle: the sentences, as the program prints them; a traceback only for what is a mistake of ours."""
    assert _sentence(error) == said
