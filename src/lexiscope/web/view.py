"""View: the base of what pages show."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class View(BaseModel):
    """What a page shows; its JSON twin is exactly this."""

    model_config = ConfigDict(frozen=True, use_attribute_docstrings=True)
