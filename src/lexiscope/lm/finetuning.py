"""Fine-tuning: a language model trained on, all of its weights, on batches of text.

AdamW (Loshchilov & Hutter 2019) without weight decay; the rate climbs in a straight line over the first steps and falls
in one to zero. The loss of a step is the weighted mean of the cross-entropy over the text tokens of all its lessons,
so that text of several kinds and lengths makes one step without padding one to the length of the other.

B contexts, C tokens per context, N tokens that count.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from pathlib import Path
from typing import Literal, NamedTuple

import torch
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from lexiscope.core.errors import TrainingError
from lexiscope.core.progress import SILENT, Progress
from lexiscope.lm.loading import find_folder
from lexiscope.lm.model import LanguageModel
from lexiscope.lm.quiet import quiet
from lexiscope.lm.tokenizing import FILES, TABLES
from lexiscope.text.pack import TokenBatch

WARMUP_SHARE = 0.1
CLIP_NORM = 1.0
BETAS = (0.9, 0.95)


Precision = Literal["float32", "bfloat16"]


class Lesson(NamedTuple):
    """Text to learn from."""

    batch: TokenBatch
    weights_BC: Tensor | None = None
    """How much it counts that each token is told; None: all text the same."""


def finetune(
    model: LanguageModel,
    steps: Iterable[Sequence[Lesson]],
    *,
    num_steps: int,
    lr: float,
    decay_share: float = 1.0,
    precision: Precision = "float32",
    title: str = "fine-tuning",
    progress: Progress = SILENT,
) -> None:
    """Train a model in place. Its ``fingerprint`` stays that of the weights it was loaded with.

    Args:
        steps: the lessons of each step; the first ``num_steps`` are taken.
        lr: the highest rate.
        decay_share: of the steps, the last, in which it falls to zero; before them it stays.
        precision: of the arithmetic; the weights stay as they are. bfloat16 is faster where the machine has it.

    Raises:
        TrainingError: the loss is no number any more.
    """
    module = model.module
    module.requires_grad_(True)
    optimizer = torch.optim.AdamW(module.parameters(), lr=lr, betas=BETAS, weight_decay=0.0)
    try:
        with progress.task(title, num_steps, "steps") as bar:
            for step, lessons in zip(range(num_steps), steps, strict=False):
                for group in optimizer.param_groups:
                    group["lr"] = lr * rate(step, num_steps, decay_share)
                loss = _descend(model, lessons, precision)
                if not math.isfinite(loss):
                    raise TrainingError(f"the loss is {loss} at step {step + 1}; a smaller lr than {lr:g} may help")
                torch.nn.utils.clip_grad_norm_(module.parameters(), CLIP_NORM)
                optimizer.step()
                optimizer.zero_grad()
                bar.advance(1, f"loss {loss:.3f}")
    finally:
        optimizer.zero_grad()
        module.requires_grad_(False)


def rate(step: int, num_steps: int, decay_share: float = 1.0) -> float:
    """As a factor of the highest rate."""
    return min(1.0, (step + 1) / max(WARMUP_SHARE * num_steps, 1), (num_steps - step) / (decay_share * num_steps))


def save_folder(model: LanguageModel, out: Path) -> None:
    """The model as an ordinary Hugging Face folder with the tokenizer that it came with; `LanguageModel` opens it."""
    origin = find_folder(model.name, model.revision, fetch=False).path
    with quiet():
        model.module.save_pretrained(out)
    for file in (file for pattern in (*FILES, *TABLES) for file in origin.glob(pattern) if file.is_file()):
        shutil.copyfile(file, out / file.name)


def cross_entropy(model: LanguageModel, batch: TokenBatch) -> Tensor:
    """Of every token of text that follows another token of its context, in nats, [N]."""
    return _losses(model, batch, batch.mask_BC[:, 1:], grad=False)


def _losses(model: LanguageModel, batch: TokenBatch, counted_BC: Tensor, *, grad: bool) -> Tensor:
    """Of the tokens that count, but for the first of each context, [N]."""
    tokens_BC, attention_BC = batch.tokens_BC.to(model.device), batch.attention_BC.to(model.device)
    logits_BCV = model.logits(tokens_BC, attention_BC, grad=grad)
    counted_BC = counted_BC.to(model.device)
    return torch.nn.functional.cross_entropy(
        logits_BCV[:, :-1][counted_BC].float(), tokens_BC[:, 1:][counted_BC], reduction="none"
    )


def _descend(model: LanguageModel, lessons: Sequence[Lesson], precision: Precision) -> float:
    """The loss; gradients are left at the weights."""
    weights = [_weights(lesson) for lesson in lessons]
    whole = sum(float(weights_BC.sum()) for weights_BC in weights)
    total = 0.0
    for lesson, weights_BC in zip(lessons, weights, strict=True):
        counted_BC = weights_BC > 0
        with _arithmetic(model.device.type, precision):
            losses_N = _losses(model, lesson.batch, counted_BC, grad=True)
        loss = (losses_N * weights_BC[counted_BC].to(model.device)).sum() / whole
        loss.backward()  # type: ignore[no-untyped-call]
        total += loss.item()
    return total


def _weights(lesson: Lesson) -> Tensor:
    """Of all tokens but the first of each context, [B, C - 1]; nothing where there is no text."""
    mask_BC = lesson.batch.mask_BC[:, 1:].float()
    return mask_BC if lesson.weights_BC is None else mask_BC * lesson.weights_BC[:, 1:]


@contextmanager
def _arithmetic(device: str, precision: Precision) -> Iterator[None]:
    """Entered anew for every pass: autocast remembers the weights that it has rounded until it is left."""
    if precision == "float32":
        yield
        return
    # On a CPU the fused attention's backward pass takes a third of a step in bfloat16, the plain one's a tenth.
    plain = sdpa_kernel(SDPBackend.MATH) if device == "cpu" else nullcontext()
    with torch.autocast(device, torch.bfloat16), plain:
        yield
