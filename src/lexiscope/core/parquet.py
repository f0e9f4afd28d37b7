"""Names of Parquet files, which DuckDB takes for patterns."""

from __future__ import annotations

import re
from pathlib import Path


def literal(path: Path) -> str:
    """The pattern that matches this one path, whatever characters it has."""
    return re.sub(r"[*?[]", r"[\g<0>]", str(path))
