"""What steering costs per generated token, beside the model alone.

    python bench/steering.py RUN [--tokens 128] [--rounds 9]

Generates the same number of tokens with a cache, one context, greedy: the model alone, and with each kind of
intervention on the dictionary of a finished run (TopK: whether a feature fires depends on all of them) and on a
JumpReLU dictionary of the same weights and L0 (a feature fires for itself). All of them take turns, round by round;
printed is the median over rounds of the ratio to the model alone in the same round, in processor time of one thread.

Then what it takes to encode a few tokens: by `encode`, and by `encoder`, which keeps a copy of the weights in bytes.
Between two calls other memory is read, as the model would. Medians of microseconds, also in turns.
"""

from __future__ import annotations

import argparse
import contextlib
import statistics
import time
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

import torch

from lexiscope import saes
from lexiscope.harvest.store import ActivationStore
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.lm.model import LanguageModel
from lexiscope.steer.editing import editing
from lexiscope.steer.interventions import Ablate, Add, AnyIntervention, Cap, Clamp, Patch, Scale

Block = Callable[[], AbstractContextManager[None]]


def as_jumprelu(sae: saes.SparseAutoencoder, store: ActivationStore) -> saes.SparseAutoencoder:
    """The same weights with a threshold for each feature, at the same mean L0."""
    x_TD = next(iter(store.chunks(store.hooks[0]))).x_TD[:4096].float()
    other = saes.create(saes.jumprelu.Config(num_latents=sae.num_latents), x_TD)
    weights = {name: tensor for name, tensor in sae.state_dict().items() if name in other.state_dict()}
    other.load_state_dict(weights, strict=False)
    other.calibrate(x_TD, float(sae.encode(x_TD).counts().float().mean()))
    other.hook = sae.hook
    return other


def print_encoding(name: str, sae: saes.SparseAutoencoder, store: ActivationStore, calls: int = 200) -> None:
    """Microseconds of a call, by how many tokens it has."""
    x_TD = next(iter(store.chunks(store.hooks[0]))).x_TD[:4096].float()
    other_memory = torch.ones(2**22)
    ways = {"encode": sae.encode, "encoder": sae.encoder()}
    for num_tokens in (1, 2, 8, 32):
        found: dict[str, list[float]] = {way: [] for way in ways}
        for call in range(calls):
            part_TD = x_TD[call * 17 % 4000 :][:num_tokens]
            for way, encode in ways.items():
                other_memory.sum()
                began = time.perf_counter()
                encode(part_TD)
                found[way].append(time.perf_counter() - began)
        said = ", ".join(f"{way} {1e6 * statistics.median(times):.0f}" for way, times in found.items())
        print(f"{name}, {num_tokens} tokens: {said}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("run", type=Path, help="a folder with store/, sae/ and index/")
    parser.add_argument("--tokens", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=9)
    parser.add_argument(
        "--density", type=float, default=0.01, help="how often the features fire, but for those that fire most"
    )
    given = parser.parse_args()
    torch.set_num_threads(1)
    sae, store = saes.load(given.run / "sae"), ActivationStore.open(given.run / "store")
    index = FeatureIndex.open(given.run / "index")
    model = LanguageModel(store.artifact.manifest["sources"]["model"]["name"])
    model._end_ids = set  # type: ignore[method-assign]  # noqa: SLF001  every round generates as many tokens
    dictionaries = {sae.config.architecture: sae, "jumprelu": as_jumprelu(sae, store)}
    live, most = index.live(), index.features("firings", limit=8).features
    densities = index.summaries(live)
    usual = sorted(live, key=lambda feature: abs(densities[feature].density - given.density))[:8]
    edits: dict[str, list[AnyIntervention]] = {
        "clamp one feature": [Clamp(features=usual[0], to="0.1max")],
        "clamp eight features": [Clamp(features=usual, to="0.1max")],
        "clamp the eight that fire most": [Clamp(features=[row.feature for row in most], to="0.1max")],
        "scale": [Scale(features=usual[0], by=2)],
        "add": [Add(features=usual[0], by="0.1max")],
        "ablate": [Ablate(features=usual[0])],
        "cap": [Cap(features=usual[0], to="0.1max")],
        "patch a feature": [Patch(source="def f(x):", features=usual[0], from_position=-1, tokens="all")],
        "patch the whole set": [Patch(source="def f(x):", from_position=-1, tokens="all")],
        "two clamps, generated tokens": [
            Clamp(features=usual[0], to="0.1max", tokens="generated"),
            Clamp(features=usual[1], to="0.1max", tokens="generated"),
        ],
    }
    blocks: dict[str, Block] = {"the model alone, again": contextlib.nullcontext}
    for architecture, dictionary in dictionaries.items():
        for name, edit in edits.items():
            blocks[f"{architecture}: {name}"] = lambda edit=edit, dictionary=dictionary: editing(
                model, dictionary, edit, units=None if dictionary is not sae and dictionary.artifact else index
            )
        blocks[f"{architecture}: clamp, error dropped"] = lambda dictionary=dictionary: editing(
            model, dictionary, edits["clamp one feature"], units=index, error="drop"
        )
    prompt_BC = torch.tensor([model.tokenizer.encode("def read(path):\n    ").ids])

    def seconds(block: Block) -> float:
        with block():
            began = time.process_time()
            model.generate_tokens(prompt_BC, max_new_tokens=given.tokens)
            return time.process_time() - began

    ratios: dict[str, list[float]] = {name: [] for name in blocks}
    alone = []
    for _ in range(given.rounds):
        for name, block in blocks.items():
            alone.append(seconds(contextlib.nullcontext))
            ratios[name].append(seconds(block) / alone[-1])
    print(f"{given.tokens} tokens: {1000 * statistics.median(alone) / given.tokens:.2f} ms per token, the model alone")
    for name, found in ratios.items():
        print(f"{name:<48} {statistics.median(found):.3f}")
    with torch.no_grad():
        for architecture, dictionary in dictionaries.items():
            print_encoding(architecture, dictionary, store)


if __name__ == "__main__":
    main()
