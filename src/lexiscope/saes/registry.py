"""The folder is the registry: a file of this folder or of ``baselines/`` that has a ``Config`` is an architecture."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import Annotated, Any

from pydantic import BeforeValidator, PlainSerializer
from torch import Tensor

from lexiscope.core.artifact import open_artifact
from lexiscope.core.config import quoted, read_named
from lexiscope.core.errors import InputError
from lexiscope.saes.activation import Activation, Options
from lexiscope.saes.base import Batch, SparseAutoencoder
from lexiscope.saes.settings import SaeConfig, SizedConfig
from lexiscope.saes.weights import WEIGHTS


@cache
def architectures() -> dict[str, ModuleType]:
    """Name → module, in order of name, baselines included."""
    home = Path(__file__).parent
    found = {}
    for package, folder in (("lexiscope.saes", home), ("lexiscope.saes.baselines", home / "baselines")):
        for file in folder.glob("[a-z]*.py"):
            module = importlib.import_module(f"{package}.{file.stem}")
            if hasattr(module, "Config") and issubclass(module.Config, SaeConfig):
                found[file.stem] = module
    return dict(sorted(found.items()))


@cache
def activations() -> dict[str, type[Activation]]:
    """Name → activation function, of the architectures whose file has one."""
    return {name: module.Activation for name, module in architectures().items() if hasattr(module, "Activation")}


def read_activation(values: Any) -> Options:
    """Settings of any activation function from its name, or from a table ``{ name = "topk", k = 32 }``.

    Raises:
        ValueError: no such activation function, an unknown key, or a value out of range.
    """
    if isinstance(values, Options):
        if not any(found.options_type is type(values) for found in activations().values()):
            raise ValueError(f"{type(values).__module__}.{type(values).__name__} is not the Options of an activation")
        return values
    return read_named(values, {name: found.options_type for name, found in activations().items()}, "activation")


def name_activation(options: Options) -> dict[str, Any]:
    """What `read_activation` reads."""
    name = next(name for name, found in activations().items() if found.options_type is type(options))
    return {"name": name, **options.model_dump(mode="json")}


AnyActivation = Annotated[Options, BeforeValidator(read_activation), PlainSerializer(name_activation)]
"""Settings of any activation function, as a field."""


class ActivatedConfig(SizedConfig):
    """Settings of an architecture that takes any activation function."""

    activation: AnyActivation
    """Which latents fire: ``{ name = "topk", k = 32 }``."""

    @property
    def remedies(self) -> tuple[str, ...]:
        return self.activation.remedies

    @property
    def fixed_l0(self) -> float | None:
        return self.activation.fixed_l0

    @property
    def bears_high_rates(self) -> bool:
        return self.activation.bears_high_rates

    @property
    def needs_target_l0(self) -> bool:
        return self.activation.needs_target_l0


def make_activation(options: Options, num_latents: int) -> Activation:
    """The activation function with these settings."""
    return next(found for found in activations().values() if found.options_type is type(options))(options, num_latents)


def class_of(architecture: str) -> type[SparseAutoencoder]:
    """The autoencoder class in the file of that name.

    Raises:
        InputError: no architecture has that name.
    """
    module = architectures().get(architecture)
    if module is None:
        raise InputError(f"no architecture is called {quoted(architecture)}; there are {', '.join(architectures())}")
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
    try:
        found = class_of(str(values.get("architecture", "topk")))
    except InputError as error:
        raise InputError(f"{where}: {error}") from None
    return found.config_type.read(values, where)


def create(config: SaeConfig, sample: Tensor | Batch, *, seed: int = 0) -> SparseAutoencoder:
    """A new autoencoder (or a finished baseline) with these settings, started from a sample of activations."""
    if not isinstance(sample, Batch):
        sample = Batch.same(sample)
    return class_of(config.architecture).from_sample(config, sample, seed=seed).eval()


def load(path: Path | str) -> SparseAutoencoder:
    """Open a saved autoencoder of any architecture.

    Raises:
        ArtifactError: it is not one, or it is damaged.
    """
    artifact = open_artifact(path, "sae")
    settings = artifact.config.get("sae")
    name = str(settings.get("architecture") if isinstance(settings, Mapping) else settings)
    sae = class_of(name).read_weights(artifact.config, artifact.checked_file(WEIGHTS).parent)
    sae.artifact = artifact
    return sae
