"""From a name or a folder to a model in memory: every way in which that can fail, said in one sentence.

Only safetensors are read and no code from outside this environment runs: ``trust_remote_code`` is False throughout,
whatever a ``config.json`` asks for.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from importlib.metadata import version
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from lexiscope.core.disk import FileEntry
from lexiscope.core.errors import InputError
from lexiscope.lm.quiet import quiet
from lexiscope.lm.weights import check_sizes, find_weights, first_line, read_json

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Dtype = Literal["float32", "bfloat16", "float16"]

MINIMUM_TRANSFORMERS = (5, 9)
"""Releases before 5.3 execute code that a ``config.json`` names."""

_HUB_NAME = re.compile(r"[A-Za-z0-9][\w.-]*(/[A-Za-z0-9][\w.-]*)?")
_HUB_FILES = ["*.json", "*.safetensors", "*.model", "*.txt"]
_NOT_NEEDED = ["*/*", "consolidated*"]
"""Subfolders, and second copies of the weights in their makers' own layout."""
_ASKS_FOR_CODE = ("attn_implementation", "experts_implementation", "auto_map", "trust_remote_code", "custom_pipelines")
"""Settings with which a ``config.json`` could name code to fetch. They are not passed on."""
_NOT_OURS = ("num_labels", "id2label", "label2id", "transformers_weights")
"""Settings of classifiers, which make a table of any size, and one that names other weights. Nor are they."""


@dataclass(frozen=True)
class ModelFolder:
    """A folder with a configuration and the weights that belong to it, both checked.

    ``revision`` is the commit on the Hugging Face hub, None for a local folder. ``name`` finds it again from anywhere:
    a local folder goes by its absolute path.
    """

    name: str
    path: Path
    revision: str | None
    config: dict[str, Any]
    weights: list[Path]

    def fingerprint(self) -> str:
        """SHA-256 over the names and contents of the configuration and the files of weights."""
        parts = [f"{file.name} {FileEntry.of(file).sha256}\n" for file in (self.path / "config.json", *self.weights)]
        return hashlib.sha256("".join(parts).encode()).hexdigest()


def find_folder(source: str | Path, revision: str | None, *, fetch: bool = True) -> ModelFolder:
    """Find a model by name ("demo", or one on the Hugging Face hub) or by path, and look it over.

    Args:
        fetch: whether one from the hub that is not on this machine is fetched.

    Raises:
        InputError: nothing there, or not a whole model in safetensors.
    """
    path, commit = _locate(source, revision, fetch=fetch)
    config = read_json(path / "config.json")
    name = str(source) if source == "demo" or commit else str(path.absolute())
    return ModelFolder(name, path, commit, config, find_weights(path))


def load_module(folder: ModelFolder, *, dtype: Dtype, device: str) -> PreTrainedModel:
    """The causal LM, in eval mode and with frozen weights.

    Raises:
        InputError: not a causal LM, one that needs code of its own, or weights that don't fit its configuration.
    """
    import torch
    from transformers import AutoModelForCausalLM

    if dtype not in get_args(Dtype):
        raise InputError(f"no dtype is called {dtype!r}; choose one of {', '.join(get_args(Dtype))}")
    config = _read_config(folder)
    check_sizes(folder.path, config, folder.weights, AutoModelForCausalLM.from_config)
    with quiet():
        try:
            module, report = AutoModelForCausalLM.from_pretrained(
                folder.path,
                config=config,
                dtype=getattr(torch, dtype),
                use_safetensors=True,
                local_files_only=True,
                trust_remote_code=False,
                output_loading_info=True,
            )
        except Exception as error:
            raise InputError(f"{folder.path}: transformers can't load this model: {first_line(error)}") from error
    absent = sorted(report["missing_keys"]) + sorted(str(item[0]) for item in report["mismatched_keys"])
    if absent:
        raise InputError(
            f"{folder.path}: the weights don't fit config.json ({len(absent)} tensors are missing or of another shape, "
            f"such as {absent[0]}); get the two from the same place"
        )
    try:
        module = module.to(device).eval().requires_grad_(False)
    except (RuntimeError, AssertionError) as error:
        raise InputError(f"can't put the model on device {device!r}: {first_line(error)}") from None
    try:  # what is wrong with a setting may show only when the model runs
        with torch.no_grad(), quiet():
            module(torch.zeros(1, 2, dtype=torch.int64, device=module.device), use_cache=True)
    except Exception as error:
        raise InputError(f"{folder.path}: the model does not run: {first_line(error)}; check config.json") from error
    return module


def require_transformers() -> None:
    """Refuse a release that is too old to be safe.

    Raises:
        InputError: it is; the message says what to install.
    """
    installed = version("transformers")
    if tuple(int(part) for part in re.findall(r"\d+", installed)[:2]) < MINIMUM_TRANSFORMERS:
        wanted = ".".join(map(str, MINIMUM_TRANSFORMERS))
        raise InputError(
            f"transformers {installed} is installed, but {wanted} or newer is needed (releases before 5.3 execute code "
            f"from a model's config); run: pip install 'transformers>={wanted}'"
        )


def _locate(source: str | Path, revision: str | None, *, fetch: bool) -> tuple[Path, str | None]:
    if source == "demo":
        path = Path(str(files("lexiscope.lm"))) / "demo"
        if not (path / "config.json").is_file():
            raise InputError("this installation has no demo model; install Lexiscope again, or give another model")
        return path, None
    path = Path(source)
    try:
        is_folder, is_there = path.is_dir(), path.exists()
    except OSError as error:
        raise InputError(f"no model folder at {source} ({error.strerror})") from None
    if is_folder:
        if not (path / "config.json").is_file():
            raise InputError(f"{path} holds no config.json; give the folder of a Hugging Face model")
        return path, None
    if is_there:
        raise InputError(f"{path} is a file; give the folder of the model")
    if not isinstance(source, str) or not _HUB_NAME.fullmatch(source):
        raise InputError(f"no model folder at {source}")
    return _from_hub(source, revision, fetch=fetch)


def _from_hub(name: str, revision: str | None, *, fetch: bool) -> tuple[Path, str]:
    from huggingface_hub import snapshot_download

    at = f" at revision {revision}" if revision else ""
    with quiet():
        try:
            found = snapshot_download(
                name,
                revision=revision,
                allow_patterns=_HUB_FILES,
                ignore_patterns=_NOT_NEEDED,
                local_files_only=not fetch,
            )
        except Exception as error:  # noqa: BLE001 (offline shows as any of a dozen errors)
            if not fetch:
                raise InputError(
                    f"{name}{at} is not on this machine, and nothing is fetched because a manifest names it; name the "
                    "model yourself to fetch it"
                ) from None
            raise InputError(
                f"no folder {name!r} here, and no model of that name{at} can be had from the Hugging Face hub "
                f"({first_line(error)}); give a local folder, or go online and check the name"
            ) from None
    path = Path(found)
    if not (path / "config.json").is_file():
        raise InputError(f"{name} on the Hugging Face hub holds no config.json; give a model in Hugging Face format")
    return path, path.name


def read_config(folder: ModelFolder) -> Any:
    """The configuration as transformers reads it, without what would ask for code.

    Raises:
        InputError: transformers does not know the model, or a setting is wrong.
    """
    from transformers import CONFIG_MAPPING

    model_type = str(folder.config.get("model_type"))
    if model_type not in CONFIG_MAPPING:
        if "auto_map" in folder.config:
            raise InputError(
                f"{folder.path}: its config.json wants to run Python code of its own (auto_map), which Lexiscope never "
                "does; choose a model that transformers knows"
            )
        raise InputError(
            f"{folder.path}: transformers {version('transformers')} knows no model_type {model_type!r}; check "
            "config.json or install a newer transformers"
        )
    try:
        return CONFIG_MAPPING[model_type].from_dict(_without_code(folder.config))
    except Exception as error:
        raise InputError(f"{folder.path / 'config.json'} has a wrong setting: {first_line(error)}") from error


def _read_config(folder: ModelFolder) -> Any:
    """Of a causal LM."""
    from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

    config = read_config(folder)
    model_type = str(folder.config.get("model_type"))
    wanted = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(model_type)
    wanted = wanted if isinstance(wanted, tuple) else (wanted,)
    stated = folder.config.get("architectures") or ()
    architectures = [str(name) for name in (stated if isinstance(stated, list | tuple) else [stated])]
    if wanted == (None,) or (architectures and not set(wanted) & set(architectures)):
        what = ", ".join(architectures) or model_type
        raise InputError(f"{folder.path} holds {what}, which is not a causal language model; choose one that is")
    return config


def _without_code(settings: dict[str, Any]) -> dict[str, Any]:
    dropped = (*_ASKS_FOR_CODE, *_NOT_OURS)
    kept = {key: value for key, value in settings.items() if not key.lstrip("_").startswith(dropped)}
    return {key: _without_code(value) if isinstance(value, dict) else value for key, value in kept.items()}
