"""Judge the demo model and write its card.

Usage: python tools/demo_model/evaluate.py --data FOLDER --model FOLDER [--log FILE] [--sets FOLDER]

Held-out loss by source against a modified Kneser-Ney 3-gram made from the same training tokens, and the tasks of tasks.py.
``--sets`` adds published test sets where they are at hand: agreement (Marks et al. 2024) and a list of given names.
"""

from __future__ import annotations

import argparse
import json
import math
from pathlib import Path

import numpy as np
import torch
from kneser_ney import KneserNey
from mix import BOUNDARY, SHARES
from numpy.typing import NDArray
from tasks import agreement_items, contrast, indirect_object_items, induction
from tokenizers import Tokenizer
from torch import Tensor
from transformers import LlamaForCausalLM

from lexiscope.text.generators._words import HELD_OUT_NAMES, NAMES

CONTEXT = 256
MOST_TOKENS = 150_000


@torch.no_grad()
def losses(model: LlamaForCausalLM, tokens: NDArray[np.int64], boundary: int) -> NDArray[np.float64]:
    """Loss in nats of every token, read in separate contexts that begin with the boundary token."""
    length = CONTEXT - 1
    rows = torch.from_numpy(tokens[: len(tokens) // length * length].reshape(-1, length))
    rows = torch.cat([torch.full((len(rows), 1), boundary), rows], 1)
    parts = []
    for chunk in rows.split(32):
        logits = model(chunk, use_cache=False).logits[:, :-1]
        parts.append(torch.nn.functional.cross_entropy(logits.transpose(1, 2), chunk[:, 1:], reduction="none"))
    return torch.cat(parts).flatten().double().numpy()


def compare(model: LlamaForCausalLM, tokenizer: Tokenizer, data: Path) -> list[dict[str, float | str]]:
    """Loss of both models on the held-out tokens of every source, and over the mix."""
    train = np.concatenate([np.load(data / f"{name}.train.npy") for name in SHARES])
    baseline = KneserNey(train, tokenizer.get_vocab_size())
    rows: list[dict[str, float | str]] = []
    for name in SHARES:
        tokens = np.load(data / f"{name}.heldout.npy")[:MOST_TOKENS].astype(np.int64)
        ours = losses(model, tokens, tokenizer.token_to_id(BOUNDARY))
        theirs = -baseline.log_probabilities(tokens)
        rows.append({"source": name, "share": SHARES[name], "model": ours.mean(), "kneser_ney": theirs.mean()})
    total = sum(SHARES.values())
    mixed = {key: sum(row["share"] * row[key] for row in rows) / total for key in ("model", "kneser_ney")}
    return [*rows, {"source": "the mix", "share": 1.0, **mixed}]


def published(folder: Path) -> tuple[list[tuple[str, str, str]], list[str]]:
    """Agreement items and given names that no generator prints."""
    items = []
    for file in sorted((folder / "subject-verb-agreement").glob("*_test.json")):
        for line in file.read_text().splitlines():
            item = json.loads(line)
            items.append((item["clean_prefix"], item["clean_answer"], item["patch_answer"]))
    names = {name.strip() for file in ("male.txt", "female.txt") for name in (folder / "names" / file).open()}
    return items, sorted(name for name in names - set(NAMES) if name.isalpha())


def card(rows: list[dict[str, float | str]], scores: dict[str, float], log: list[dict[str, float]], size: int) -> str:
    """The model card."""
    table = "\n".join(
        f"| {row['source']} | {row['model']:.3f} | {row['kneser_ney']:.3f} | {math.exp(row['model'] - row['kneser_ney']):.2f} |"
        for row in rows
    )
    tasks = "\n".join(f"| {name} | {value:.3f} |" for name, value in scores.items())
    trained = f"{log[-1]['tokens'] / 1e6:.0f} million tokens" if log else "the tokens given to train.py"
    history = "\n".join(
        f"| {entry['tokens'] / 1e6:.1f} | {entry['heldout']:.3f} | {entry['indirect_objects']:.3f} | {entry['agreement']:.3f} "
        f"| {entry['induction_first'] - entry['induction_second']:.2f} |"
        for entry in log[:: max(1, len(log) // 12)]
    )
    return f"""---
license: apache-2.0
language: en
pipeline_tag: text-generation
---
# The demo model of Lexiscope

A small Llama ({size:,} parameters, 4 blocks, width 256, 8 heads, context 256, byte-level BPE of 4,096 pieces) that ships
inside the package, so that everything works without a download. It writes Python, English prose and the sentences of
the package's own generators, none of them well; it is here to be taken apart, not to be used.

Made by `tools/demo_model` of the project: `mix.py` gathers the text, `train.py` trained it for {trained} on two CPU cores,
`evaluate.py` wrote this page. Weights are float16.

## Text
Standard library of Python (PSF-2.0), docstrings and descriptions of installed packages (their own licences), English novels
in the public domain, stories (CDLA-Sharing-1.0), speeches, an encyclopedia sample (CC BY-SA), verse, and generated pages
(indirect objects, agreement, repeats, base64, lists, numbers, quotes, records). A tenth of each source is held out.

## Loss on held-out text
Nats per token, against an interpolated, modified Kneser-Ney 3-gram of the same vocabulary and the same training text; the
last column is the ratio of perplexities.

| source | this model | 3-gram | ratio |
| --- | ---: | ---: | ---: |
{table}

## What it can do
Share of items in which the right continuation has the higher logit (chance is 0.5), and induction: the loss on random
tokens when they come the first and the second time.

| task | score |
| --- | ---: |
{tasks}

Names in the indirect-object sentences occurred in no such sentence of the training text.

## How it got there
| million tokens | held-out loss | indirect objects | agreement | induction (nats gained on the repeat) |
| ---: | ---: | ---: | ---: | ---: |
{history}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--model", type=Path, required=True)
    parser.add_argument("--log", type=Path)
    parser.add_argument("--sets", type=Path)
    arguments = parser.parse_args()
    tokenizer = Tokenizer.from_file(str(arguments.data / "tokenizer.json"))
    boundary = tokenizer.token_to_id(BOUNDARY)
    model = LlamaForCausalLM.from_pretrained(arguments.model, dtype=torch.float32).eval()

    @torch.no_grad()
    def logits(tokens: Tensor) -> Tensor:
        return model(tokens, use_cache=False).logits

    rows = compare(model, tokenizer, arguments.data)
    first, second = induction(logits, tokenizer.get_vocab_size(), boundary)
    scores = {
        "indirect objects, unseen names": contrast(
            logits, tokenizer, boundary, indirect_object_items(2000, HELD_OUT_NAMES)
        ),
        "agreement": contrast(logits, tokenizer, boundary, agreement_items(2000)),
    }
    if arguments.sets:
        items, names = published(arguments.sets)
        scores["indirect objects, unseen names of a published list"] = contrast(
            logits, tokenizer, boundary, indirect_object_items(2000, names)
        )
        scores["agreement, published test sets"] = contrast(logits, tokenizer, boundary, items)
    scores |= {"induction, first time (nats)": first, "induction, second time (nats)": second}
    log = [json.loads(line) for line in arguments.log.open()] if arguments.log else []
    text = card(rows, scores, log, sum(p.numel() for p in model.parameters()))
    (arguments.model / "README.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
