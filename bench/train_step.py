"""Milliseconds of one TopK training step, sparse against dense PyTorch, interleaved in one run.

    python bench/train_step.py [--config A|demo] [--rounds 7] [--threads N] [--dead 0.1]

A step is forward, loss, backward, clipping, Adam and unit rows, on the same random activations and from the same start.
The dense step is what a reader would write in plain PyTorch: scores of the whole batch, topk, scatter, a matrix
product, and Adam(fused=True). Trust the ratio, not the milliseconds: the machine may be shared.
"""

from __future__ import annotations

import argparse
import statistics
import time
from collections.abc import Callable

import torch
from torch import Tensor

from lexiscope.saes import Batch, TrainingState, topk

CONFIGS = {"A": (512, 8192, 32, 4096), "demo": (256, 4096, 32, 4096)}
"""D model width, F latents, K active, T tokens per step."""


def sparse_step(sae: topk.TopK, x_TD: Tensor, dead_F: Tensor) -> Callable[[], float]:
    optimizer = torch.optim.Adam(sae.parameters(), lr=1e-4, fused=True)
    batch, state = Batch(x_TD, x_TD), TrainingState(dead_F)

    def step() -> float:
        codes = sae.encode(x_TD)
        loss = torch.stack(list(sae.losses(batch, codes, sae.decode(codes), state).values())).sum()
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(sae.parameters(), 1.0)
        optimizer.step()
        sae.after_step()
        return loss.item()

    return step


def dense_step(sae: topk.TopK, x_TD: Tensor, dead_F: Tensor) -> Callable[[], float]:
    W_enc, b_enc, W_dec, b_dec = (
        tensor.detach().clone().requires_grad_() for tensor in (sae.W_enc_FD, sae.b_enc_F, sae.W_dec_FD, sae.b_dec_D)
    )
    weights = [W_enc, b_enc, W_dec, b_dec]
    optimizer = torch.optim.Adam(weights, lr=1e-4, fused=True)

    def codes(scores_TF: Tensor, k: int) -> Tensor:
        values_TK, latents_TK = scores_TF.topk(k, dim=1)
        return torch.zeros_like(scores_TF).scatter(1, latents_TK, values_TK.relu())

    def step() -> float:
        scores_TF = (x_TD - b_dec) @ W_enc.T + b_enc
        output_TD = codes(scores_TF, sae.config.k) @ W_dec + b_dec
        loss = (output_TD - x_TD).square().mean()
        if dead_F.any():
            error_TD = (x_TD - output_TD).detach()
            k_aux = min(x_TD.shape[1] // 2, int(dead_F.sum()))
            guess_TD = codes(scores_TF.masked_fill(~dead_F, -torch.inf), k_aux) @ W_dec
            loss = loss + (guess_TD - error_TD).square().sum() / (error_TD - error_TD.mean(0)).square().sum() / 32
        optimizer.zero_grad()
        loss.backward()
        with torch.no_grad():
            W_dec.grad.sub_((W_dec.grad * W_dec).sum(1, keepdim=True) * W_dec)
            torch.nn.utils.clip_grad_norm_(weights, 1.0)
            optimizer.step()
            W_dec.div_(W_dec.norm(dim=1, keepdim=True))
        return loss.item()

    return step


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--config", choices=CONFIGS, default="A")
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--dead", type=float, default=0.0, help="share of latents that AuxK works on")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    width, num_latents, k, tokens = CONFIGS[arguments.config]
    rng = torch.Generator().manual_seed(0)
    x_TD = torch.randn(tokens, width, generator=rng)
    dead_F = torch.rand(num_latents, generator=rng) < arguments.dead
    sae = topk.TopK.from_sample(topk.Config(num_latents=num_latents, k=k), x_TD)
    steps = {"dense": dense_step(sae, x_TD, dead_F), "sparse": sparse_step(sae, x_TD, dead_F)}

    seconds: dict[str, list[float]] = {name: [] for name in steps}
    losses: dict[str, float] = {}
    for round_ in range(arguments.rounds + 1):
        for name, step in steps.items():
            began = time.perf_counter()
            losses[name] = step()
            if round_:
                seconds[name].append(time.perf_counter() - began)
    median = {name: 1000 * statistics.median(values) for name, values in seconds.items()}
    print(f"D {width}, F {num_latents}, K {k}, {tokens} tokens, {arguments.dead:.0%} dead, {arguments.threads} threads")
    for name, value in median.items():
        print(f"{name:>7} {value:8.0f} ms per step   loss after {arguments.rounds + 1} steps {losses[name]:.6f}")
    print(f"  ratio {median['dense'] / median['sparse']:8.1f}")


if __name__ == "__main__":
    main()
