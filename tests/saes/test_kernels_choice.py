"""When Triton's kernels serve. Oracle: the table at the top of `lexiscope.saes.kernels.backend`."""

import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch

from lexiscope.core.errors import InputError
from lexiscope.saes.kernels import backend

F32, F64 = torch.float32, torch.float64

WITHOUT = """
import importlib
import pkgutil
import sys
from importlib.machinery import PathFinder
find = PathFinder.find_spec
PathFinder.find_spec = lambda name, *rest: None if name == "triton" else find(name, *rest)

import torch
import lexiscope
from lexiscope.saes import topk
from lexiscope.saes.base import Batch
from lexiscope.saes.kernels import backend

for module in pkgutil.walk_packages(lexiscope.__path__, "lexiscope."):
    if ".kernels.triton." not in module.name and not module.name.endswith("__main__"):
        importlib.import_module(module.name)
x_TD = torch.randn(8, 4)
sae = topk.TopK.from_sample(topk.Config(num_latents=16, k=2), Batch.same(x_TD))
assert len(sae.encode(x_TD)) <= 16
assert not backend.has_triton() and "triton" not in sys.modules
"""


def on(device, dtype=F32):
    """What `backend.path` asks of a tensor: there may be no such device here."""
    return SimpleNamespace(device=torch.device(device), is_cpu=device == "cpu", dtype=dtype)


@pytest.fixture
def second_gpu(monkeypatch):
    monkeypatch.delenv(backend.VARIABLE, raising=False)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 1)


@pytest.mark.parametrize(
    ("tensors", "expected"),
    [
        ((on("cuda:1"),), "triton"),
        ((on("cuda:1", F64), on("cuda:1", torch.bfloat16)), "triton"),
        ((on("cuda:0"),), "stock"),
        ((on("cuda:1"), on("cuda:0")), "stock"),
        ((on("cuda:1"), on("cpu")), "stock"),
        ((on("mps:0"),), "stock"),
        ((on("cpu", F64),), "stock"),
    ],
)
def test_left_alone_only_what_is_on_the_current_cuda_device_goes_to_triton(second_gpu, tensors, expected, monkeypatch):
    monkeypatch.setattr(backend, "has_triton", lambda: True)
    assert backend.path(*tensors) == expected
    assert backend.path(on("cpu")) in ("native", "stock")
    for asked in ("stock", "dense"):
        with backend.use(asked):
            assert backend.path(*tensors) == asked


def test_where_it_is_not_installed_stock_serves_and_asking_says_so(second_gpu, monkeypatch):
    monkeypatch.setattr(backend, "has_triton", lambda: False)
    assert backend.path(on("cuda:1")) == "stock"
    with pytest.raises(InputError, match="triton is not installed"), backend.use("triton"):
        pass


def test_the_processor_is_served_only_in_the_interpreter_and_if_asked(monkeypatch):
    monkeypatch.setattr(backend, "has_triton", lambda: True)
    monkeypatch.setattr(backend, "_interprets", lambda: True)
    with backend.use("triton"):
        assert backend.path(on("cpu")) == "triton"
        monkeypatch.setattr(backend, "_interprets", lambda: False)
        assert backend.path(on("cpu")) == "stock"
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(InputError, match="no CUDA device.*TRITON_INTERPRET=1"), backend.use("triton"):
        pass


def test_everything_else_works_without_triton():
    """Oracle: a fresh process in which it cannot be found."""
    done = subprocess.run([sys.executable, "-c", WITHOUT], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
