"""sparsify: its own ``Trainer``, over a language model that consists of one layer: the activations of a known world.

Recipe: its defaults (schedule-free signum at 5e-3 / sqrt(F / 2^14), no AuxK). With a learning rate of ours: Adam, with
our warm-up, AuxK at 1/32 and our dead window; its schedule falls linearly to 0 over the whole run.
"""

from __future__ import annotations

import os
import tempfile
from types import SimpleNamespace

import torch
from quality_job import Activations, Job, Judged, run
from sparsify import SaeConfig, SparseCoder, TrainConfig, Trainer
from torch import Tensor, nn


class World(nn.Module):
    """A model whose only layer gives the next batch of activations, whatever the tokens are."""

    def __init__(self, activations: Activations, width: int) -> None:
        super().__init__()
        self.layer = nn.Identity()
        self.config = SimpleNamespace(num_hidden_layers=1, hidden_size=width)
        self.device, self.dtype = torch.device("cpu"), torch.float32
        self.dummy_inputs = {"input_ids": torch.zeros(1, 2, dtype=torch.int64)}
        self._stream, self._width, self._primed = iter(activations), width, False

    @property
    def base_model(self) -> World:
        return self

    def forward(self, input_ids: Tensor) -> Tensor:
        if input_ids.shape[1] == 2:  # the trainer asks how wide the layer is
            return self.layer(torch.zeros(1, 2, self._width))
        return self.layer(next(self._stream)[None])


class Tokens(torch.utils.data.Dataset):
    def __init__(self, steps: int, batch_tokens: int) -> None:
        self._steps, self._tokens = steps, torch.zeros(batch_tokens, dtype=torch.int64)

    def __len__(self) -> int:
        return self._steps

    def __getitem__(self, step: int) -> dict[str, Tensor]:
        return {"input_ids": self._tokens}


def train(job: Job, activations: Activations) -> Judged:
    if job.architecture != "topk":
        raise SystemExit(f"sparsify has no {job.architecture}")
    sae = SaeConfig(num_latents=job.num_latents, k=round(job.l0))
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        common = {
            "batch_size": 1,
            "hookpoints": ["layer"],
            "log_to_wandb": False,
            "save_every": 10**9,
            "run_name": "run",
        }
        if job.lr is None:
            config = TrainConfig(sae, init_seeds=[job.seed], **common)
        else:
            config = TrainConfig(
                sae,
                init_seeds=[job.seed],
                optimizer="adam",
                lr=job.lr,
                lr_warmup_steps=job.warmup_steps,
                auxk_alpha=1 / 32,
                dead_feature_threshold=job.dead_after_tokens,
                **common,
            )
        model = World(activations, job.world["width"])
        Trainer(config, Tokens(job.steps, job.batch_tokens), model).fit()
        saved = SparseCoder.load_from_disk(f"{folder}/checkpoints/run/layer")
        os.chdir("/")

    def encode(x_TD: Tensor) -> Tensor:
        found = saved.encode(x_TD)
        return torch.zeros(len(x_TD), job.num_latents).scatter(1, found.top_indices, found.top_acts)

    return Judged(encode, lambda codes_TF: codes_TF @ saved.W_dec + saved.b_dec, saved.W_dec)


if __name__ == "__main__":
    run(train)
