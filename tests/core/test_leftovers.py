"""What killed runs leave. Oracle: the folders that are there afterwards."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from lexiscope.core.artifact import open_artifact
from lexiscope.core.draft import write_artifact

KILLED = """
import os, sys
from pathlib import Path
from lexiscope.core.draft import write_artifact
with write_artifact(Path(sys.argv[1]), "sae", config={}) as draft:
    (draft.path / "half").write_text("x")
    os.kill(os.getpid(), 9)
"""


def test_a_killed_run_is_cleared_away_by_the_next(tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-c", KILLED, str(tmp_path / "a")], check=False)
    assert [path.name for path in tmp_path.iterdir()] == [".a.work"]
    with write_artifact(tmp_path / "a", "sae", config={}):
        pass
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_running_one_is_left_alone(tmp_path: Path) -> None:
    with write_artifact(tmp_path / "a", "sae", config={}) as first:
        (first.path / "mine").write_text("x")
        with write_artifact(tmp_path / "b", "sae", config={}):
            pass
        assert (first.path / "mine").exists()
    open_artifact(tmp_path / "a", "sae").verify()
