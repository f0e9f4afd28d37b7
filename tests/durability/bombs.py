"""What runs when somebody is careless: pickles, modules, templates. If any of it runs, ``mark`` appears."""

from __future__ import annotations

import io
import os
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

PICKLES = [
    "pytorch_model.bin",
    "training_args.bin",
    "optimizer.pt",
    "rng_state.pth",
    "scheduler.pt",
    "model.ckpt",
    "x.pkl",
]
"""Names under which pickles travel."""


class Bundle(NamedTuple):
    kind: str
    """What it pretends to be: a model, a sae, a store, an index, a scorecard, a corpus, or a recipe."""
    name: str
    make: Callable[[Path, Path], None]
    said: str | None
    """Part of what is said when it is refused. None: what it brings is left alone, and the rest may work."""


class Bomb:
    """Unpickled, it makes a folder."""

    def __init__(self, mark: Path) -> None:
        self.mark = str(mark)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.mark,)


def pickled(mark: Path) -> bytes:
    return pickle.dumps({"model.embed_tokens.weight": Bomb(mark)})


def as_torch(mark: Path) -> bytes:
    """As torch.save writes it."""
    file = io.BytesIO()
    torch.save({"weight": torch.zeros(2), "bomb": Bomb(mark)}, file)
    return file.getvalue()


def as_numpy(mark: Path) -> bytes:
    """An .npz with an array of objects."""
    file = io.BytesIO()
    np.savez(file, weight=np.array([Bomb(mark)], dtype=object))
    return file.getvalue()


def code(mark: Path) -> str:
    """A module that marks its import, and has whatever is asked of it."""
    made = f"__import__('os').makedirs({str(mark)!r}, exist_ok=True)"
    return f"{made}\nclass Evil:\n    def __getattr__(self, name):\n        {made}\n"


def template(mark: Path) -> str:
    """For a sandbox that leaks."""
    return "{{ cycler.__init__.__globals__.os.system('touch " + str(mark) + "') }}{{ raise_exception('x') }}"
