"""Concepts of the bank steered with features chosen automatically, and whether anything else would have done as well.

    python bench/steered_concepts.py SAE [--concepts 24] [--corpus demo] [--out steered_concepts.json]

Which concepts: those with enough positive tokens in both halves of the text whose positives are mostly told by the
token itself (the goal is a set of tokens), the most frequent first; none is left out for what steering does to it.
Features, doses, differences in means and prefixes are chosen on documents of the training split; everything printed is
from held-out documents: one prompt per document, the log-odds that the next token is one of the concept's. "moved" is
the share of prompts on which they rise; where no dose is within the limit on selection text, no prompt counts as moved.
The cost is the rise of perplexity on all kinds of text where the next token is not the concept's. It bounds what can
be gained: whatever probability goes to the concept is missing there, so that a share of tokens that was p can become
little more than p plus the limit. "mass" is the probability of the concept's tokens over all tokens of the prompts,
"written" the share of sampled tokens that have the concept, 24 after each prompt. "by act" is the feature that tells
the concept best where it fires, at the dose recommended for it; without one, nothing counts as moved.
"""

from __future__ import annotations

import argparse
import dataclasses
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from steered_report import OVERDOSES, Overdose, Row, details, heading, line, summarise
from steered_text import Labelled, Target, read, targets, windows

from lexiscope import saes
from lexiscope.core.codes import SparseCodes
from lexiscope.index.directions.effects import effect_matrix
from lexiscope.index.live.contexts import Contexts, encode
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.concepts import BANK
from lexiscope.measure.concepts.search import find_each
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.effects.controls import difference_in_means
from lexiscope.steer.effects.dose import conclude, judge_dose, untouched
from lexiscope.steer.effects.fluency import judge, write
from lexiscope.steer.effects.goals import Predicate, Prompts
from lexiscope.steer.effects.probes import standard_probes
from lexiscope.steer.effects.selection import measure, select, steered_place
from lexiscope.steer.effects.side_effects import OffTarget
from lexiscope.steer.effects.trial import Material, Recommendation, Rivals, Trial, recommend

PROMPT, OFF_TARGET, PREFIX = 24, 32, 16
"""Tokens of a prompt, of off-target text and of a prefix."""


class Seen(NamedTuple):
    """Part of the selection text as the model and the dictionary see it."""

    x_TD: torch.Tensor
    codes: SparseCodes
    positive_CT: NDArray[np.bool_]
    judged_CT: NDArray[np.bool_]
    next_T: torch.Tensor
    """The token that follows each; -1 where the text ends."""


@torch.no_grad()
def see(model: LanguageModel, sae: SparseAutoencoder, text: Sequence[Labelled], tokens: int) -> Seen:
    parts: list[tuple[Any, ...]] = []
    room = model.max_context - 1
    for start in range(0, len(text), 16):
        batch = text[start : start + 16]
        contexts = Contexts.of(model, [each.ids[:room] for each in batch])
        at = model.read(contexts.tokens_BC, list(sae.reads), contexts.attention_BC)
        x_TD = contexts.side_by_side(at, sae.reads)
        positive_CT, judged_CT = (np.concatenate([each[part][:, :room] for each in batch], 1) for part in (2, 3))
        following = torch.tensor([token for each in batch for token in [*each.ids[1:room], -1]])
        parts.append((x_TD, encode(sae, x_TD), positive_CT, judged_CT, following))
        tokens -= len(x_TD)
        if tokens <= 0:
            break
    x, codes, positive, judged, following = zip(*parts, strict=True)
    labels = (np.concatenate(each, 1) for each in (positive, judged))
    return Seen(torch.cat(x), SparseCodes.concat(codes), *labels, torch.cat(following))


class Bench:
    """What is the same for all concepts."""

    def __init__(self, model: LanguageModel, sae: SparseAutoencoder, asked: argparse.Namespace) -> None:
        self.model, self.sae, self.asked = model, sae, asked
        self.texts = (
            read(model, asked.corpus, "train", asked.selection_tokens),
            read(model, asked.corpus, "heldout", asked.heldout_tokens),
        )
        self.hook = steered_place(sae)
        self.seen = see(model, sae, self.texts[0], asked.read_tokens)
        codes = self.seen.codes
        self.maxima_F = torch.zeros(sae.num_latents).scatter_reduce_(0, codes.latents, codes.values.abs(), "amax")
        self.live: list[int] = self.maxima_F.nonzero()[:, 0].tolist()
        self.directions_FD = sae.directions_FD.detach().float()
        self.norm = asked.small_dose * float((self.seen.x_TD - self.seen.x_TD.mean(0)).norm(dim=1).mean())
        self.U_DV = effect_matrix(model)
        self.probes = standard_probes(model)
        self.off_target = [
            OffTarget(
                model,
                self.hook,
                Contexts.of(model, windows(text, asked.off_target, OFF_TARGET, None, "off-target")[0]),
                sae=sae,
            )
            for text in self.texts
        ]

    def detectors(self, found: Sequence[Target]) -> list[int | None]:
        """The latent that tells each concept best where it fires: the choice by activation."""
        labels = [(self.seen.positive_CT[target.row], self.seen.judged_CT[target.row]) for target in found]
        best = find_each(labels, [self.seen.codes], 2**21)
        return [each.latent % self.sae.num_latents if each else None for each in best]

    def steer(self, target: Target, detector: int | None) -> Row:
        goal, asked = target.lexicon.goal, self.asked
        trials = []
        for text, rows, off_target in zip(
            self.texts, (asked.prompts, asked.heldout_prompts), self.off_target, strict=True
        ):
            texts, documents = windows(text, rows, PROMPT, target.concept.kinds, "prompts", goal.name)
            material = Material(Prompts.of(self.model, texts, documents), off_target.about(goal.tokens))
            trials.append(Trial(self.model, self.hook, goal, material))
        chosen_on, judged_on = trials
        selection = select(
            self.model,
            self.sae,
            goal,
            chosen_on.prompts,
            norm=self.norm,
            off_target=chosen_on.off_target,
            live=self.live,
            shortlist=asked.shortlist,
            random=asked.random,
            limit=asked.limit,
            U_DV=self.U_DV,
        )
        feature = selection.chosen
        vector_D = self.vector(feature)
        found = self.recommend(chosen_on, vector_D)
        by_detector = None
        if detector is not None:
            best = found.strength if detector == feature else self.recommend(chosen_on, self.vector(detector)).strength
            by_detector = None if best is None else judged_on.point(self.vector(detector), best)
        predicate = Predicate.of_concept(target.concept, self.model.tokenizer, min(target.concept.kinds))
        judged = None
        mass = [self.mass(judged_on, None)] * 2
        overdoses: list[Overdose] = []
        if found.strength is not None:
            added_D = found.strength * vector_D
            mass[1] = self.mass(judged_on, added_D)
            overdoses = [self.overdose(judged_on, times, added_D, predicate) for times in OVERDOSES]
            wanted_T = torch.isin(self.seen.next_T, torch.tensor(goal.tokens))
            difference_D = difference_in_means(self.seen.x_TD, wanted_T)
            best = self.recommend(chosen_on, difference_D).strength
            others = [each for each in self.live if each != feature]
            judged = judge_dose(
                judged_on,
                vector_D,
                found.strength,
                Rivals(self.directions_FD[others], difference_D, self.prefix(target)),
                feature=feature,
                best_difference_D=None if best is None else best * difference_D,
                predicate=predicate,
                probes=self.probes,
            )
        verdict = conclude(feature, goal.name, found, judged, asked.limit)[1]
        before = untouched(judged_on, predicate, self.probes)
        return Row(target, selection, judged, before, detector, by_detector, verdict, (mass[0], mass[1]), overdoses)

    def vector(self, feature: int) -> torch.Tensor:
        """A feature at its maximum."""
        return self.maxima_F[feature] * self.directions_FD[feature]

    def recommend(self, trial: Trial, vector_D: torch.Tensor) -> Recommendation:
        """Doses around the one at which vectors begin to cost something, in multiples of this vector."""
        at = self.norm / float(vector_D.norm())
        return recommend(trial, vector_D, [at, 2 * at], self.asked.limit)

    def mass(self, trial: Trial, vector_D: torch.Tensor | None) -> float:
        contexts = trial.prompts.contexts
        everywhere = trial.prompts._replace(measured_BC=contexts.text_BC)
        goal = dataclasses.replace(trial.goal, scale="probability")
        return float(measure(self.model, self.hook, goal, everywhere, vector_D).mean())

    def overdose(self, trial: Trial, times: float, added_D: torch.Tensor, predicate: Predicate) -> Overdose:
        text = judge(self.model, write(self.model, self.hook, trial.prompts, times * added_D), predicate)
        written = text.met.mean if text.met else 0.0
        return Overdose(times, written, text.perplexity or 0.0, trial.off_target.rise(times * added_D).rise)

    def prefix(self, target: Target) -> list[int]:
        """The stretch of selection text in which most tokens have the concept."""
        best: tuple[int, list[int]] = (-1, [])
        for each in self.texts[0]:
            if len(each.ids) >= PREFIX:
                counts = np.convolve(each.positive_CT[target.row], np.ones(PREFIX, int), "valid")
                start = int(counts.argmax())
                best = max(best, (int(counts[start]), each.ids[start : start + PREFIX]), key=lambda found: found[0])
        return best[1]


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
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--out", type=Path, help="where to write everything as JSON")
    asked = parser.parse_args()
    torch.set_num_threads(asked.threads)
    began = time.perf_counter()
    bench = Bench(LanguageModel(asked.model), saes.load(asked.sae), asked)
    every = targets(*bench.texts)
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
