"""Labels of a large dictionary: how fast they are written down, and how fast they are found again.

    python bench/label_search.py [--labels 1000000] [--queries 100] [--keep FILE] [--meaning]

Labels are made of the words of the package, as frequent as in text (Zipf): the most frequent is in a third of all
labels. Every kind of query is another one each time, so nothing is answered from a cache of answers. Everything that a
page shows is asked for: the count, 50 labels with their scores, and where the words stand in them. Where others use the
machine as well, the times of this process's CPU say more than those of the clock.

With --meaning also the search by meaning: vectors of 384 numbers that are made up, so what an encoder takes to read the
query is left out.
"""

from __future__ import annotations

import argparse
import itertools
import random
import resource
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import torch

from lexiscope.index.notes import By, Dictionary, NewLabel, NewScore, Notes
from lexiscope.index.notes.meaning import Meaning
from lexiscope.text.generators._words import INVENTED_NAMES, WORDS

AUTHORS = [By(author=f"model-{n}", kind="model", method="top-20", model=f"m{n}", prompt_hash=f"p{n}") for n in range(4)]
AUTHORS += [By(author=f"person-{n}") for n in range(4)]
AUTHOR_WEIGHTS = [40, 30, 20, 9.5, 0.3, 0.1, 0.05, 0.05]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--labels", type=int, default=1_000_000)
    parser.add_argument("--queries", type=int, default=100, help="of each kind")
    parser.add_argument("--keep", type=Path, help="file of notes to make, or to use if it is there")
    parser.add_argument("--meaning", action="store_true", help="also the search by meaning")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        path = arguments.keep or Path(folder) / "index.notes.sqlite"
        words = vocabulary()
        made = path.exists()
        with Notes(path, Dictionary("bench", arguments.labels)) as notes:
            if not made:
                write(notes, words, arguments.labels)
            print(f"{path.stat().st_size / arguments.labels:.0f} bytes per label on disk")
            ask(notes, words, arguments.queries)
            if arguments.meaning:
                ask_by_meaning(notes, arguments.queries)
    print(f"peak memory {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:,.0f} MB")


def vocabulary() -> list[str]:
    """Words, the most frequent first."""
    words = sorted({part.lower() for word in [*WORDS, *INVENTED_NAMES] for part in word.split()})
    random.Random(0).shuffle(words)
    return words


def labels(words: list[str], count: int) -> Iterator[NewLabel]:
    rng = random.Random(1)
    weights = list(itertools.accumulate(1 / rank for rank in range(1, len(words) + 1)))
    when = datetime(2026, 1, 1, tzinfo=UTC)
    for number in range(count):
        text = " ".join(rng.choices(words, cum_weights=weights, k=rng.randint(2, 8)))
        [by] = rng.choices(AUTHORS, AUTHOR_WEIGHTS)
        value = rng.betavariate(4, 2)
        score = NewScore(name="detection", value=value, low=value - 0.05, high=value + 0.05, n=100)
        scores = (score,) if by.kind == "model" else ()
        created = when + timedelta(seconds=number)
        yield NewLabel(feature=number * 3 // 5, text=text, by=by, created_at=created, scores=scores)


def write(notes: Notes, words: list[str], count: int) -> None:
    """All at once, as they would come out of a file. That they have to be made first is not counted."""
    making, making_cpu = 0.0, 0.0

    def made() -> Iterator[NewLabel]:
        nonlocal making, making_cpu
        rest = labels(words, count)
        while True:
            began, began_cpu = time.perf_counter(), time.process_time()
            piece = list(itertools.islice(rest, 10_000))
            making += time.perf_counter() - began
            making_cpu += time.process_time() - began_cpu
            if not piece:
                return
            yield from piece

    began, began_cpu = time.perf_counter(), time.process_time()
    notes.labels.add_many(made())
    spent, cpu = time.perf_counter() - began - making, time.process_time() - began_cpu - making_cpu
    print(f"{count:,} labels with scores written: {count / spent:,.0f} per s ({count / cpu:,.0f} per s of CPU)")


def ask(notes: Notes, words: list[str], queries: int) -> None:
    rng = random.Random(2)
    common, middle, rare = words[:8], words[20:500], words[-4000:]
    one: dict[str, tuple[Any, dict[str, Any]]] = {
        "one word": (lambda: rng.choice(middle), {}),
        "two words": (lambda: f"{rng.choice(middle)} {rng.choice(common)}", {}),
        "beginning, 1 letter": (lambda: f"{rng.choice('abcdefghijklmnoprstvw')}*", {}),
        "beginning, 2 letters": (lambda: f"{rng.choice(words)[:2]}*", {}),
        "beginning, 4 letters": (lambda: f"{rng.choice(words)[:4]}*", {}),
        "rare word": (lambda: rng.choice(rare), {}),
        "very common word": (lambda: rng.choice(common), {}),
        "two very common words": (lambda: " ".join(rng.sample(common, 2)), {}),
        "no match": (lambda: f"{rng.choice(words)}zzq", {}),
        "in this order": (lambda: f'"{rng.choice(common)} {rng.choice(common)}"', {}),
        "common, of one author": (lambda: rng.choice(common), {"author": "model-3"}),
        "common, of a rare author": (lambda: rng.choice(common), {"author": "person-3"}),
        "common, score >= 0.6": (lambda: rng.choice(common), {"min_score": 0.6}),
        "common, score >= 0.77": (lambda: rng.choice(common), {"min_score": 0.77}),
        "common, chosen": (lambda: rng.choice(common), {"chosen": True}),
        "common, all filters": (
            lambda: rng.choice(common),
            {"chosen": True, "min_score": 0.6, "author": "model-0", "kind": "model"},
        ),
        "common, page 10": (lambda: rng.choice(common), {"offset": 500}),
        "common, page 1000": (lambda: rng.choice(common), {"offset": 50_000}),
        "everything": (lambda: "", {}),
        "everything chosen": (lambda: "", {"chosen": True}),
    }
    print(
        f"\n{'ms':26}{'p50':>7}{'p95':>7}{'p99':>7}{'max':>7}   {'CPU p50':>7}{'p95':>7}{'matching':>11}{'ranked':>8}"
    )
    times: dict[str, list[float]] = {name: [] for name in one}
    cpu: dict[str, list[float]] = {name: [] for name in one}
    seen: dict[str, Counter[str]] = {name: Counter() for name in one}
    for _ in range(queries):  # interleaved: a slow moment of the machine meets all kinds
        for name, (make, filters) in one.items():
            query = make()
            began, began_cpu = time.perf_counter(), time.process_time()
            found = notes.search(query, **filters)
            times[name].append(1000 * (time.perf_counter() - began))
            cpu[name].append(1000 * (time.process_time() - began_cpu))
            seen[name].update(matching=found.matching, ranked=found.ranked)
    for name, counts in seen.items():
        means = f"{counts['matching'] / queries:11,.0f}{counts['ranked'] / queries:8,.0f}"
        print(line(name, times[name], cpu[name]) + means)
    print(line("all", list(itertools.chain(*times.values())), list(itertools.chain(*cpu.values()))))


class MadeUp:
    """Directions drawn at random."""

    width, fingerprint = 384, "made up"

    def __init__(self) -> None:
        self._generator = torch.Generator().manual_seed(0)

    def encode(self, texts: Sequence[str]) -> torch.Tensor:
        return torch.nn.functional.normalize(torch.randn(len(texts), self.width, generator=self._generator), dim=1)


def ask_by_meaning(notes: Notes, queries: int) -> None:
    meaning = Meaning(notes, MadeUp())
    began = time.perf_counter()
    texts = meaning.update()
    megabytes = meaning.path.stat().st_size / 1e6
    print(f"\n{texts:,} vectors written in {time.perf_counter() - began:.0f} s, {megabytes:,.0f} MB")
    times, cpu = [], []
    for number in range(queries):
        began, began_cpu = time.perf_counter(), time.process_time()
        meaning(f"query {number}")
        times.append(1000 * (time.perf_counter() - began))
        cpu.append(1000 * (time.process_time() - began_cpu))
    print(line("by meaning", times, cpu))


def line(name: str, spent: list[float], cpu: list[float]) -> str:
    def at(share: float, of: list[float]) -> str:
        return f"{sorted(of)[min(len(of) - 1, int(share * len(of)))]:7.1f}"

    wall = "".join(at(share, spent) for share in (0.5, 0.95, 0.99, 1))
    return f"{name:26}{wall}   {at(0.5, cpu)}{at(0.95, cpu)}"


if __name__ == "__main__":
    main()
