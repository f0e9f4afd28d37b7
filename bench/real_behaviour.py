"""A behaviour that the demo model has by itself, taken away: it goes on with links that it makes up.

Usage: python bench/real_behaviour.py SAE... --out FOLDER [--forms markdown,reference] [--characters 12e6] [--baselines]

Prompts are mined from the documentation of the packages that are installed (half of the documents are for judging, half
for searching) and from generated records: text before a link where the model's likeliest next token begins one.
Searching sees some forms, such as the ``](`` of Markdown. Judged are

    shown      the same forms in other documents
    other      other forms (quotes, angle brackets, colons ...) in documents that searching has not seen
    records    "See" in pages of records, another kind of document
    kept       the documents of ``shown`` a little earlier, where the model says something else: the share that is kept

by the share that goes on with a link, as the next token and in 24 tokens drawn at temperature 1. Features are searched
for in every dictionary; those that do best on the prompts of the search are kept as an edit in FOLDER, applied while
the model is loaded, and taken back. Damage is the rise of the loss on the beginnings of held-out documents, without the
tokens of their links and with them.

With ``--baselines``: as many features drawn at random, the opening tokens made ten nats less likely, a difference in
means (layer and strength chosen on the prompts of the search, for at most 1 % damage there and for what the features
did), and fine-tuning.
"""

from __future__ import annotations

import argparse
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from lexiscope import saes
from lexiscope.core.seeds import generator
from lexiscope.harvest.rows import pack_for
from lexiscope.lm.model import LanguageModel
from lexiscope.measure.worlds.planted.losses import apart, summed_losses
from lexiscope.saes import SparseAutoencoder
from lexiscope.steer.edit import Report, load_edited, save_edit
from lexiscope.steer.editing import editing
from lexiscope.steer.effects.probes import standard_probes
from lexiscope.steer.interventions import Scale
from lexiscope.steer.suppressing.baselines import (
    Direction,
    Judge,
    Trial,
    at_damage,
    by_finetuning,
    fit_direction,
    without_direction,
)
from lexiscope.steer.suppressing.mined import Mined, Unwanted, apart_from, goes_on, mine, share_with
from lexiscope.steer.suppressing.suppression import Found, contrasts, find
from lexiscope.text.corpus import Corpus
from lexiscope.text.document import Document, is_heldout
from lexiscope.text.pack import TokenBatch

LINK = Unwanted(re.compile(r"https?://[^\s)>\]\"'`]+"), frozenset({"htt", "http", "https", "://", "www"}))
FORMS = {
    "markdown": re.compile(r"\]\($"),
    "reference": re.compile(r"\[\d+\]$"),
    "angle": re.compile(r"<$"),
    "quote": re.compile(r"[\"'`]$"),
    "rest": re.compile(r""),
}
TEXT = "demo+installed"
BEGINNING = 1000
"""Characters of a document of ordinary text."""
JUDGED_SHARE = 0.5
MOST_PROMPTS = 60
MOST_DAMAGE, LEAST_DAMAGE = 0.01, 0.0005
STRENGTHS = (0.1, 0.25, 0.5, 1.0, 1.5)
STEPS, LR = (20, 60), 1e-4
RANDOM_DRAWS = 3
NATS_LESS = 10.0
NEW_TOKENS = 24


def documents(characters: float) -> Iterator[Document]:
    """Of what is installed, so much."""
    read = 0
    for document in Corpus("installed", seed=1).documents():
        if read > characters:
            return
        read += len(document.text)
        yield document


def prompts(
    model: LanguageModel, forms: Sequence[str], characters: float
) -> tuple[list[Mined], dict[str, Sequence[Mined]]]:
    """For searching, and groups to judge by."""
    mined = list(mine(model, documents(characters), LINK, FORMS))
    records = Corpus("generated:records", seed=1, split="heldout").documents()
    fit = [one for one in mined if one.form in forms and not is_heldout(one.document, JUDGED_SHARE)][:MOST_PROMPTS]
    seen = {one.document for one in fit}
    shown = [one for one in mined if one.form in forms and is_heldout(one.document, JUDGED_SHARE)][:MOST_PROMPTS]
    groups = {
        "shown": shown,
        "other": [one for one in mined if one.form not in forms and one.document not in seen][:MOST_PROMPTS],
        "records": list(islice(mine(model, islice(records, 400), LINK, {"See": re.compile("See$")}), MOST_PROMPTS)),
        "kept": [one.kept for one in shown],
    }
    for name, some in {"fit": fit, **groups}.items():
        counted = Counter(one.form for one in some)
        print(f"{name}: {len(some)} prompts of {len({one.document for one in some})} documents, {dict(counted)}")
    return fit, groups


def text(model: LanguageModel, split: Any, batch: int, batches: int) -> list[TokenBatch]:
    """The beginnings of many documents rather than all of a few."""
    documents = Corpus(TEXT, seed=1, split=split).documents()
    starts = (replace(document, text=document.text[:BEGINNING]) for document in documents)
    return list(islice(pack_for(model, starts, context=128, batch=batch), batches))


class Reviewer(Judge):
    """A judge who has the model write, too, asks for its other abilities, and prints all that."""

    def __init__(
        self, model: LanguageModel, groups: Mapping[str, Sequence[Mined]], ordinary: Sequence[TokenBatch]
    ) -> None:
        super().__init__(model, groups, apart_from(ordinary, LINK))
        self._groups, self._whole = groups, ordinary
        self._whole_K = summed_losses(model, ordinary)
        self._probes = standard_probes(model)
        self.measured: dict[str, Any] = {}

    def trial(self, model: LanguageModel, method: str, strength: float) -> Trial:
        trial = super().trial(model, method, strength)
        self.measured = {
            "damage without links": percent(trial.damage),
            "damage": percent(apart(summed_losses(model, self._whole), self._whole_K)),
            "kept": str(trial.behaviour["kept"].honest),
        }
        for name in ("shown", "other", "records"):
            drawn = share_with(goes_on(model, self._groups[name], new_tokens=NEW_TOKENS, temperature=1.0), LINK)
            self.measured[name] = {
                "next token": str(trial.behaviour[name].planted),
                "drawn text": f"{drawn.share:.3f} [{drawn.low:.3f}, {drawn.high:.3f}]",
            }
        for probe in self._probes:
            self.measured[probe.task] = round(probe.score(model).accuracy.share, 3)
        print(
            f"\n{method}, strength {strength:g}",
            *(f"  {name}: {value}" for name, value in self.measured.items()),
            sep="\n",
        )
        return trial


def percent(damage: Any) -> str:
    return f"{damage.value:+.3%} [{damage.low:+.3%}, {damage.high:+.3%}]"


@contextmanager
def less_likely(model: LanguageModel, openings: frozenset[str], nats: float) -> Iterator[None]:
    """Tokens that are not likely to be said, whatever the text."""
    ids = [token for token in range(model.vocab_size) if model.tokenizer.decode([token]).strip() in openings]
    lower_V = torch.zeros(model.vocab_size).index_fill_(0, torch.tensor(ids), nats)
    handle = model.module.get_output_embeddings().register_forward_hook(lambda _m, _i, logits: logits - lower_V)
    try:
        yield
    finally:
        handle.remove()


def search(
    judge: Judge,
    model: LanguageModel,
    dictionaries: Sequence[SparseAutoencoder],
    fit: Sequence[Mined],
    ordinary: Sequence[TokenBatch],
) -> tuple[SparseAutoencoder, Found]:
    """The dictionary whose features do best on the prompts of the search; all are judged."""
    every = []
    for sae in dictionaries:
        found = find(model, sae, fit, ordinary, keep=[one.kept for one in fit], limit=MOST_DAMAGE)
        print(
            f"{sae.reads[0]}: {len(found.turned)} features; of what was searched: suppressed {found.suppressed:.3f}, "
            f"harmed {found.harmed:.3f}, rise {found.rise:+.3%}"
        )
        with editing(model, sae, found.recipe.edits):
            judged = judge.trial(model, "features", 0)
        left = ", ".join(f"{name} {said.planted}" for name, said in judged.behaviour.items() if name != "kept")
        print(
            f"  next token of {left}, kept {judged.behaviour['kept'].honest}, damage {percent(judged.damage)}",
            flush=True,
        )
        every.append((sae, found))
    return max(every, key=lambda one: one[1].suppressed - one[1].harmed)


def at_random(judge: Judge, model: LanguageModel, sae: SparseAutoencoder, fit: Sequence[Mined], found: Found) -> None:
    """As many others that fire on the prompts, turned as far."""
    fires = contrasts(model, sae, fit, [one.kept for one in fit]).nonzero()[:, 0]
    others = fires[~torch.isin(fires, torch.tensor([one.feature for one in found.turned]))]
    trials = []
    for draw in range(RANDOM_DRAWS):
        order = others[torch.randperm(len(others), generator=generator(draw, "random features"))].tolist()
        edits = [Scale(features=(other,), by=one.by) for other, one in zip(order, found.turned, strict=False)]
        with editing(model, sae, edits):
            trials.append(judge.trial(model, "random features", draw))
    left = [trial.behaviour["shown"].planted.share for trial in trials]
    damage = [trial.damage.value for trial in trials]
    print(
        f"\nrandom features, {RANDOM_DRAWS} draws: next token of shown {min(left):.3f} to {max(left):.3f}, "
        f"damage {min(damage):+.3%} to {max(damage):+.3%}",
        flush=True,
    )


def by_means(
    reviewer: Reviewer,
    model: LanguageModel,
    fit: Sequence[Mined],
    beside: Sequence[TokenBatch],
    allowed: Sequence[float],
) -> None:
    """The difference in means that does best in the search for so much damage there."""
    judge = Judge(model, {"fit": fit}, beside)
    tried: dict[tuple[str, float], tuple[Direction, Trial]] = {}
    for hook in model.hook_points():
        if hook.site == "resid_post":
            direction = fit_direction(model, hook, fit)
            for strength in STRENGTHS:
                with without_direction(model, direction, strength):
                    trial = judge.trial(model, f"difference in means at {hook}", strength)
                tried[trial.method, strength] = direction, trial
    for most in allowed:
        best = at_damage([trial for _, trial in tried.values()], "fit", most)
        print(f"\ndifference in means, at most {most:.2%} where it was chosen", end="")
        if best is None:
            print(": every strength does more")
            continue
        with without_direction(model, tried[best.method, best.strength][0], best.strength):
            reviewer.trial(model, best.method, best.strength)


def keep(
    out: Path, found: Found, model: LanguageModel, sae: SparseAutoencoder, measured: dict[str, Any], tokens_BC: Tensor
) -> None:
    """As an edit; applied when the model is loaded, and taken back."""
    report = Report(purpose="leaves off links that are made up", author="bench/real_behaviour.py", measured=measured)
    kept = save_edit(out, found.recipe, model, sae, report=report)
    plain_BCV = model.logits(tokens_BC)
    with editing(model, sae, found.recipe.edits):
        turned_BCV = model.logits(tokens_BC)
    edited, applied = load_edited("demo", out)
    as_turned = torch.equal(edited.logits(tokens_BC), turned_BCV)
    changed = not torch.equal(turned_BCV, plain_BCV)
    applied.remove()
    as_before = torch.equal(edited.logits(tokens_BC), plain_BCV)
    print(
        f"\nkept in {kept.artifact.path}; loaded with it: changed {changed}, every bit as it was measured {as_turned}; "
        f"taken back: every bit as before {as_before}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("saes", nargs="+", type=Path)
    parser.add_argument("--out", type=Path, required=True, help="folder to make for the edit")
    parser.add_argument("--forms", default="markdown,reference", help="what searching sees")
    parser.add_argument("--characters", type=float, default=12e6, help="of documentation to read")
    parser.add_argument("--baselines", action="store_true")
    arguments = parser.parse_args()
    model = LanguageModel("demo")
    fit, groups = prompts(model, arguments.forms.split(","), arguments.characters)
    ordinary, beside, small = text(model, "heldout", 16, 6), text(model, "train", 16, 8), text(model, "train", 4, 60)
    beside, small = apart_from(beside, LINK), apart_from(small, LINK)
    judge, reviewer = Judge(model, groups, apart_from(ordinary, LINK)), Reviewer(model, groups, ordinary)
    reviewer.trial(model, "as it is", 0)
    sae, found = search(judge, model, [saes.load(path) for path in arguments.saes], fit, small)
    with editing(model, sae, found.recipe.edits):
        turned = reviewer.trial(model, f"features of {sae.reads[0]}", len(found.turned))
    keep(arguments.out, found, model, sae, reviewer.measured, ordinary[0].tokens_BC)
    if not arguments.baselines:
        return
    by_means(reviewer, model, fit, small[:20], [MOST_DAMAGE, max(turned.damage.value, LEAST_DAMAGE)])
    by_finetuning(reviewer, lambda: LanguageModel("demo"), fit, beside, STEPS, lr=LR)
    at_random(judge, model, sae, fit, found)
    with less_likely(model, LINK.openings, NATS_LESS):
        reviewer.trial(model, "openings less likely, nats", NATS_LESS)


if __name__ == "__main__":
    main()
