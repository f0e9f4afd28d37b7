"""Train the demo model: a small Llama, from tokens made by mix.py to a Hugging Face folder.

Usage: python tools/demo_model/train.py --data FOLDER --out FOLDER [--tokens 36e6]

Muon on the matrices, AdamW on the embedding and the norms; warm-up, a constant rate, then a straight line to zero over
the last 40 % of the tokens. bfloat16 arithmetic on fp32 weights. The same command continues from the last checkpoint;
until the decay begins, a run with other ``--tokens`` passes through the same states.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from mix import BOUNDARY, FINISHING_SHARES, SHARES
from safetensors.torch import load_file, save_file
from tasks import report
from tokenizers import Tokenizer
from tokenizers.processors import TemplateProcessing
from torch import Tensor
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

CONTEXT = 256
ROWS = 32
WARMUP_STEPS = 100
DECAY_SHARE = 0.4
MATRIX_RATE, OTHER_RATE, WEIGHT_DECAY = 6e-3, 3e-3, 0.05


def rows(data: Path, split: str, seed: int, *, skip_steps: int = 0, finish_from: float = math.inf) -> Iterator[Tensor]:
    """Batches [ROWS, CONTEXT + 1] in which each source has its share; every row begins with the boundary token.

    Each source is read in windows in random order, over and over. Shares change at step ``finish_from``.
    """
    rng = np.random.default_rng(seed)
    names = list(SHARES)
    shares, finishing = (np.array([table[name] for name in names]) for table in (SHARES, FINISHING_SHARES))
    tokens = {name: np.load(data / f"{name}.{split}.npy", mmap_mode="r") for name in names}
    orders: dict[str, Iterator[int]] = {}

    def windows(name: str) -> Iterator[int]:
        own = np.random.default_rng([seed, names.index(name)])
        while True:
            shift = int(own.integers(CONTEXT))
            starts = np.arange(shift, len(tokens[name]) - CONTEXT, CONTEXT)
            yield from own.permutation(starts if len(starts) else np.array([0])).tolist()

    for name in names:
        orders[name] = windows(name)
    step = 0
    while True:
        now = finishing if step >= finish_from else shares
        chosen = rng.choice(len(names), size=ROWS, p=now / now.sum())
        picked = [(names[index], next(orders[names[index]])) for index in chosen]
        step += 1
        if step <= skip_steps:
            continue
        batch = np.zeros((ROWS, CONTEXT + 1), dtype=np.int64)
        for row, (name, start) in enumerate(picked):
            piece = tokens[name][start : start + CONTEXT]
            batch[row, 1 : 1 + len(piece)] = piece
        yield torch.from_numpy(batch)


def rate(step: int, steps: int) -> float:
    """Warm-up, constant, straight to zero: as a factor."""
    return min(1.0, (step + 1) / WARMUP_STEPS, (steps - step) / (DECAY_SHARE * steps))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--tokens", type=float, default=36e6)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    torch.manual_seed(arguments.seed)
    tokenizer = Tokenizer.from_file(str(arguments.data / "tokenizer.json"))
    boundary = tokenizer.token_to_id(BOUNDARY)
    model = LlamaForCausalLM(
        LlamaConfig(
            vocab_size=tokenizer.get_vocab_size(),
            hidden_size=256,
            intermediate_size=768,
            num_hidden_layers=4,
            num_attention_heads=8,
            num_key_value_heads=8,
            max_position_embeddings=CONTEXT,
            tie_word_embeddings=True,
            bos_token_id=boundary,
            eos_token_id=boundary,
            pad_token_id=boundary,
        )
    )
    matrices = [p for name, p in model.named_parameters() if p.ndim == 2 and "embed" not in name]
    others = [p for name, p in model.named_parameters() if p.ndim != 2 or "embed" in name]
    optimizers = [
        torch.optim.Muon(matrices, lr=MATRIX_RATE, weight_decay=WEIGHT_DECAY, adjust_lr_fn="match_rms_adamw"),
        torch.optim.AdamW(others, lr=OTHER_RATE, betas=(0.9, 0.95), weight_decay=0.0, fused=True),
    ]
    peaks = [group["lr"] for optimizer in optimizers for group in optimizer.param_groups]
    steps = int(arguments.tokens / (ROWS * CONTEXT))
    first = 0
    checkpoint = arguments.out / "checkpoint.pt"
    if checkpoint.exists():
        state = torch.load(checkpoint, weights_only=True)
        model.load_state_dict(state["model"])
        for optimizer, saved in zip(optimizers, state["optimizers"], strict=True):
            optimizer.load_state_dict(saved)
        first = state["step"]

    def loss_of(batch: Tensor) -> Tensor:
        with torch.autocast("cpu", torch.bfloat16):
            logits = model(batch[:, :-1], use_cache=False).logits
        return torch.nn.functional.cross_entropy(logits.flatten(0, 1).float(), batch[:, 1:].flatten())

    @torch.no_grad()
    def logits_of(tokens: Tensor) -> Tensor:
        return model(tokens, use_cache=False).logits

    step_loss = torch.compile(loss_of)
    heldout = [batch for batch, _ in zip(rows(arguments.data, "heldout", seed=1), range(6), strict=False)]
    log = (arguments.out / "log.jsonl").open("a")
    began, mean = time.time(), 0.0
    batches = rows(arguments.data, "train", arguments.seed, skip_steps=first, finish_from=(1 - DECAY_SHARE) * steps)
    for step, batch in enumerate(batches, start=first):
        if step == steps:
            break
        loss = step_loss(batch)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        factor = rate(step, steps)
        for group, peak in zip((g for o in optimizers for g in o.param_groups), peaks, strict=True):
            group["lr"] = peak * factor
        for optimizer in optimizers:
            optimizer.step()
            optimizer.zero_grad()
        mean = 0.98 * mean + 0.02 * loss.item() if mean else loss.item()
        if (step + 1) % 250 == 0 or step + 1 == steps:
            with torch.no_grad():
                held = sum(step_loss(batch).item() for batch in heldout) / len(heldout)
            entry = {"step": step + 1, "tokens": (step + 1) * ROWS * CONTEXT, "train": mean, "heldout": held}
            entry |= report(logits_of, tokenizer, boundary, 200)
            entry["tokens_per_second"] = (step + 1 - first) * ROWS * CONTEXT / (time.time() - began)
            log.write(json.dumps(entry) + "\n")
            log.flush()
            print({key: round(value, 4) for key, value in entry.items()}, flush=True)
            saved = {"step": step + 1, "model": model.state_dict(), "optimizers": [o.state_dict() for o in optimizers]}
            torch.save(saved, checkpoint.with_suffix(".new"))
            checkpoint.with_suffix(".new").replace(checkpoint)
    save(model, tokenizer, arguments.out / "model")


def save(model: LlamaForCausalLM, tokenizer: Tokenizer, folder: Path) -> None:
    """An ordinary Hugging Face folder, weights in float16."""
    tokenizer.post_processor = TemplateProcessing(
        single=f"{BOUNDARY} $A", special_tokens=[(BOUNDARY, tokenizer.token_to_id(BOUNDARY))]
    )
    wrapped = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, bos_token=BOUNDARY, eos_token=BOUNDARY, pad_token=BOUNDARY, model_max_length=CONTEXT
    )
    wrapped.save_pretrained(folder)
    model.half().save_pretrained(folder)
    weights = folder / "model.safetensors"
    save_file(load_file(weights), weights, metadata={"format": "pt"})


if __name__ == "__main__":
    main()
