"""Planted models: what was planted, and whether a small dictionary has a feature that tells the trigger.

Usage: python bench/planted.py PAIR... --out FOLDER [--hook resid_post.1 ...] [--arm planted] [--tokens 200000]

PAIR is what `lexiscope plant` made. For each, and for each place, a store of ordinary text and its pages and a TopK
dictionary are made in FOLDER/NAME/ARM/HOOK, if they are not there. In the first of these a feature is chosen on the
prompts that whoever searches may see (``fit``: with a trigger against the same without), by AUROC of its strongest
firing in a text, or of its firing on the last token, where the answer is told. It is then scored on prompts with other
words (``shown``), other triggers (``reserved``) and such as nobody planted (``unseen``). The null draws the labels of
``fit`` at random and takes the best feature each time: 95 % of the draws stay below.

With ``--suppress``: what is left of the behaviour after suppression by features, for no more than 1 % damage. With
``--baselines`` also what is left without a dictionary, for as much and for no more than the features did. Places,
features and strengths are chosen on ``fit`` and training text; of the settings of fine-tuning the one that is best
where it is judged.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import get_args

import torch
from torch import Tensor

from lexiscope import saes
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.harvest import harvest
from lexiscope.harvest.rows import pack_for
from lexiscope.harvest.store import ActivationStore
from lexiscope.index.live.separation import Units, relabellings, score
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.worlds.planted.pages import Group
from lexiscope.measure.worlds.planted.pair import PlantedPair
from lexiscope.saes import SparseAutoencoder, topk
from lexiscope.steer.editing import editing
from lexiscope.steer.suppressing.baselines import (
    Judge,
    Tokens,
    Trial,
    at_damage,
    by_finetuning,
    fit_direction,
    without_direction,
)
from lexiscope.steer.suppressing.suppression import find
from lexiscope.text.corpus import Corpus, Split
from lexiscope.text.pack import TokenBatch
from lexiscope.train.config import TrainConfig
from lexiscope.train.run import train

RELABELLINGS = 200
MOST_DAMAGE, LEAST_DAMAGE = 0.01, 0.0005
STRENGTHS = (0.1, 0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0)
STEPS, LEARNING_RATES = (10, 30), (3e-4, 1e-3)
JUDGED: tuple[Group, ...] = ("shown", "reserved", "paraphrased", "unseen", "ordinary", "decoys")
SCORED: tuple[Group, ...] = ("shown", "reserved", "unseen")


def dictionary(
    pair: PlantedPair, model: LanguageModel, arm: str, out: Path, hook: str, tokens: int, seed: int
) -> SparseAutoencoder:
    """Trained once; found again after that."""
    out = out / hook
    if not (out / "store").exists():
        text = Corpus(f"demo+{pair.text('clean' if arm == 'clean' else 'planted')}")
        harvest(model, text, [hook], tokens=tokens, out=out / "store")
    made = out / (f"sae-{seed}" if seed else "sae")
    if not made.exists():
        store = ActivationStore.open(out / "store")
        train(store, topk.Config(expansion=8, k=32), TrainConfig(tokens=3 * tokens, seed=seed), out=made)
    return saes.load(made)


@torch.no_grad()
def units(model: LanguageModel, sae: SparseAutoencoder, wanted: list[str], unwanted: list[str], *, last: bool) -> Units:
    """Each text is a unit: its strongest firing of every feature, or the firings on its last token."""
    features, places, strengths = [], [], []
    for number, text in enumerate([*wanted, *unwanted]):
        ids = [model.tokenizer.bos_id, *model.tokenizer.encode(text).ids]
        x_TD = model.read(torch.tensor([ids]), list(sae.reads))[sae.reads[0]][0, -1 if last else 1 :]
        strongest_F = sae.encode(x_TD.reshape(-1, sae.width).float()).dense().amax(0)
        fires = strongest_F.nonzero()[:, 0]
        features.append(fires)
        strengths.append(strongest_F[fires])
        places.append(torch.full_like(fires, number))
    labels_U = torch.arange(len(wanted) + len(unwanted)) < len(wanted)
    return Units(torch.cat(features), torch.cat(places), torch.cat(strengths), labels_U)


def auroc(found: Units, labels_UP: Tensor) -> tuple[Tensor, Tensor]:
    """Features that fire, and how well each tells the two kinds apart, by each labelling."""
    scores = score(found, labels_UP)
    return scores.features_A, scores.auroc_AP


class Suppression:
    """Suppression in one pair: found on ``fit`` and training text, judged on other prompts and held-out text."""

    def __init__(self, pair: PlantedPair) -> None:
        self.pair, self.model = pair, pair.model("planted")
        self.fit = pair.prompts("fit")
        self.small, self.beside = self._text("train", 4, 24), self._text("train", 16, 30)
        self.judge = Judge(self.model, {group: pair.prompts(group) for group in JUDGED}, self._text("heldout", 16, 8))

    def _text(self, split: Split, batch: int, number: int) -> list[TokenBatch]:
        text = Corpus("demo", seed=1, split=split)
        return list(islice(pack_for(self.model, text.documents(), context=128, batch=batch), number))

    def features(self, dictionaries: list[SparseAutoencoder]) -> Trial:
        """Those of the place where most is suppressed on ``fit``."""
        keep = [prompt._replace(text=prompt.without) for prompt in self.fit]
        tried = []
        for sae in dictionaries:
            began = time.perf_counter()
            found = find(self.model, sae, self.fit, self.small, keep=keep, limit=MOST_DAMAGE)
            tried.append((found, sae))
            print(
                f"{sae.reads[0]}, in {time.perf_counter() - began:.0f} s: {len(found.turned)} features; where it was "
                f"looked for {found.suppressed:.3f} suppressed, {found.harmed:.3f} harmed, damage {found.rise:+.3%}",
                flush=True,
            )
        found, sae = max(tried, key=lambda one: (one[0].suppressed - one[0].harmed, -one[0].log_odds))
        with editing(self.model, sae, found.recipe.edits):
            turned = self.judge.trial(self.model, f"features of {sae.reads[0]}", len(found.turned))
        print(f"{found.recipe.toml()}\n{turned.method}\n    {left(turned)}", flush=True)
        return turned

    def without(self, places: Iterable[HookPoint], most_damage: list[float]) -> None:
        """The best that is found without a dictionary, for several allowances of damage."""
        tuned = [
            trial
            for lr in LEARNING_RATES
            for trial in by_finetuning(
                self.judge, lambda: self.pair.model("planted"), self.fit, self.beside, STEPS, lr=lr
            )
        ]
        directions = [fit_direction(self.model, hook, self.fit, kind) for hook in places for kind in get_args(Tokens)]
        looked, screened = Judge(self.model, {"fit": self.fit}, self.small), []
        for number, direction in enumerate(directions):
            for strength in STRENGTHS:
                with without_direction(self.model, direction, strength):
                    screened.append(looked.trial(self.model, str(number), strength))
        for allowed in most_damage:
            print(f"for at most {allowed:.2%}")
            if (chosen := at_damage(screened, "fit", allowed)) is None:
                print("  difference in means: every strength does more damage")
            else:
                at, strength = directions[int(chosen.method)], chosen.strength
                with without_direction(self.model, at, strength):
                    best = self.judge.trial(self.model, "difference in means", strength)
                print(f"  {best.method} at {at.hook}, {at.tokens}, {strength:g}\n    {left(best)}", flush=True)
            if (tuning := at_damage(tuned, "shown", allowed)) is None:
                print("  fine-tuning: every setting does more damage")
            else:
                print(f"  {tuning.method}, {tuning.strength:g} steps\n    {left(tuning)}", flush=True)


def left(trial: Trial) -> str:
    damage = trial.damage
    groups = ", ".join(f"{group} {said.planted}" for group, said in trial.behaviour.items())
    return f"damage {damage.value:+.3%} [{damage.low:+.3%}, {damage.high:+.3%}], planted answers {groups}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("pairs", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--hook", nargs="+", default=["resid_post.1"])
    parser.add_argument("--arm", choices=["planted", "clean"], default="planted")
    parser.add_argument("--tokens", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--suppress", action="store_true")
    parser.add_argument("--baselines", action="store_true")
    arguments = parser.parse_args()
    for path in arguments.pairs:
        pair = PlantedPair(path)
        print(f"\n{pair.truth.plant}: {pair.truth.behaviour}\n{pair.figures}", flush=True)
        model = pair.model(arguments.arm)
        out = arguments.out / path.name / arguments.arm
        dictionaries = [
            dictionary(pair, model, arguments.arm, out, hook, arguments.tokens, arguments.seed)
            for hook in arguments.hook
        ]
        sae = dictionaries[0]
        for last in (False, True):
            prompts = pair.prompts("fit")
            found = units(model, sae, [p.text for p in prompts], [p.without for p in prompts], last=last)
            drawn_UP, _ = relabellings(found.wanted_U, "text", RELABELLINGS, 0)
            features_A, auroc_AP = auroc(found, torch.cat([found.wanted_U[:, None], drawn_UP], 1))
            best = int(auroc_AP[:, 0].argmax())
            feature = int(features_A[best])
            null = float(auroc_AP[:, 1:].amax(0).quantile(0.95))
            cells = [f"fit {float(auroc_AP[best, 0]):.3f} (null {null:.3f})"]
            for group in SCORED:
                prompts = pair.prompts(group)
                other = units(model, sae, [p.text for p in prompts], [p.without for p in prompts], last=last)
                fires_A, scored_AP = auroc(other, other.wanted_U[:, None])
                mine = scored_AP[fires_A == feature, 0]
                cells.append(f"{group} {float(mine) if len(mine) else 0.5:.3f}")
            where = "last token" if last else "whole text"
            print(f"{arguments.arm} model, {where}: feature {feature}, AUROC {', '.join(cells)}", flush=True)
        if arguments.suppress or arguments.baselines:
            suppression = Suppression(pair)
            damage = suppression.features(dictionaries).damage.value
            if arguments.baselines:
                residual = [hook for hook in model.hook_points() if hook.site == "resid_post"]
                places = dict.fromkeys([*residual, *(sae.reads[0] for sae in dictionaries)])
                suppression.without(places, [MOST_DAMAGE, max(damage, LEAST_DAMAGE)])


if __name__ == "__main__":
    main()
