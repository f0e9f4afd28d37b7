"""Where things lie in a store's folder, and the settings in its manifest. ``docs/formats.md`` is the specification.

    manifest.json
    activations/<hook point>/00000.safetensors ...   one tensor "activations" [rows, D] per file
    rows/<column>.safetensors                        one tensor int32 [T] per file, named as the column
    documents.parquet
    statistics.safetensors

One file per hook point and shard, not one shard with all hook points: a training run reads a single hook point, whose
shards can so be copied, hashed and mapped without the others. The columns are whole, not in shards: they are small
(24 bytes a token), and looking around a row or through a split goes across shards.
"""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

from pydantic import PositiveInt

from lexiscope.core.config import Config
from lexiscope.core.hookpoint import HookPoint
from lexiscope.harvest.dtypes import StoredDtype

DOCUMENTS = "documents.parquet"
STATISTICS = "statistics.safetensors"
TENSOR = "activations"


class StoreConfig(Config):
    """The settings of a harvest, as they stand in the manifest."""

    hooks: tuple[str, ...]
    """Hook points, all read in one pass."""
    dtype: StoredDtype
    """Number format of the stored activations."""
    context: PositiveInt
    """Tokens per context, at most."""
    batch: PositiveInt
    """Contexts per forward pass."""
    tokens: PositiveInt
    """Rows asked for; there are fewer if the corpus was shorter."""
    shard_tokens: PositiveInt
    """Rows per shard; only the last one may have fewer."""


def shard_name(hook: HookPoint, number: int) -> str:
    """Relative path of a shard. The hook point is percent-encoded, so that any module path is one folder name."""
    return f"activations/{quote(str(hook), safe='')}/{number:05d}.safetensors"


def column_name(name: str) -> str:
    return f"rows/{name}.safetensors"


def make_folders(path: Path, hooks: list[HookPoint]) -> None:
    """Unless they are there."""
    (path / "rows").mkdir(exist_ok=True)
    for hook in hooks:
        (path / shard_name(hook, 0)).parent.mkdir(parents=True, exist_ok=True)
