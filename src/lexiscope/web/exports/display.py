"""Display: a feature in a notebook.

    from lexiscope.web.exports.display import show
    show(FeatureIndex.open("runs/demo/index"), 123)

What is shown is the file of `lexiscope.web.exports.html` in a frame of its own: text from anywhere may be in it, so
that the frame may run nothing, load nothing and reach nothing of the notebook, and the notebook's style does not reach
it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from html import escape

from lexiscope.index.feature_index import FeatureIndex
from lexiscope.web.exports.html import beside, page_of

_HEIGHT = 640


@dataclass(frozen=True)
class Shown:
    """Features, as a notebook shows them when they are the last value of a cell."""

    page: str = field(repr=False)
    features: tuple[int, ...]
    height: int = _HEIGHT

    def _repr_html_(self) -> str:
        style = f"width:100%;height:{self.height}px;border:0"
        return f'<iframe sandbox="" srcdoc="{escape(self.page)}" style="{style}" title="Features"></iframe>'


def show(index: FeatureIndex, features: int | Sequence[int], *, height: int = _HEIGHT) -> Shown:
    """One feature or several, with the scorecard's caveat where a scorecard lies beside the index.

    Args:
        height: of the frame, in pixels.

    Raises:
        InputError: there is no such feature.
    """
    numbers = (features,) if isinstance(features, int) else tuple(features)
    return Shown(page_of(*beside(index), numbers), numbers, height)
