"""What an index costs beside running the model and the encoder over the same tokens.

    python bench/index_overhead.py RUN [--tokens 200000]

Runs the demo model and the dictionary of a finished run over text, as a harvest and an encoder would, and then builds
the concordance from the codes; each three times in turn, one thread. Prints the median of both and their ratio.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from lexiscope import saes
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.store import ActivationStore
from lexiscope.index.build import build_index
from lexiscope.lm.model import LanguageModel

CONTEXTS_AT_ONCE = 32
ROUNDS = 3


def run_model(model: LanguageModel, hook: HookPoint, tokens_T: np.ndarray, length: int) -> float:
    """Seconds of running the model up to the hook point over all tokens."""
    contexts = torch.from_numpy(tokens_T[: len(tokens_T) // length * length].astype(np.int64)).view(-1, length)
    began = time.perf_counter()
    with torch.inference_mode():
        for tokens_BC in contexts.split(CONTEXTS_AT_ONCE):
            model.read(tokens_BC, [hook])
    return time.perf_counter() - began


def encode(sae: saes.SparseAutoencoder, store: ActivationStore, hook: HookPoint) -> float:
    began = time.perf_counter()
    with torch.inference_mode():
        for chunk in store.chunks(hook):
            sae.encode(chunk.x_TD)
    return time.perf_counter() - began


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="a folder with store/ and sae/")
    given = parser.parse_args()
    torch.set_num_threads(1)
    sae, store = saes.load(given.run / "sae"), ActivationStore.open(given.run / "store")
    model = LanguageModel(store.artifact.manifest["sources"]["model"]["name"])
    length = int(store.artifact.config["context"])
    hook = store.hooks[0]
    before, after = [], []
    for _ in range(ROUNDS):
        encoding = encode(sae, store, hook)
        before.append(run_model(model, hook, np.asarray(store.tokens_T), length) + encoding)
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            build_index(sae, model, store, out=Path(folder) / "index")
            after.append(time.perf_counter() - began - encoding)
    model_seconds, index_seconds = statistics.median(before), statistics.median(after)
    print(f"{store.num_tokens:,} tokens: model and encoder {model_seconds:.2f} s, index {index_seconds:.2f} s")
    print(f"the index adds {index_seconds / model_seconds:.0%}")


if __name__ == "__main__":
    main()
