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
import random
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray

from lexiscope import saes
from lexiscope.core.codes import SparseCodes
from lexiscope.core.seeds import derive_seed
from lexiscope.index.directions.effects import effect_matrix
from lexiscope.index.live.changes import bootstrap
from lexiscope.index.live.contexts import Contexts, encode
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.concepts import BANK, Concept
from lexiscope.measure.concepts.labels import label
from lexiscope.measure.concepts.search import find_each
from lexiscope.measure.heldout import Excerpts
from lexiscope.saes.base import SparseAutoencoder
from lexiscope.steer.controls import Control, difference_in_means
from lexiscope.steer.dose import Dose, Untouched, conclude, judge_dose, untouched
from lexiscope.steer.fluency import judge, write
from lexiscope.steer.goals import Lexicon, Predicate, Prompts, lexical
from lexiscope.steer.intervals import Share, wilson
from lexiscope.steer.probes import standard_probes
from lexiscope.steer.selection import Selection, measure, select, steered_place
from lexiscope.steer.side_effects import OffTarget
from lexiscope.steer.trial import Material, Point, Recommendation, Rivals, Trial, recommend
from lexiscope.text.corpus import Corpus, Split
from lexiscope.text.document import Document

LEAST_POSITIVES = 50
LEAST_COVERAGE = 0.5
"""Share of a concept's positive tokens that its set of tokens must hold, for the set to stand for the concept."""
PROMPT, OFF_TARGET, PREFIX, CHARACTERS = 24, 32, 16, 3000
"""Tokens of a prompt, of off-target text and of a prefix; characters that are read of a document."""
OVERDOSES = (2.0, 4.0)
"""Multiples of the recommended dose at which the text that is written is looked at, too."""
CONTROLS: dict[str, Control] = {
    "noise": "noise",
    "random": "random feature",
    "wrong": "wrong sign",
    "prompt": "prompt only",
    "means": "difference in means",
    "best m": "difference in means at its best",
}
"""By the heading of the column."""


class Labelled(NamedTuple):
    """A document, its tokens, and which have which concept."""

    document: Document
    ids: list[int]
    positive_CT: NDArray[np.bool_]
    judged_CT: NDArray[np.bool_]


def read(model: LanguageModel, corpus: str, split: Split, tokens: int) -> list[Labelled]:
    """The beginnings of documents until there are so many tokens."""
    found: list[Labelled] = []
    for document in Excerpts(Corpus(corpus, seed=1, split=split)).documents(CHARACTERS):
        encoded = model.tokenizer.encode(document.text)
        if len(encoded.ids) > 1:
            labels = label(document, np.array(encoded.starts), np.array(encoded.ends), BANK)
            found.append(Labelled(document, encoded.ids, *labels))
            tokens -= len(encoded.ids)
        if tokens <= 0:
            break
    return found


def windows(
    text: Sequence[Labelled], rows: int, length: int, kinds: frozenset[str] | None, *seed: object
) -> tuple[list[list[int]], list[str]]:
    """One stretch from each of so many documents, and their names."""
    rng = random.Random(derive_seed(0, *seed))
    fit = [each for each in text if len(each.ids) >= length and (not kinds or each.document.kind in kinds)]
    chosen = rng.sample(fit, min(rows, len(fit)))
    starts = [rng.randrange(len(each.ids) - length + 1) for each in chosen]
    texts = [each.ids[start : start + length] for each, start in zip(chosen, starts, strict=True)]
    return texts, [each.document.id for each in chosen]


class Target(NamedTuple):
    """A concept that can be steered to by its tokens."""

    row: int
    concept: Concept
    lexicon: Lexicon
    positives: int


def targets(selection: Sequence[Labelled], heldout: Sequence[Labelled]) -> list[Target]:
    """By how many positives they have in the selection text, most first."""
    tokens_T = torch.tensor([token for each in selection for token in each.ids])
    positive_CT, judged_CT = (np.concatenate([each[part] for each in selection], 1) for part in (2, 3))
    heldout_C = sum(each.positive_CT.sum(1) for each in heldout)
    found = []
    for row, concept in enumerate(BANK):
        positives = int(positive_CT[row].sum())
        if min(positives, heldout_C[row]) >= LEAST_POSITIVES:
            lexicon = lexical(concept.name, tokens_T, positive_CT[row], judged_CT[row])
            if lexicon and lexicon.coverage >= LEAST_COVERAGE:
                found.append(Target(row, concept, lexicon, positives))
    return sorted(found, key=lambda target: -target.positives)


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


class Overdose(NamedTuple):
    """What is written at a multiple of the recommended dose, and what that costs off-target."""

    times: float
    written: float
    perplexity: float
    cost: float


class Row(NamedTuple):
    """A concept and what steering did on held-out prompts."""

    target: Target
    selection: Selection
    judged: Dose | None
    before: Untouched
    detector: int | None
    by_detector: Point | None
    """The best detector of the concept, at the strength recommended for it."""
    verdict: str
    mass: tuple[float, float]
    """Probability of the concept's tokens before and after, over all tokens of the prompts."""
    overdoses: list[Overdose]

    def moved(self) -> Share:
        return self._share(self.judged)

    def moved_by_detector(self) -> Share:
        return self._share(self.by_detector)

    def control(self, name: Control) -> Share | None:
        return (
            next((each.moved for each in self.judged.controls if each.control == name), None) if self.judged else None
        )

    def beats(self, name: Control) -> bool:
        """Whether the effect is surely larger than that of a control."""
        beside = [each for each in self.judged.controls if each.control == name] if self.judged else []
        return bool(beside) and (beside[0].advantage.low or 0) > 0

    def written(self) -> tuple[float, float] | None:
        """Share of the tokens written that have the concept, before and after."""
        if not self.judged or not self.judged.fluency.met or not self.before.fluency.met:
            return None
        return self.before.fluency.met.mean, self.judged.fluency.met.mean

    def _share(self, point: Point | None) -> Share:
        return point.moved if point else wilson(0, self.before.goal.examples)


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


def heading() -> str:
    rivals = "".join(f"{name:>7}" for name in (*CONTROLS, "by act"))
    figures = f"{'effect':>6} {'cost':>6}  {'mass':<15} {'written':<15} perplexity of it"
    return f"{'concept':<34} {'feat.':>5} {'dose':>5} moved{'':>13}{rivals} {figures}"


def line(row: Row) -> str:
    moved = row.moved()
    start = f"{row.target.concept.name:<34} {row.selection.chosen:>5}"
    share = f"{moved.share:.2f} [{moved.low:.2f}, {moved.high:.2f}]"
    if row.judged is None:
        return f"{start} {'-':>5} {share}  {row.verdict}"
    rivals = [*(row.control(name) for name in CONTROLS.values()), row.by_detector and row.by_detector.moved]
    figures = "".join(f"{'-' if each is None else format(each.share, '.2f'):>7}" for each in rivals)
    written = "{:.3f} -> {:.3f}".format(*(row.written() or (0.0, 0.0)))
    perplexity = f"{row.before.fluency.perplexity or 0:.1f} -> {row.judged.fluency.perplexity or 0:.1f}"
    effect = f"{row.judged.effect.mean:>6.2f} {row.judged.perplexity.rise:>6.1%}"
    mass = "{:.3f} -> {:.3f}".format(*row.mass)
    return f"{start} {row.judged.strength:>5.2f} {share}{figures} {effect}  {mass:<15} {written:<15} {perplexity}"


def summarise(rows: Sequence[Row], limit: float) -> dict[str, Any]:
    def pooled(shares: Sequence[Share | None]) -> dict[str, Any] | None:
        known = [each for each in shares if each is not None]
        return wilson(sum(each.count for each in known), sum(each.of for each in known)).model_dump() if known else None

    judged = [row.judged for row in rows if row.judged]
    written = [both for row in rows if (both := row.written())]
    accuracy = {
        probe.task: [probe.accuracy.share, float(np.mean([dose.probes[place].accuracy.share for dose in judged]))]
        for place, probe in enumerate(rows[0].before.probes)
    }
    gained = bootstrap([after - before for before, after in written], 0)
    return {
        "concepts": len(rows),
        "with a dose within the limit": len(judged),
        "moved": pooled([row.moved() for row in rows]),
        "moved by the best detector": pooled([row.moved_by_detector() for row in rows]),
        "moved by controls": {name: pooled([row.control(name) for row in rows]) for name in CONTROLS.values()},
        "concepts with 80 % moved within the limit": sum(
            row.moved().share >= 0.8 and row.judged is not None and row.judged.perplexity.rise <= limit for row in rows
        ),
        "concepts within the limit": sum(dose.perplexity.rise <= limit for dose in judged),
        "concepts with a surely larger effect than": {
            name: sum(row.beats(name) for row in rows) for name in CONTROLS.values()
        },
        "rise of perplexity, median and most": [
            float(np.quantile([dose.perplexity.rise for dose in judged], at)) for at in (0.5, 1)
        ],
        "other features moved per token, median": float(
            np.median([dose.side_effects.features_moved.mean for dose in judged if dose.side_effects.features_moved])
        ),
        "mass before and after": np.mean([row.mass for row in rows], 0).tolist(),
        "written before and after": np.mean(written, 0).tolist(),
        "at multiples of the dose: written, perplexity of it, cost off-target; medians but for the first": {
            times: [
                float(np.mean([each.written for each in taken])),
                *(float(np.median([each[part] for each in taken])) for part in (2, 3)),
            ]
            for place, times in enumerate(OVERDOSES)
            if (taken := [row.overdoses[place] for row in rows if row.overdoses])
        },
        "perplexity of what is written before and after, medians": [
            float(np.median([fluency.perplexity or 0 for fluency in of]))
            for of in ([row.before.fluency for row in rows], [dose.fluency for dose in judged])
        ],
        "gained in writing, over concepts": gained.model_dump() if gained else None,
        "accuracy before and after": accuracy,
        "signs predicted": {
            score: {
                part: pooled([getattr(row.selection.signs[score], part) for row in rows])
                for part in ("shortlisted", "random")
            }
            for score in rows[0].selection.signs
        },
    }


def details(row: Row) -> dict[str, Any]:
    return {
        "concept": row.target.concept.name,
        "tokens": len(row.target.lexicon.goal.weights),
        "coverage": row.target.lexicon.coverage,
        "positives": row.target.positives,
        "selection": row.selection.model_dump(),
        "judged": row.judged and row.judged.model_dump(),
        "untouched": row.before.model_dump(),
        "mass": row.mass,
        "overdoses": [each._asdict() for each in row.overdoses],
        "detector": row.detector,
        "by_detector": row.by_detector and row.by_detector.model_dump(),
        "verdict": row.verdict,
    }


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
