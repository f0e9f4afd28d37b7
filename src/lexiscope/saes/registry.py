"""The folder is the registry: every file of this folder and of ``baselines/`` is an architecture of that name."""

from __future__ import annotations

import importlib
import inspect
from functools import cache
from pathlib import Path
from types import ModuleType

from torch import Tensor

from lexiscope.core.artifact import open_artifact
from lexiscope.core.errors import InputError
from lexiscope.saes.base import WEIGHTS, SaeConfig, SparseAutoencoder

NOT_ARCHITECTURES = {"__init__", "base", "parts", "registry"}
"""Files beside them that are none."""


@cache
def architectures() -> dict[str, ModuleType]:
    """Name → module, in order of name, baselines included."""
    home = Path(__file__).parent
    found = {}
    for package, folder in (("lexiscope.saes", home), ("lexiscope.saes.baselines", home / "baselines")):
        for file in folder.glob("*.py"):
            if file.stem not in NOT_ARCHITECTURES:
                found[file.stem] = importlib.import_module(f"{package}.{file.stem}")
    return dict(sorted(found.items()))


def class_of(architecture: str) -> type[SparseAutoencoder]:
    """The autoencoder class in the file of that name.

    Raises:
        InputError: no architecture has that name.
    """
    module = architectures().get(architecture)
    if module is None:
        raise InputError(f"no architecture is called {architecture!r}; there are {', '.join(architectures())}")
    return next(
        member
        for member in vars(module).values()
        if inspect.isclass(member) and issubclass(member, SparseAutoencoder) and member.__module__ == module.__name__
    )


def read_config(values: dict[str, object], where: str) -> SaeConfig:
    """Settings of any architecture from a recipe; ``architecture`` says whose they are.

    Raises:
        InputError: no such architecture, an unknown key, or a value out of range.
    """
    return class_of(str(values.get("architecture", "topk"))).config_type.read(values, where)


def create(config: SaeConfig, sample_TD: Tensor, *, seed: int = 0) -> SparseAutoencoder:
    """A new autoencoder (or a finished baseline) with these settings, started from a sample of activations."""
    return class_of(config.architecture).from_sample(config, sample_TD, seed=seed)


def load(path: Path | str) -> SparseAutoencoder:
    """Open a saved autoencoder of any architecture.

    Raises:
        ArtifactError: it is not one, or it is damaged.
    """
    artifact = open_artifact(path, "sae")
    name = str(artifact.config.get("sae", {}).get("architecture"))
    sae = class_of(name).read_weights(artifact.config, artifact.file(WEIGHTS).parent)
    sae.artifact = artifact
    return sae
