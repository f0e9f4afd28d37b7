"""How long the questions take that only the model can answer: reading, ablating, promoting, searching by example.

    python bench/answers.py RUN [--times 30]

RUN is a folder with a dictionary and its store, such as ``lexiscope demo`` makes. The model and the dictionary are
loaded before; every line gives the median and the 95th percentile of so many calls.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch

from lexiscope import saes
from lexiscope.harvest.store import ActivationStore
from lexiscope.index.directions.effects import effect_matrix, promoters, spread_of_effects
from lexiscope.index.live.ablation import ablate, windows_at
from lexiscope.index.live.by_example import Marked, find_by_example
from lexiscope.index.live.reading import read_texts
from lexiscope.lm.model import LanguageModel

TEXT = """def shorten(path):
    with open(path, encoding="utf-8") as file:
        return json.load(file)

When Mary and John went to the market, John gave a pear to Mary, and she put it in the basket. """


def clock(name: str, times: int, call: Callable[[], object]) -> None:
    call()
    spent = []
    for _ in range(times):
        began = time.perf_counter()
        call()
        spent.append(1000 * (time.perf_counter() - began))
    print(f"{name:60} {np.median(spent):8.1f} ms   p95 {np.quantile(spent, 0.95):8.1f} ms", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("run", type=Path)
    parser.add_argument("--times", type=int, default=30)
    asked = parser.parse_args()
    store = ActivationStore.open(asked.run / "store")
    sae = saes.load(asked.run / "sae")
    model = LanguageModel(store.artifact.manifest["sources"]["model"]["name"])
    print(f"{sae.num_latents:,} features, width {sae.width}, {torch.get_num_threads()} threads")

    ids = model.tokenizer.encode(TEXT * 4)
    texts = {tokens: (TEXT * 4)[: ids.ends[tokens - 1]] for tokens in (16, 64, 200)}
    for tokens, text in texts.items():
        clock(f"read {tokens} tokens", asked.times, lambda text=text: read_texts(model, sae, [text]))
    clock("read 16 texts of 16 tokens", asked.times, lambda: read_texts(model, sae, [texts[16]] * 16))

    chunk = next(iter(store.chunks(store.hooks[0], chunk_tokens=16_384)))
    codes = sae.encode(chunk.x_TD)
    feature = int(codes.firings().argsort(descending=True)[50])
    rows = codes.tokens()[codes.latents == feature][:8].tolist()
    starts = np.flatnonzero(np.diff(np.asarray(store.contexts_T), prepend=-1))
    windows = windows_at(np.asarray(store.tokens_T), starts, rows)
    tokens = sum(len(window.tokens) for window in windows)
    clock(
        f"ablate in {len(windows)} examples ({tokens} tokens, 6 ways)", 8, lambda: ablate(model, sae, feature, windows)
    )

    matrix_DV, directions_FD = effect_matrix(model), sae.directions_FD.detach()
    spread_F = spread_of_effects(matrix_DV, directions_FD)
    tokenizer = model.tokenizer
    clock("what promotes a token", asked.times, lambda: promoters(matrix_DV, directions_FD, spread_F, tokenizer, "def"))
    wanted, unwanted = [TEXT[:60], "def f(x):\n    return x"], [TEXT[100:], "one, two, three", "the cat and the dog"]
    clock("by example, 5 texts", asked.times, lambda: find_by_example(model, sae, wanted, unwanted))
    marked = Marked(TEXT, [(TEXT.index("Mary"), TEXT.index("Mary") + 4)])
    clock("by example, one marked word", asked.times, lambda: find_by_example(model, sae, [marked], unwanted))


if __name__ == "__main__":
    main()
