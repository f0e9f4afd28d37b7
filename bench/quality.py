"""Quality at equal steps and samples on a world with known truth: our defaults against the peers' own trainers.

    python bench/quality.py [--peers PYTHON] [--architectures topk batch_topk] [--json quality.json]

On one seed every library is tried as often: once as it is, then at each of ``--rates``. As it is means, for us, the
default of the architecture; for a peer, what its documentation recommends. With a given rate peers also get our
warm-up, decay and dead window. Then other seeds (another world, other first weights): for us the default, whatever the
sweep said of it; for a peer its best try, by FVE + MMCS. The peers are tuned on this world; our default learning rate
was chosen on worlds of this kind too (seed 0, D = 64 and 128), the other defaults were not.

Within a seed everyone sees the same activations in the same order (the first batch is compared) and is judged by
`lexiscope.measure.worlds.recovery` on the same held-out ones. Peers run in their own interpreter, ``--peers``, through
`bench/peers/quality_<peer>.py`. Everyone is judged at the same L0. Where a penalty decides it, ours is steered; for a
peer the coefficient is searched in whole runs, at most ``--searches``, each from the ones before it. Where a threshold
stands in for a choice over the batch, ours is calibrated by the training, and a peer's saved one is replaced by the one
that gives the L0; "saved L0" is what it had.

FVE and MMCS are means over seeds, with half of their range behind ±.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from lexiscope import saes
from lexiscope.core.seeds import derive_seed
from lexiscope.measure.worlds.linear import HOOK, Config, LinearWorld
from lexiscope.measure.worlds.recovery import score
from lexiscope.saes.settings import SaeConfig
from lexiscope.train import TrainConfig, train
from lexiscope.train.config import resolve

ROOT = Path(__file__).parents[1]
MOST = {"topk", "batch_topk", "matryoshka", "relu_l1", "gated", "jumprelu"}
PEERS = {"saelens": MOST, "dictionary_learning": MOST, "sparsify": {"topk"}}
STEERED = {"relu_l1", "gated", "jumprelu"}
"""Architectures whose L0 follows from a penalty."""
FIRST_COEFFICIENT = {
    ("saelens", "relu_l1"): 5.0,
    ("saelens", "gated"): 5.0,
    ("saelens", "jumprelu"): 5.0,
    ("dictionary_learning", "relu_l1"): 0.1,
    ("dictionary_learning", "gated"): 0.1,
}
"""Where a search starts; dictionary-learning's JumpReLU has a target of its own."""
CLOSE = 0.03
"""A search ends when L0 is off by no more than this share."""
MATCHED = 0.1
"""A peer whose L0 is further off is shown, and left out of the verdict."""

Row = dict[str, Any]


class Peer:
    """A peer's interpreter, kept alive: importing one takes longer than a run."""

    def __init__(self, name: str, arguments: argparse.Namespace) -> None:
        self.name = name
        self._log = tempfile.TemporaryFile("w+")  # noqa: SIM115  as long as the process
        quiet = {"WANDB_MODE": "disabled", "SPARSIFY_DISABLE_TRITON": "1", "HF_HUB_OFFLINE": "1"}
        threads = {"OMP_NUM_THREADS": str(arguments.threads), "PYTHONPATH": str(ROOT / "src")}
        self._process = subprocess.Popen(
            [arguments.peers, ROOT / "bench" / "peers" / f"quality_{name}.py"],
            env={**os.environ, **quiet, **threads},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._log,
            text=True,
        )

    def run(self, job: Row) -> Row:
        """One training run."""
        with contextlib.suppress(BrokenPipeError):
            print(json.dumps(job), file=self._process.stdin, flush=True)
            for said in self._process.stdout or ():  # the libraries print too
                if said.startswith("RESULT "):
                    result: Row = json.loads(said.removeprefix("RESULT "))
                    return result
        self._log.seek(0)
        sys.exit(f"{self.name} failed on {job['architecture']}:\n{self._log.read()[-2000:]}")

    def close(self) -> None:
        self._process.communicate()


class Comparison:
    """Runs on the worlds of one set of arguments."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self._arguments = arguments
        self._worlds: dict[int, LinearWorld] = {}
        self._coefficients: dict[tuple[str, str], float] = {}

    def world(self, seed: int) -> LinearWorld:
        if seed not in self._worlds:
            a = self._arguments
            self._worlds[seed] = LinearWorld(Config(width=a.width, num_features=a.features, active=a.l0, seed=seed))
        return self._worlds[seed]

    def sae_config(self, architecture: str) -> SaeConfig:
        """Our default of an architecture, with the size and the L0 of the comparison."""
        latents, l0 = self._arguments.latents, self._arguments.l0
        config_type = saes.architectures()[architecture].Config
        if architecture == "matryoshka":
            return config_type(num_latents=latents, activation={"name": "batch_topk", "k": l0})
        if architecture in STEERED:
            return config_type(num_latents=latents)
        return config_type(num_latents=latents, k=round(l0) if architecture == "topk" else l0)

    def train_config(self, architecture: str, rate: float | None, seed: int) -> TrainConfig:
        a = self._arguments
        config = TrainConfig(
            tokens=a.steps * a.batch,
            batch_tokens=a.batch,
            lr=rate,
            target_l0=a.l0 if architecture in STEERED else None,
            seed=seed,
            evaluate_every_steps=10**9,
        )
        return resolve(config, self.sae_config(architecture), a.width)[0]

    def ours(self, architecture: str, rate: float | None, seed: int) -> Row:
        world, config = self.world(seed), self.train_config(architecture, rate, seed)
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            sae = train(world, self.sae_config(architecture), config, out=Path(folder) / "sae")
            seconds = time.perf_counter() - began
        return {"who": "lexiscope", "lr": config.lr, "coefficient": None, **score(world, sae)._asdict(), "s": seconds}

    def theirs(self, peer: Peer, architecture: str, rate: float | None, seed: int) -> Row:
        """Whole runs until L0 is right, or as many as there may be; then the one that came closest."""
        key = (peer.name, architecture)
        coefficient = self._coefficients.get(key, FIRST_COEFFICIENT.get(key))
        tried: list[Row] = []
        while len(tried) < (1 if coefficient is None else self._arguments.searches):
            tried.append(self._run(peer, architecture, rate, coefficient, seed))
            best = min(tried, key=lambda row: abs(self.gap(row)))
            if coefficient is None or abs(self.gap(best)) <= CLOSE:
                break
            coefficient = next_coefficient([(row["coefficient"], self.gap(row)) for row in tried])
        if best["coefficient"] is not None:
            self._coefficients[key] = best["coefficient"]
        return {**best, "s": sum(row["s"] for row in tried)}

    def gap(self, row: Row) -> float:
        """By how much L0 is off, on a log scale."""
        return math.log(max(row["l0"], 1e-2) / self._arguments.l0)

    def _run(self, peer: Peer, architecture: str, rate: float | None, coefficient: float | None, seed: int) -> Row:
        a, ours = self._arguments, self.train_config(architecture, None, seed)
        sae_config = self.sae_config(architecture)
        job = {
            "world": self.world(seed).config.model_dump(mode="json"),
            "architecture": architecture,
            "num_latents": a.latents,
            "prefixes": sae_config.sizes(a.latents) if architecture == "matryoshka" else [],  # type: ignore[attr-defined]
            "l0": a.l0,
            "steps": a.steps,
            "batch_tokens": a.batch,
            "lr": rate,
            "coefficient": coefficient,
            "dead_after_tokens": ours.dead_after_tokens,
            "seed": seed,
            "data_seed": derive_seed(seed, "batches"),
            "threads": a.threads,
        }
        result = peer.run(job)
        first_TD = next(self.world(seed).batches(HOOK, batch_tokens=a.batch, seed=job["data_seed"]))
        if not math.isclose(result.pop("first_batch"), float(first_TD.double().square().sum()), rel_tol=1e-9):
            sys.exit(f"{peer.name} was given other activations than we were: its version of torch draws other numbers")
        return {"who": peer.name, "lr": rate, "coefficient": coefficient, **result}


def next_coefficient(tried: list[tuple[float, float]]) -> float:
    """Where L0 should be right, from coefficients and how far off they were: it falls about as a power of them.

    Between the closest on either side, where there are both; otherwise beyond the closest, as if the power were 1.
    """
    sides = [[one for one in tried if (one[1] > 0) == above] for above in (True, False)]
    if not all(sides):
        coefficient, gap = min(tried, key=lambda one: abs(one[1]))
        return coefficient * math.exp(max(-3.0, min(3.0, gap)))
    (low, over), (high, under) = (min(side, key=lambda one: abs(one[1])) for side in sides)
    share = max(0.1, min(0.9, over / (over - under)))
    return math.exp((1 - share) * math.log(low) + share * math.log(high))


def summary(rows: list[Row]) -> Row:
    """Over seeds: mean, and half of the range."""
    out: Row = {}
    for name in ("fve", "mmcs", "dead", "l0", "s"):
        values = [row[name] for row in rows]
        out |= {name: statistics.fmean(values), f"{name}_spread": (max(values) - min(values)) / 2}
    return out


def line(row: Row) -> str:
    coefficient = "" if row["coefficient"] is None else f"{row['coefficient']:.3g}"
    figures = (
        f"{row[name]:8.4f}" + (f" ± {row[f'{name}_spread']:.4f}" if f"{name}_spread" in row else " " * 9)
        for name in ("fve", "mmcs")
    )
    return (
        f"{row['architecture']:<12}{row['who']:<21}{row['tried']:<9}{coefficient:<9}{' '.join(figures)}"
        f"{row['dead']:9.4f}{row['l0']:8.2f}{row.get('saved_l0', row['l0']):10.2f}{row['s']:7.0f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--peers", help="interpreter in which the peers are installed; without it only ours run")
    parser.add_argument("--only", nargs="+", default=list(PEERS), choices=PEERS, help="of the peers")
    parser.add_argument("--architectures", nargs="+", default=["topk", "batch_topk", "matryoshka", *sorted(STEERED)])
    parser.add_argument("--width", type=int, default=64)
    parser.add_argument("--features", type=int, default=512, help="true features of the world")
    parser.add_argument("--latents", type=int, default=512)
    parser.add_argument("--l0", type=float, default=8.0, help="features that fire on a token, and latents that should")
    parser.add_argument("--steps", type=int, default=1500)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--rates", nargs="*", type=float, default=[3e-3, 1e-2], help="tried on the first seed")
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--searches", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", type=Path, help="every run, and the means")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    compare = Comparison(arguments)
    peers = [Peer(name, arguments) for name in arguments.only] if arguments.peers else []
    runs: list[Row] = []
    means: list[Row] = []

    def keep(where: list[Row], row: Row) -> Row:
        where.append(row)
        if arguments.json:
            settings = {name: value for name, value in vars(arguments).items() if name not in {"json", "peers"}}
            text = json.dumps({"settings": settings, "means": means, "runs": runs}, indent=1)
            arguments.json.write_text(text)
        return row

    def seeds(run: Callable[[float | None, int], Row], architecture: str, *, tuned: bool) -> Row:
        def once(rate: float | None, seed: int) -> Row:
            tried = "as it is" if rate is None else f"{rate:.1e}"
            found = keep(runs, {"architecture": architecture, "tried": tried, "seed": seed, **run(rate, seed)})
            print(line(found), file=sys.stderr, flush=True)
            return found

        tries = [once(rate, 0) for rate in (None, *arguments.rates)]
        fair = [row for row in tries if abs(compare.gap(row)) <= MATCHED] or tries
        best = max(fair, key=lambda row: row["fve"] + row["mmcs"]) if tuned else tries[0]
        rate = None if best["tried"] == "as it is" else best["lr"]
        row = {**best, **summary([best, *(once(rate, seed) for seed in range(1, arguments.seeds))])}
        row["best_fve_of_tries"], row["best_mmcs_of_tries"] = (max(one[n] for one in tries) for n in ("fve", "mmcs"))
        return keep(means, row)

    print(f"{'':<33}{'rate':<9}{'penalty':<9}{'FVE':>8}{'MMCS':>18}{'dead':>18}{'L0':>8}{'saved L0':>10}{'s':>7}")
    for architecture in arguments.architectures:
        ours = seeds(lambda rate, seed, name=architecture: compare.ours(name, rate, seed), architecture, tuned=False)
        theirs = [
            seeds(
                lambda rate, seed, peer=peer, name=architecture: compare.theirs(peer, name, rate, seed),
                architecture,
                tuned=True,
            )
            for peer in peers
            if architecture in PEERS[peer.name]
        ]
        for row in (ours, *theirs):
            print(line(row), flush=True)
        matched = [row for row in theirs if abs(compare.gap(row)) <= MATCHED]
        if matched:
            fve, mmcs = (ours[name] - max(row[name] for row in matched) for name in ("fve", "mmcs"))
            print(f"{architecture:<12}ours - best peer: FVE {fve:+.4f}  MMCS {mmcs:+.4f}\n", flush=True)
    for peer in peers:
        peer.close()


if __name__ == "__main__":
    main()
