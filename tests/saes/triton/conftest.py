"""Triton's interpreter stands in for a GPU where there is none; it has to be asked for before triton is first imported.

It takes a millisecond for each operation of each program, so tiles are small and rows share programs.
"""

import os

import pytest
import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"


@pytest.fixture
def device():
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@pytest.fixture
def rng():
    return torch.Generator().manual_seed(0)


@pytest.fixture(autouse=True)
def small_launches(monkeypatch):
    """Few programs, and tiles of which even tiny problems have several."""
    from lexiscope.saes.kernels.triton import gather, launch, scores

    monkeypatch.setattr(launch, "PROGRAMS", 1)
    monkeypatch.setattr(launch, "NUMBERS", 2**15)
    monkeypatch.setattr(gather, "LANES", 32)
    tile = scores.Tile(16, 32, 16, warps=4, stages=2)
    monkeypatch.setattr(scores, "TILES", {2: tile, 4: tile})
