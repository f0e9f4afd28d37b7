"""Drivers of other libraries. Oracle: what the library itself counted; run where LEXISCOPE_PEERS names an interpreter.

LEXISCOPE_PEERS=/path/to/python pytest tests/bench/test_peers.py
"""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from lexiscope.bench.peers import PEERS, installed
from lexiscope.bench.process import Contender, Worker, peak_bytes
from lexiscope.bench.workload import Workload
from lexiscope.core.errors import InputError

PYTHON = os.environ.get("LEXISCOPE_PEERS")
CASES = [(name, architecture) for name, peer in PEERS.items() for architecture in peer.architectures]
DEAD = Workload("dead", width=32, num_latents=128, k=4, tokens=64, dead_fraction=0.25)
needs_peers = pytest.mark.skipif(PYTHON is None, reason="LEXISCOPE_PEERS names no interpreter with other libraries")


def test_versions_come_from_the_interpreter_itself(tmp_path: Path) -> None:
    """A stand-in that has one of them."""
    python = tmp_path / "python"
    versions = {"torch": "2", "eai-sparsify": "1.2"}
    python.write_text("#!/bin/sh\necho '" + json.dumps(versions) + "'\n")
    python.chmod(0o755)
    found = installed(str(python))
    assert found == (["sparsify"], versions)
    assert found.missing == ["dictionary-learning", "sae-lens"]
    assert installed(sys.executable).versions["torch"] == importlib.metadata.version("torch")


@pytest.mark.parametrize("text", [None, "#!/bin/sh\nexit 3\n", "#!/bin/sh\necho hello\n", "#!/bin/sh\necho {}\n"])
def test_what_is_no_interpreter_is_refused(text: str | None, tmp_path: Path) -> None:
    python = tmp_path / "python"
    if text is not None:
        python.write_text(text)
        python.chmod(0o755)
    with pytest.raises(InputError, match=r"is no Python interpreter|has no torch"):
        installed(str(python))


@needs_peers
@pytest.mark.parametrize(("name", "architecture"), CASES, ids=map("-".join, CASES))
def test_a_library_takes_one_step_per_batch(name: str, architecture: str) -> None:
    assert PYTHON is not None
    contender = Contender(name, f"lexiscope.bench.peers.{name}", architecture, DEAD, 1, PYTHON)
    with Worker(contender) as worker:
        worker.answer()
        assert all(worker.step()["seconds"] > 0 for _ in range(3))
    assert peak_bytes(contender) >= 0


COUNT = """
import itertools, sys, types
package = types.ModuleType("lexiscope")
package.__path__ = [sys.argv[1]]
sys.modules["lexiscope"] = package
from lexiscope.bench.workload import Workload
workload = Workload("dead", width=32, num_latents=128, k=4, tokens=64, dead_fraction=0.25)
seen = []
{watch}
from lexiscope.bench.peers import {name} as driver
driver.run("topk", workload, itertools.islice(itertools.cycle(workload.batches()), 3))
print("seen", seen)
"""
WATCHES = {
    "saelens": """
from sae_lens.training.sae_trainer import SAETrainer
step = SAETrainer._train_step
def watched(self, *arguments, **options):
    dead = int(self.dead_neurons.sum())
    out = step(self, *arguments, **options)
    seen.append((dead, float(out.losses["auxiliary_reconstruction_loss"]) > 0, list(out.sae_in.shape)))
    return out
SAETrainer._train_step = watched
""",
    "dictionary_learning": """
from dictionary_learning.trainers.top_k import TopKTrainer
update = TopKTrainer.update
def watched(self, step, x):
    dead = int((self.num_tokens_since_fired >= self.dead_feature_threshold).sum())
    update(self, step, x)
    seen.append((dead, float(self.pre_norm_auxk_loss) > 0, list(x.shape)))
TopKTrainer.update = watched
""",
    "sparsify": """
import os
os.environ["SPARSIFY_DISABLE_TRITON"] = "1"
from sparsify import SparseCoder
forward = SparseCoder.forward
def watched(self, x, y=None, *, dead_mask=None, **options):
    out = forward(self, x, y, dead_mask=dead_mask, **options)
    seen.append((int(dead_mask.sum()), float(out.auxk_loss) > 0, list(x.shape)))
    return out
SparseCoder.forward = watched
""",
}


@needs_peers
@pytest.mark.parametrize("name", WATCHES)
def test_the_remedy_works_on_the_latents_that_are_declared_dead(name: str) -> None:
    """Watched inside the library: 32 of 128 latents are dead before each of three steps on 64 tokens."""
    assert PYTHON is not None
    package = Path(__file__).parents[2] / "src" / "lexiscope"
    code = COUNT.format(watch=WATCHES[name], name=name)
    done = subprocess.run([PYTHON, "-c", code, str(package)], capture_output=True, text=True, check=False, cwd="/")
    assert done.stdout.splitlines()[-1:] == [f"seen {[(32, True, [64, 32])] * 3}"], done.stderr[-800:]
