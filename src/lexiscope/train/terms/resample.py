"""Resampling: a dead latent starts again, pointed at an input that is badly reconstructed.

    W_dec ← l · (y - b_dec) / ‖y - b_dec‖,   W_enc ← s · n · (x - centre) / ‖x - centre‖,   b_enc ← 0

x is an input that the autoencoder reconstructs badly and y what it should give for it (x again for an autoencoder), n
the mean length of live encoder rows, l that of live decoder rows (1 where they are held there), s = 0.2. Inputs are
ranked by squared error and every dead latent takes one, the worst first, or they are drawn with probability ∝ squared
error². Optimizer moments of those rows are forgotten and the latents count as live until they have been silent for
``dead_after_tokens`` again. An activation function's own weights, such as a threshold, take the median of live latents.
Where the encoder does not subtract a centre, as in a transcoder, the mean input stands for it, and b_enc subtracts it.

Source: Bricken et al. 2023, "Towards Monosemanticity", appendix "Neuron resampling": four times in the first half of
the run, drawn ∝ loss². T tokens, D model width, F latents, G of them dead.
"""

from __future__ import annotations

from typing import ClassVar, Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from lexiscope.core.seeds import generator
from lexiscope.saes import Batch, SparseAutoencoder
from lexiscope.train.terms.term import AfterStep, Term, TermConfig, linear


class Config(TermConfig):
    every_tokens: int | None = Field(None, ge=1)
    """Training tokens between two rounds. None: an eighth of the run."""
    last_fraction: float = Field(0.5, gt=0, le=1)
    """No round after this share of the run: what starts late has no time to learn."""
    candidate_tokens: int = Field(65_536, ge=1)
    """The last inputs before a round, from which it chooses. They are kept in memory until then."""
    choose: Literal["worst", "loss_squared"] = "worst"
    """Inputs by rank of their error, or drawn with probability ∝ squared error²."""
    encoder_norm: float = Field(0.2, gt=0)
    """s: length of a new encoder row, as a share of the mean length of live ones."""
    seed: int = 0
    """Of the draws."""


class Resample(Term):
    config: Config
    config_type: ClassVar[type[Config]] = Config

    def __init__(self, config: Config, sae: SparseAutoencoder) -> None:
        super().__init__(config, sae)
        self.dictionary = linear(sae, "resample")
        self._candidates: list[Batch] = []

    @torch.no_grad()
    def after_step(self, done: AfterStep) -> None:
        tokens = done.codes.num_tokens
        before = done.step * tokens
        round_at = self._round_at(before, done.steps * tokens)
        if self._collects(before, round_at, tokens):
            self._candidates.append(done.batch)
        if round_at is not None and before + tokens >= round_at:
            self._restart(done)
            self._candidates.clear()

    def remembers(self, step: int, steps: int, batch_tokens: int) -> int:
        if (round_at := self._round_at(step * batch_tokens, steps * batch_tokens)) is None:
            return 0
        first = next(n for n in range(step + 1) if self._round_at(n * batch_tokens, steps * batch_tokens) == round_at)
        return sum(self._collects(number * batch_tokens, round_at, batch_tokens) for number in range(first, step))

    def see_again(self, batch: Batch) -> None:
        self._candidates.append(batch)

    def _round_at(self, tokens: int, run_tokens: int) -> int | None:
        """Tokens at which the next round is due; None if there will be none."""
        every = self.config.every_tokens or max(1, run_tokens // 8)
        round_at = (tokens // every + 1) * every
        return round_at if round_at <= self.config.last_fraction * run_tokens else None

    def _collects(self, before: int, round_at: int | None, tokens: int) -> bool:
        """Whether the batch that begins after so many tokens is among those that a round chooses from."""
        return round_at is not None and round_at - before <= max(tokens, self.config.candidate_tokens)

    def _restart(self, done: AfterStep) -> None:
        sae, dead_F = self.dictionary, done.dead.mask_F
        dead = dead_F.nonzero().flatten()
        if not len(dead):
            return
        error_T = torch.cat([_squared_error(sae, batch) for batch in self._candidates])
        chosen = self._choose(error_T, len(dead), done.step)
        dead = dead[: len(chosen)]
        live = torch.ones_like(dead_F) if bool(dead_F.all()) else ~dead_F
        input_TD = torch.cat([batch.input_TD for batch in self._candidates])
        target_TD = torch.cat([batch.target_TD for batch in self._candidates])
        middle_D = sae.centre_D if sae.ties_centre else input_TD.mean(0)
        writes_GD = _unit(target_TD[chosen] - sae.b_dec_D) * _lengths(sae.W_dec_FD)[live].mean()
        reads_GD = _unit(input_TD[chosen] - middle_D) * _lengths(sae.W_enc_FD)[live].mean() * self.config.encoder_norm
        sae.W_dec_FD[dead], sae.W_enc_FD[dead] = writes_GD, reads_GD
        sae.b_enc_F[dead] = reads_GD @ (sae.centre_D - middle_D)
        own = [weights for weights in sae.activation.parameters() if _one_per_latent(weights, sae.num_latents)]
        for weights in own:
            weights[dead] = weights[live].median(0).values
        for weights in (sae.W_dec_FD, sae.W_enc_FD, sae.b_enc_F, *own):
            done.optimizer.reset_rows(weights, dead)
        done.dead.revive(dead)

    def _choose(self, error_T: Tensor, wanted: int, step: int) -> Tensor:
        wanted = min(wanted, len(error_T))
        if self.config.choose == "worst":
            return error_T.topk(wanted).indices
        weights_T = error_T.double().square().cpu()
        wanted = min(wanted, int(weights_T.count_nonzero()))
        if not wanted:
            return error_T.new_zeros(0, dtype=torch.int64)
        chosen = torch.multinomial(weights_T, wanted, generator=generator(self.config.seed, "resample", step))
        return chosen.to(error_T.device)


def _squared_error(sae: SparseAutoencoder, batch: Batch) -> Tensor:
    """With the weights as they are now, [T]."""
    output_TD = sae.reconstruct(batch.input_TD, sae.encode(batch.input_TD))
    return (batch.target_TD - output_TD).square().sum(1)


def _lengths(rows_FD: Tensor) -> Tensor:
    lengths_F: Tensor = torch.linalg.vector_norm(rows_FD, dim=1)
    return lengths_F


def _unit(rows_GD: Tensor) -> Tensor:
    return rows_GD / _lengths(rows_GD)[:, None].clamp_min(torch.finfo(rows_GD.dtype).tiny)


def _one_per_latent(weights: nn.Parameter, num_latents: int) -> bool:
    return weights.ndim > 0 and len(weights) == num_latents
