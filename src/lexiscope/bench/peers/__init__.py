"""Other libraries, each driven through its own public training loop. Nothing here imports lexiscope beyond `bench`.

A driver is a function ``run(architecture, workload, batches)`` that starts the library's loop and lets it take batches
until there are none. The time from handing out a batch until the loop asks for the next is the time of a step: whatever
the library does in between is counted, and loading data is not. Every option is at the library's default except
sizes, logging and, where it is not Adam, the optimizer.
"""

from __future__ import annotations

import json
import subprocess
from typing import NamedTuple

from lexiscope.core.errors import InputError


class Peer(NamedTuple):
    """A library that can be measured."""

    title: str
    package: str
    """The name it is imported by."""
    distribution: str
    """The name it is installed by."""
    architectures: list[str]
    loop: str
    """What of it is called."""


PEERS = {
    "saelens": Peer(
        "SAELens",
        "sae_lens",
        "sae-lens",
        ["topk", "batch_topk", "jumprelu", "relu_l1", "gated", "matryoshka"],
        "SAETrainer.fit",
    ),
    "saelens_sparse": Peer(
        "SAELens, torch.sparse",
        "sae_lens",
        "sae-lens",
        ["topk"],
        "SAETrainer.fit with use_sparse_activations=True",
    ),
    "dictionary_learning": Peer(
        "dictionary-learning",
        "dictionary_learning",
        "dictionary-learning",
        ["topk", "batch_topk", "jumprelu", "relu_l1", "gated", "matryoshka"],
        "training.trainSAE",
    ),
    "sparsify": Peer(
        "sparsify",
        "sparsify",
        "eai-sparsify",
        ["topk"],
        "Trainer.fit with optimizer='adam', on a model that returns the batch at its only hook point",
    ),
}

_ASK = """
import importlib.metadata, json, sys
found = {}
for name in sys.argv[1:]:
    try:
        found[name] = importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        pass
print(json.dumps(found))
"""


class Installed(NamedTuple):
    """What an interpreter has."""

    names: list[str]
    """Of the peers, as in `PEERS`."""
    versions: dict[str, str]
    """By the name of the distribution, torch among them."""

    @property
    def missing(self) -> list[str]:
        """Distributions that are not there."""
        return [name for name in _distributions() if name not in self.versions]


def installed(python: str) -> Installed:
    """Ask an interpreter.

    Raises:
        InputError: that is no Python interpreter, or it has no torch.
    """
    try:
        done = subprocess.run(  # noqa: S603  an interpreter that the user named
            [python, "-c", _ASK, "torch", *_distributions()], capture_output=True, text=True, check=True, timeout=60
        )
        versions = dict(json.loads(done.stdout))
    except (OSError, subprocess.SubprocessError, ValueError) as error:
        raise InputError(f"--peers {python} is no Python interpreter that answers ({error}); give its path") from None
    if "torch" not in versions:
        raise InputError(f"--peers {python} has no torch; give an interpreter that has the libraries to compare with")
    return Installed([name for name, peer in PEERS.items() if peer.distribution in versions], versions)


def _distributions() -> list[str]:
    return sorted({peer.distribution for peer in PEERS.values()})
