"""The files of a model's weights, and whether its configuration describes as much as they hold.

A configuration is a stranger's: a thousand million layers are one line in it. What it describes is built without
memory and counted before anything is made.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from lexiscope.core.config import MOST_QUOTED
from lexiscope.core.errors import InputError, one_line
from lexiscope.lm.quiet import quiet

_WEIGHTS = "model.safetensors"
_WEIGHTS_INDEX = "model.safetensors.index.json"
_PICKLED = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.msgpack", "*.h5")
_PARTS = re.compile(r"layers?|experts|blocks|codebooks")
"""In the name of a setting: so many modules will be made."""
_FEW_PARTS = 1024
"""So many are made in a moment, whatever the files hold."""
_BUFFERS = 2**28
"""Numbers that modules may hold besides weights, such as masks."""
_LITTLE = 2**24
"""What is missing of so little is named tensor by tensor when it is loaded."""
_PACKED = 16
"""Weights in one number of a quantised file, at most."""


def find_weights(path: Path) -> list[Path]:
    """The files of weights in a model's folder, each a whole safetensors file.

    Raises:
        InputError: there are none, or one is damaged.
    """
    from safetensors import SafetensorError, safe_open

    if (path / "adapter_config.json").exists():
        raise InputError(f"{path} holds an adapter for another model; merge the two and give the folder of the result")
    if (path / _WEIGHTS).is_file():
        weights = [path / _WEIGHTS]
    elif (path / _WEIGHTS_INDEX).is_file():
        index = read_json(path / _WEIGHTS_INDEX).get("weight_map")
        if not isinstance(index, dict) or not all(_plain_name(name) for name in index.values()):
            raise InputError(f"{path / _WEIGHTS_INDEX} lists no weights; get the model again")
        weights = [path / name for name in sorted(set(index.values()))]
    else:
        raise InputError(f"{path} holds no {_WEIGHTS}, and no other format of weights is read; {_how_to_convert(path)}")
    for file in weights:
        try:
            with safe_open(file, framework="pt"):
                pass
        except FileNotFoundError:
            raise InputError(f"{file} is missing; get the model again") from None
        except (SafetensorError, OSError) as error:
            raise InputError(f"{file} is truncated or damaged ({first_line(error)}); get the model again") from None
    return weights


def check_sizes(path: Path, config: Any, weights: Sequence[Path], make: Callable[[Any], Any]) -> None:
    """Whether a model of this configuration could be made of these files.

    Args:
        path: the model's folder, for messages.
        config: as transformers reads it.
        make: a model of a configuration.

    Raises:
        InputError: it is larger than they are, or can't be built.
    """
    import torch

    tensors, numbers = _contents(weights)
    settings = config.to_dict()
    for name, value in _whole_numbers(settings):
        if _PARTS.search(name) and not 0 <= value <= max(_FEW_PARTS, tensors):
            raise InputError(
                f"{path}: config.json has {name} = {value}, but the weights are {tensors} tensors; get the two from "
                "the same place"
            )
    try:
        with quiet(), torch.device("meta"):
            model = make(config)
    except Exception as error:
        raise InputError(f"{path / 'config.json'} has a wrong setting: {first_line(error)}") from error
    described = sum(weight.numel() for weight in model.parameters())
    buffers = sum(buffer.numel() for buffer in model.buffers())
    most = numbers * (_PACKED if settings.get("quantization_config") else 1)
    if described > 2 * most + _LITTLE or buffers > max(most, _BUFFERS):
        raise InputError(
            f"{path}: the weights don't fit config.json (it describes {max(described, buffers):,} numbers, they hold "
            f"{numbers:,}); get the two from the same place"
        )


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises:
        InputError: it is none.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path} can't be read: {error}; get the model again") from None
    if not isinstance(value, dict):
        raise InputError(f"{path} is not a JSON object; get the model again")
    return value


def first_line(error: BaseException) -> str:
    """What an error of another library says, in short."""
    return one_line(next(iter(str(error).strip().splitlines()), type(error).__name__), MOST_QUOTED)


def _contents(weights: Sequence[Path]) -> tuple[int, int]:
    """Tensors in the files, and numbers in these."""
    from safetensors import safe_open

    shapes = []
    for file in weights:
        with safe_open(file, framework="pt") as opened:
            shapes += [opened.get_slice(name).get_shape() for name in opened.keys()]  # noqa: SIM118  it is no mapping
    return len(shapes), sum(math.prod(shape) for shape in shapes)


def _whole_numbers(settings: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    for name, value in settings.items():
        if isinstance(value, dict):
            yield from _whole_numbers({str(key): inner for key, inner in value.items()})
        elif isinstance(value, int):
            yield name, value


def _how_to_convert(path: Path) -> str:
    pickled = next((file.name for pattern in _PICKLED for file in sorted(path.glob(pattern))), None)
    if pickled is None:
        return "save the model with save_pretrained"
    return (
        f"{pickled} may run code when it is opened, so have whom you trust load it and write it again with "
        "save_pretrained, which writes safetensors"
    )


def _plain_name(name: object) -> bool:
    return isinstance(name, str) and name == Path(name).name and name.endswith(".safetensors")
