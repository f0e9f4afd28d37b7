"""Power is lost at any moment. Oracles: the same stage undisturbed; and what it had said was on the disk.

The trace of a run is cut after each of its changes, and a disk is laid out as it may then be (powerloss.py).
"""

from __future__ import annotations

import random

import pytest
from tests.durability.faults import RENAMES, contents, kill, read_trace
from tests.durability.powerloss import POLICIES, Trace, found_in, lay_out


@pytest.fixture
def traced(driver, whole, tmp_path):
    """traced(stage, killed): what a run did where nothing was, or where another was killed in its last checkpoints."""

    def trace(task, killed):
        folder = tmp_path / "traced"
        folder.mkdir()
        out = folder / "runs" / "out"
        if killed:
            _, renames = whole(task, RENAMES)
            driver.run(task, out, kill(max(1, renames - 3), counted=RENAMES), root=folder)
        before = found_in(folder)
        ended = driver.run(task, out, root=folder, trace=tmp_path / "trace")
        assert ended.how == "done", ended
        found = Trace(folder, list(read_trace(tmp_path / "trace")), before)
        everything = found.after(len(found.changes), "everything", random.Random(0))
        assert everything == found_in(folder)  # nothing went past the trace
        return found

    return trace


@pytest.mark.parametrize("killed", [False, True], ids=["from the start", "going on"])
@pytest.mark.parametrize(
    ("task", "quick", "full"), [("train", 10, 600), ("harvest", 10, 600), ("index", 1, 200), ("scorecard", 3, 100)]
)
def test_power_is_lost(driver, whole, traced, amount, figure, tmp_path, task, quick, full, killed):
    expected, _ = whole(task)
    found = traced(task, killed)
    chance = random.Random(task)
    every = [(cut, policy) for cut in range(len(found.changes) + 1) for policy in POLICIES]
    last = (len(found.changes), "nothing but what is certain")
    cases = [*chance.sample(every, min(len(every), amount(quick, full))), last]
    seen = set()
    for number, (cut, policy) in enumerate(cases):
        files = found.after(cut, policy, chance)
        said = tuple(text for after, text in found.marks if after < cut)
        if (state := (said, *files.items())) in seen:
            continue
        seen.add(state)
        case = f"{task}, cut after {cut} of {len(found.changes)} changes, {policy}"
        folder = tmp_path / str(number)
        folder.mkdir()
        lay_out(files, folder)
        out = folder / "runs" / "out"
        assert out.exists() or "done" not in said, case
        if out.exists():
            assert contents(out) == expected, case
        elif said:
            newest = max(int(text.removeprefix("checkpoint ")) for text in said)
            kept = [int(path.name) for path in out.parent.glob(".out.work/checkpoints/[0-9]*")]
            assert max(kept, default=-1) >= newest, case
        after = driver.run(task, out, every=None, root=folder)
        assert after.how == "done", (case, after)
        assert not after.warnings, (case, after)
        assert contents(out) == expected, case
        assert [path.name for path in out.parent.iterdir()] == ["out"], case
    while_ = ", while going on" if killed else ""
    figure(f"power lost, {task}{while_}: prefixes, same bytes", f"{len(cases)} of {len(cases)}", "all")
