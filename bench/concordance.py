"""A concordance of a million features on this machine: how fast it is built, how large it is, how fast it is read.

    python bench/concordance.py FOLDER [--features 1000000] [--tokens 10000000] [--l0 32]

Makes codes with densities spread over several decades and text with Zipf's frequencies, and builds the index as
`lexiscope index` does, on one thread. What is counted: everything from SparseCodes in memory to the finished index,
sealed and flushed to disk - runs written and read back, the sort, the merge, every file, their hashes. What is not: the
drawing of the codes, which stands for an encoder, and what has nothing to do with codes, effects on the logits
(timed apart) and the nearest directions (drawn; `bench/neighbours.py` measures the search). With --read, what is there
is only read. Prints firings per second, bytes per firing, and percentiles of what pages ask for.
"""

from __future__ import annotations

import argparse
import resource
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple, Self

import numpy as np
import torch

from lexiscope.core.artifact import open_artifact
from lexiscope.core.codes import SparseCodes
from lexiscope.core.draft import write_artifact
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.documents import DocumentInfo
from lexiscope.harvest.store import StoreChunk
from lexiscope.index import build
from lexiscope.index.directions.effects import describe_effects
from lexiscope.index.directions.neighbours import Neighbours
from lexiscope.index.feature_index import FeatureIndex

HOOK = HookPoint.parse("resid_post.6")
WIDTH, VOCABULARY, CONTEXT, DOCUMENT = 64, 8192, 128, 1000
SPREAD_DECADES = 0.7
"""Standard deviation of the logarithm of densities."""
MOST_DENSE = 0.2
PAGES, SEARCHES = 300, 60


class Spent(NamedTuple):
    """Seconds on the clock and of processors."""

    wall: float
    cpu: float

    @classmethod
    def now(cls) -> Self:
        return cls(time.perf_counter(), time.process_time())

    def plus(self, other: Spent, sign: int = 1) -> Spent:
        return Spent(self.wall + sign * other.wall, self.cpu + sign * other.cpu)

    def since(self) -> Spent:
        return Spent.now().plus(self, -1)

    def __str__(self) -> str:
        return f"{self.cpu:.0f} s of a core ({self.wall:.0f} s on the clock)"


class Codes:
    """An autoencoder whose codes are drawn: the same for the same rows."""

    def __init__(self, num_latents: int, l0: int) -> None:
        random = np.random.default_rng(0)
        weights_F = 10 ** random.normal(0, SPREAD_DECADES, num_latents)
        weights_F = np.minimum(weights_F / weights_F.sum(), MOST_DENSE / l0)
        self._ends_F = weights_F.cumsum() / weights_F.sum()
        self._l0 = l0
        self.num_latents, self.width, self.artifact = num_latents, 1, None
        self.reads = self.writes = (HOOK,)
        self.directions_FD = torch.randn(num_latents, WIDTH, generator=torch.Generator().manual_seed(0))
        self.spent = Spent(0, 0)

    def encode(self, x_TD: torch.Tensor) -> SparseCodes:
        began = Spent.now()
        random = np.random.default_rng(int(x_TD[0, 0]))
        latents_TK = np.searchsorted(self._ends_F, random.random((len(x_TD), self._l0), dtype=np.float32))
        latents_TK.sort(axis=1)
        keep_TK = np.ones_like(latents_TK, dtype=bool)
        keep_TK[:, 1:] = latents_TK[:, 1:] != latents_TK[:, :-1]
        keep_TK &= latents_TK < self.num_latents
        offsets = torch.from_numpy(np.concatenate([[0], keep_TK.sum(1).cumsum()]))
        latents = torch.from_numpy(latents_TK[keep_TK])
        values = torch.from_numpy(random.lognormal(0, 1, len(latents)).astype(np.float32))
        self.spent = self.spent.plus(began.since())
        return SparseCodes(offsets, latents, values, self.num_latents)


class Rows:
    """A store whose activations are the numbers of its rows."""

    def __init__(self, num_tokens: int, folder: Path) -> None:
        random = np.random.default_rng(1)
        rows_T = np.arange(num_tokens, dtype=np.int32)
        self.hooks, self.num_tokens = [HOOK], num_tokens
        self.tokens_T = (random.zipf(1.2, num_tokens) % VOCABULARY).astype(np.int32)
        self.contexts_T, self.documents_T = rows_T // CONTEXT, rows_T // DOCUMENT
        self.positions_T = rows_T % DOCUMENT
        sources = {"model": {"name": "drawn", "fingerprint": "drawn"}, "corpus": {"source": "drawn"}}
        with write_artifact(folder, "store", config={"tokens": num_tokens}, sources=sources) as draft:
            (draft.path / "nothing.txt").write_text("-")
        self.artifact = open_artifact(folder, "store")

    def documents(self) -> list[DocumentInfo]:
        kinds = ("code", "docs", "prose", "generated")
        count = -(-self.num_tokens // DOCUMENT)
        return [
            DocumentInfo(f"drawn:{n}", kinds[n % 4], "CC0-1.0", DOCUMENT, heldout=n % 10 == 0) for n in range(count)
        ]

    def width(self, _: HookPoint) -> int:
        return 1

    def check_model(self, model: object) -> None:
        pass

    def chunks(self, _: HookPoint, *, chunk_tokens: int, start: int = 0) -> Iterator[StoreChunk]:
        for first in range(start, self.num_tokens, chunk_tokens):
            yield StoreChunk(first, torch.full((min(chunk_tokens, self.num_tokens - first), 1), float(first)))


def drawn_model() -> Any:
    unembedding_DV = torch.randn(WIDTH, VOCABULARY, generator=torch.Generator().manual_seed(2))
    pieces = SimpleNamespace(vocab_size=VOCABULARY, piece=lambda token: f" word{token}")
    return SimpleNamespace(
        tokenizer=pieces,
        width=WIDTH,
        describe=lambda: {"name": "drawn", "fingerprint": "drawn"},
        unembed=lambda rows_ND: rows_ND @ unembedding_DV,
    )


def drawn_neighbours(_: torch.Tensor, live_F: torch.Tensor, keep: int) -> Neighbours:
    random = torch.Generator().manual_seed(3)
    cosines_FK = torch.rand(len(live_F), keep, generator=random).sort(dim=1, descending=True).values
    return Neighbours(torch.randint(len(live_F), (len(live_F), keep), generator=random), cosines_FK)


def build_one(folder: Path, num_features: int, num_tokens: int, l0: int) -> None:
    others = dict.fromkeys(("describe_effects", "neighbours"), Spent(0, 0))

    def timed(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        def call(*given: Any, **named: Any) -> Any:
            began = Spent.now()
            found = function(*given, **named)
            others[name] = began.since()
            return found

        return call

    build.neighbours = timed("neighbours", drawn_neighbours)
    build.describe_effects = timed("describe_effects", describe_effects)
    sae, store = Codes(num_features, l0), Rows(num_tokens, folder / "store")
    model = drawn_model()
    began = Spent.now()
    index = build.build_index(sae, model, store, out=folder / "index")
    from_codes = began.since()
    for other in (sae.spent, *others.values()):
        from_codes = from_codes.plus(other, -1)
    firings = int(index.overview().firings_per_token * num_tokens)
    size = sum(path.stat().st_size for path in (folder / "index").rglob("*") if path.is_file())
    print(f"{num_features:,} features, {firings:,} firings")
    print(f"not counted: codes {sae.spent}, effects on the logits {others['describe_effects']}")
    print(f"from codes in memory to the finished index: {from_codes}")
    print(f"{firings / from_codes.cpu / 1e6:.2f} million firings per second and core", end=", ")
    print(f"{firings / from_codes.wall / 1e6:.2f} on the clock, one thread")
    print(f"resident {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB at most")
    print(f"{size / firings:.2f} bytes per firing")
    for path in sorted((folder / "index").iterdir()):
        files = [path] if path.is_file() else list(path.iterdir())
        print(f"    {path.name:<22}{sum(file.stat().st_size for file in files) / firings:8.3f}")


def timed(name: str, ask: Callable[[int], object], count: int) -> None:
    seconds = []
    for number in range(count):
        began = time.perf_counter()
        ask(number)
        seconds.append(time.perf_counter() - began)
    p50, p95 = np.percentile(seconds, [50, 95]) * 1e3
    print(f"{name:<52}{p50:8.1f} ms{p95:8.1f} ms{max(seconds) * 1e3:8.1f} ms")


def read_one(folder: Path) -> None:
    began = time.perf_counter()
    index = FeatureIndex.open(folder / "index")
    print(f"opened in {time.perf_counter() - began:.2f} s")
    random = np.random.default_rng(7)
    features = random.choice(index.live(), PAGES + SEARCHES).tolist()
    print(f"{'':<52}{'p50':>8}   {'p95':>8}   {'most':>8}")
    timed("feature page, any live feature", lambda n: index.feature(features[n]), PAGES)
    by_density = [feature.feature for feature in index.features("density", limit=SEARCHES).features]
    timed("feature page, the densest", lambda n: index.feature(by_density[n]), SEARCHES)
    sorts = ("density", "max_activation", "mean_activation", "variety", "documents", "feature")
    timed("first page, by each column", lambda n: index.features(sorts[n % 6], descending=n % 2 == 0), SEARCHES)
    timed("page far down the list", lambda n: index.features(sorts[n % 6], offset=10_000 * n), SEARCHES)
    timed("search for a token", lambda n: index.features(sorts[n % 6], search=f"word{17 * n + 100}"), SEARCHES)
    timed("search for part of many tokens", lambda n: index.features(sorts[n % 6], search=f"{n}"), SEARCHES)
    print(f"resident {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.2f} GB at most")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--features", type=int, default=1_000_000)
    parser.add_argument("--tokens", type=int, default=10_000_000)
    parser.add_argument("--l0", type=int, default=32)
    parser.add_argument("--read", action="store_true", help="only read what is there")
    given = parser.parse_args()
    torch.set_num_threads(1)
    if given.read:
        read_one(given.folder)
    else:
        build_one(given.folder, given.features, given.tokens, given.l0)


if __name__ == "__main__":
    main()
