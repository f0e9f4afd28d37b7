"""Concepts of the bank steered with features chosen automatically, and whether anything else would have done as well.

    python bench/steered_concepts.py SAE [--concepts 24] [--corpus demo] [--seed 0] [--out steered_concepts.json]

Which concepts: those with enough positive tokens in both halves of the text whose positives are mostly told by the
token itself (the goal is a set of tokens), the most frequent first; none is left out for what steering does to it.
Features, doses, differences in means and prefixes are chosen on documents of the training split; everything printed is
from held-out documents: one prompt per document, the log-odds that the next token is one of the concept's. "moved" is
the share of prompts on which they rise; where no dose is within the limit on selection text, no prompt counts as moved.
The cost is the rise of perplexity on all kinds of text where the next token is not the concept's. It bounds what can
be gained: whatever probability goes to the concept is missing there, so that a share of tokens that was p can become
little more than p plus the limit. "mass" is the probability of the concept's tokens over all tokens of the prompts,
"written" the share of sampled tokens that have the concept, 24 after each prompt. "by act" is the feature that tells
the concept best where it fires, at the dose recommended for it; without one, nothing counts as moved. Another seed is
other documents on another split of them, other prompts and other random numbers.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from steered_report import OVERDOSES, Overdose, Row, details, heading, line, summarise
from steered_text import Target, labels, targets

from lexiscope import saes
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.concepts import BANK
from lexiscope.measure.concepts.search import find_each
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.effects.dose import judge_dose, untouched
from lexiscope.steer.effects.fluency import judge, write
from lexiscope.steer.effects.goals import Predicate
from lexiscope.steer.effects.rank import further_than
from lexiscope.steer.effects.selection import measure
from lexiscope.steer.effects.trial import Recommendation, Trial, recommend
from lexiscope.steer.effects.verdict import conclude
from lexiscope.steer.experiments.excerpts import Source
from lexiscope.steer.experiments.experiment import Experiment, Sizes


class Bench:
    """What is the same for all concepts."""

    def __init__(self, model: LanguageModel, sae: SparseAutoencoder, asked: argparse.Namespace) -> None:
        self.model, self.sae, self.asked = model, sae, asked
        sizes = Sizes(
            tokens=(asked.selection_tokens, asked.heldout_tokens),
            prompts=(asked.prompts, asked.heldout_prompts),
            off_target=asked.off_target,
            read_tokens=asked.read_tokens,
            small_dose=asked.small_dose,
        )
        self.experiment = Experiment(model, sae, Source(asked.corpus), sizes, seed=asked.seed)
        self.labels = [labels(excerpts) for excerpts in self.experiment.excerpts]

    def targets(self) -> list[Target]:
        return targets(self.experiment.excerpts[0], *self.labels)

    def detectors(self, found: Sequence[Target]) -> list[int | None]:
        """The latent that tells each concept best where it fires: the choice by activation."""
        seen, room = self.experiment.seen, self.model.max_context - 1
        positive_CT, judged_CT = (
            np.concatenate([each[part][:, :room] for each in self.labels[0][: seen.excerpts]], 1) for part in (0, 1)
        )
        best = find_each([(positive_CT[target.row], judged_CT[target.row]) for target in found], [seen.codes], 2**21)
        return [each.latent % self.sae.num_latents if each else None for each in best]

    def steer(self, target: Target, detector: int | None) -> Row:
        experiment, asked = self.experiment, self.asked
        aim = experiment.towards_tokens(
            target.lexicon.goal,
            kinds=target.concept.kinds,
            predicate=Predicate.of_concept(target.concept, self.model.tokenizer, min(target.concept.kinds)),
            wanted=[each.positive_CT[target.row] for each in self.labels[0]],
        )
        selection = experiment.select(aim, shortlist=asked.shortlist, random=asked.random, limit=asked.limit)
        chosen_on, judged_on = (
            Trial(self.model, experiment.hook, aim.goal, material, asked.seed)
            for material in (aim.selection, aim.heldout)
        )
        feature = selection.chosen
        vector_D = experiment.vector(feature)
        found = self.recommend(chosen_on, vector_D)
        by_detector = None
        if detector is not None:
            best = found.strength
            if detector != feature:
                best = self.recommend(chosen_on, experiment.vector(detector)).strength
            by_detector = None if best is None else judged_on.point(experiment.vector(detector), best)
        judged = beaten = None
        mass = [self.mass(judged_on, None)] * 2
        overdoses: list[Overdose] = []
        if found.strength is not None:
            added_D = found.strength * vector_D
            mass[1] = self.mass(judged_on, added_D)
            overdoses = [self.overdose(judged_on, times, added_D, aim.predicate) for times in OVERDOSES]
            best_D = None
            if aim.difference_D is not None:
                best = self.recommend(chosen_on, aim.difference_D).strength
                best_D = None if best is None else best * aim.difference_D
            rivals = experiment.rivals(aim, feature)
            if rivals.other_directions_FD is not None:
                beaten = further_than(judged_on, added_D, rivals.other_directions_FD, asked.seed)
            judged = judge_dose(
                judged_on,
                vector_D,
                found.strength,
                rivals,
                feature=feature,
                best_difference_D=best_D,
                predicate=aim.predicate,
                probes=experiment.probes,
            )
        verdict = conclude(feature, aim.goal.name, found, judged, asked.limit, beaten)[1]
        before = untouched(judged_on, aim.predicate, experiment.probes)
        return Row(target, selection, judged, before, detector, by_detector, verdict, (mass[0], mass[1]), overdoses)

    def recommend(self, trial: Trial, vector_D: torch.Tensor) -> Recommendation:
        """Doses around the one at which vectors begin to cost something, in multiples of this vector."""
        at = self.experiment.small_strength(vector_D)
        return recommend(trial, vector_D, [at, 2 * at], self.asked.limit)

    def mass(self, trial: Trial, vector_D: torch.Tensor | None) -> float:
        contexts = trial.prompts.contexts
        everywhere = trial.prompts._replace(measured_BC=contexts.text_BC)
        goal = dataclasses.replace(trial.goal, scale="probability")
        return float(measure(self.model, trial.hook, goal, everywhere, vector_D).mean())

    def overdose(self, trial: Trial, times: float, added_D: torch.Tensor, predicate: Predicate | None) -> Overdose:
        written = write(self.model, trial.hook, trial.prompts, times * added_D, seed=trial.seed)
        text = judge(self.model, written, predicate, seed=trial.seed)
        met = text.met.mean if text.met else 0.0
        return Overdose(times, met, text.perplexity or 0.0, trial.off_target.rise(times * added_D).rise)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("sae", type=Path)
    parser.add_argument("--model", default="demo")
    parser.add_argument("--corpus", default="demo")
    parser.add_argument("--concepts", type=int, default=24)
    parser.add_argument("--prompts", type=int, default=40, help="on selection text")
    parser.add_argument("--heldout-prompts", type=int, default=48)
    parser.add_argument("--off-target", type=int, default=72, help="contexts of text that steering is not about")
    parser.add_argument("--selection-tokens", type=int, default=150_000)
    parser.add_argument("--heldout-tokens", type=int, default=60_000)
    parser.add_argument("--read-tokens", type=int, default=40_000, help="tokens of which activations are read")
    parser.add_argument("--shortlist", type=int, default=6)
    parser.add_argument("--random", type=int, default=6)
    parser.add_argument(
        "--small-dose", type=float, default=0.15, help="in mean distances of an activation from the mean"
    )
    parser.add_argument("--limit", type=float, default=0.05)
    parser.add_argument(
        "--seed", type=int, default=0, help="another one draws other documents, another split, other prompts and words"
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="where to write everything as JSON")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    began = time.perf_counter()
    bench = Bench(LanguageModel(asked.model), saes.load(asked.sae), asked)
    every = bench.targets()
    chosen = every[: asked.concepts]
    print(
        f"{len(BANK)} concepts, {len(every)} frequent and told by their tokens; {time.perf_counter() - began:.0f} s\n"
    )
    print(heading())
    rows = []
    for target, detector in zip(chosen, bench.detectors(chosen), strict=True):
        rows.append(bench.steer(target, detector))
        print(line(rows[-1]), flush=True)
    summary = summarise(rows, asked.limit)
    print(f"\n{json.dumps(summary, indent=1)}\n{time.perf_counter() - began:.0f} s")
    if asked.out:
        asked.out.write_text(json.dumps({"summary": summary, "concepts": [details(row) for row in rows]}, indent=1))


if __name__ == "__main__":
    main()
