"""The estimate of a run's memory. Oracle: the peak that the system counts for a process that trains."""

import json
import platform
import subprocess
import sys

import pytest
import torch

from lexiscope.saes import matching_pursuit, topk, transcoder
from lexiscope.saes.registry import class_of
from lexiscope.train.config import TrainConfig, resolve
from lexiscope.train.memory import estimate

RUN = """
import json, sys
from pathlib import Path
import torch
from lexiscope.core.hookpoint import HookPoint
from lexiscope.saes import topk
from lexiscope.train import TrainConfig, train
from lexiscope.train.config import resolve
from lexiscope.train.memory import estimate

D, tokens = 256, 2048

class Source:
    hooks = [HookPoint.parse("resid_post.0")]
    def width(self, hook):
        return D
    def batches(self, hook, *, batch_tokens, seed, split="train", epochs=None):
        rng = torch.Generator().manual_seed(seed)
        while True:
            yield torch.randn(batch_tokens, D, generator=rng)
    def describe(self):
        return {}

torch.set_num_threads(1)
asked = TrainConfig(tokens=4 * tokens, batch_tokens=tokens, optimizer_bits=int(sys.argv[2]))
config = topk.Config(num_latents=30_000, k=32)
expected = estimate([(config, resolve(asked, config, D)[0])], D)
train(Source(), config, asked, out=sys.argv[1])
peak = Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0]  # ru_maxrss is inherited from who started us
print(json.dumps([expected.total, 1024 * int(peak)]))
"""


@pytest.mark.skipif(platform.system() != "Linux", reason="units and meaning of the peak are Linux's")
@pytest.mark.parametrize("bits", [8, 32])
def test_the_peak_of_a_run_is_foreseen(tmp_path, bits):
    """To 15 % here; the benchmark asks for 10 % on more shapes."""
    result = subprocess.run(
        [sys.executable, "-c", RUN, tmp_path / "sae", str(bits)], capture_output=True, text=True, check=True
    )
    expected, peak = json.loads(result.stdout)
    assert expected == pytest.approx(peak, rel=0.15)


def resolved(config, width, **settings):
    return config, resolve(TrainConfig(tokens=100_000, **settings), config, width)[0]


def test_weights_are_those_that_will_be_there():
    for config, widths in (
        (topk.Config(num_latents=3000, k=4), (64, None)),
        (transcoder.Config(num_latents=3000, skip=True), (64, 32)),
        (matching_pursuit.Config(num_latents=3000, k=4), (64, None)),
    ):
        parts = estimate([resolved(config, widths[0])], *widths, running=0).parts
        sae = class_of(config.architecture)(config, widths[0], widths[1] or widths[0])
        assert parts["weights"] == sum(tensor.nbytes for tensor in sae.state_dict().values()), config.architecture


def test_members_of_a_sweep_share_the_activations_but_not_the_weights():
    config = topk.Config(num_latents=30_000, k=4)
    one, three = (estimate([resolved(config, 64)] * count, 64, running=0) for count in (1, 3))
    for part in ("weights", "gradients", "moments of Adam"):
        assert three.parts[part] == 3 * one.parts[part]
    assert three.parts["activations of a step"] == one.parts["activations of a step"]
    eight = estimate([resolved(config, 64, optimizer_bits=8)], 64, running=0)
    assert eight.parts["moments of Adam"] < 0.26 * one.parts["moments of Adam"]
    assert str(one).startswith(f"{one.total / 1e9:.2f} GB (moments of Adam 0.03")


def test_more_threads_need_more_room(monkeypatch):
    monkeypatch.setattr(torch, "get_num_threads", lambda: 1)
    one = estimate([resolved(topk.Config(num_latents=30_000, k=4), 64)], 64, running=0).total
    monkeypatch.setattr(torch, "get_num_threads", lambda: 9)
    assert estimate([resolved(topk.Config(num_latents=30_000, k=4), 64)], 64, running=0).total == one + (64 << 20)
