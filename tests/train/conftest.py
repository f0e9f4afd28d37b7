"""A store of activations in memory, from a linear world whose features are known."""

import itertools

import pytest
import torch

from lexiscope.core.hookpoint import HookPoint

HOOK = HookPoint.parse("resid_post.0")


class MemoryStore:
    """The interface of a store over one tensor. The last tenth of the rows is held out."""

    def __init__(self, x_TD, hooks=(HOOK,)):
        self.x_TD, self.hooks = x_TD, list(hooks)

    def width(self, hook):
        return self.x_TD.shape[1]

    def batches(self, hook, *, batch_tokens, seed, split="train", epochs=None, skip_tokens=0):
        whole = self._batches(batch_tokens, seed, split, epochs)
        return itertools.islice(whole, skip_tokens // batch_tokens, None)

    def _batches(self, batch_tokens, seed, split, epochs):
        cut = len(self.x_TD) * 9 // 10
        rows = {"train": self.x_TD[:cut], "heldout": self.x_TD[cut:], "all": self.x_TD}[split]
        rng = torch.Generator().manual_seed(seed)
        done = 0
        while epochs is None or done < epochs:
            order = torch.randperm(len(rows), generator=rng)
            yield from (rows[part] for part in order.split(batch_tokens) if len(part) == batch_tokens or epochs)
            done += 1


class World:
    """Activations x = offset + Σ feature · strength, about ``active`` of ``num_features`` per token."""

    def __init__(self, *, tokens=20_000, width=24, num_features=48, active=3, seed=0):
        rng = torch.Generator().manual_seed(seed)
        self.features_GD = torch.nn.functional.normalize(torch.randn(num_features, width, generator=rng), dim=1)
        fires = torch.rand(tokens, num_features, generator=rng) < active / num_features
        strength = 1 + torch.rand(tokens, num_features, generator=rng)
        self.offset_D = 2 * torch.randn(width, generator=rng)
        self.x_TD = 5 * (fires * strength @ self.features_GD + self.offset_D)

    def recovery(self, directions_FD):
        """Mean over true features of the largest cosine to a learned direction."""
        learned = torch.nn.functional.normalize(directions_FD.detach(), dim=1)
        return (self.features_GD @ learned.T).amax(1).mean().item()


@pytest.fixture(scope="session")
def world():
    return World()


@pytest.fixture(scope="session")
def store(world):
    return MemoryStore(world.x_TD)
