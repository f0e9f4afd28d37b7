"""Lineage: where the boxes of what was made from what go, layer by layer from left to right.

Below text and models what is left of the links is a forest: every artifact hangs on its nearest source. A leaf takes a
row of its own, a source stands in the middle of what was made from it, so links of the forest never cross. Texts and
models stand at the mean of their stores, pushed apart as little as possible (pool adjacent violators, Ayer 1955).
All lengths are units of the SVG's view box.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lexiscope.core.errors import one_line
from lexiscope.web.folder.kin import Group, Node

WIDTH, HEIGHT = 188, 46
_GAP, _PITCH, _MARGIN = 52, 58, 2
_ORIGINS = ("corpus", "model")
_FIRST_LAYER = {"store": 1, "sae": 2, "scorecard": 3, "index": 3, "edit": 3}
_MOST_NAME, _MOST_DETAIL = 23, 30
WORDS = {
    "corpus": "Text",
    "model": "Model",
    "store": "Activations",
    "sae": "SAE",
    "scorecard": "Scorecard",
    "index": "Index",
    "edit": "Edit",
}


@dataclass(frozen=True)
class Box:
    """One node."""

    node: Node
    x: float
    y: float
    head: str
    """Its kind and a few words."""
    name: str
    """Cut to fit."""
    title: str
    """All that is known, for the pointer."""


@dataclass(frozen=True)
class Drawing:
    """A graph, ready to draw."""

    width: float
    height: float
    boxes: list[Box]
    curves: list[str]
    """Path data, one for each link."""
    summary: str


def draw(group: Group) -> Drawing:
    """Where everything of a group goes."""
    nodes = {node.key: node for node in group.nodes}
    sources: dict[str, list[str]] = {key: [] for key in nodes}
    for link in group.links:
        sources[link.target].append(link.source)
    layers = _layers(nodes, sources)
    rows = _rows(nodes, sources, layers)
    top = min(rows.values(), default=0.0)
    places = {
        key: (_MARGIN + layers[key] * (WIDTH + _GAP), round(_MARGIN + (rows[key] - top) * _PITCH, 1)) for key in nodes
    }
    return Drawing(
        width=max((x for x, _ in places.values()), default=0) + WIDTH + _MARGIN,
        height=max((y for _, y in places.values()), default=0) + HEIGHT + _MARGIN,
        boxes=[_box(nodes[key], *places[key]) for key in sorted(nodes, key=lambda key: (layers[key], rows[key]))],
        curves=[_curve(places[link.source], places[link.target]) for link in group.links],
        summary=f"What the {len(nodes)} parts of {group.name} were made from, from text and model on the left to the "
        f"index on the right; the table below lists them.",
    )


def cut(text: str, most: int) -> str:
    """Text that takes no more room than so many letters: its beginning and its end."""
    shown = one_line(text)
    if _breadth(shown) <= most:
        return shown
    half = (most - 1) // 2
    return f"{_begin(shown, most - 1 - half)}…{_begin(shown[::-1], half)[::-1]}"


def _box(node: Node, x: float, y: float) -> Box:
    word = WORDS.get(node.kind, node.kind.capitalize())
    head = cut(f"{word} · {node.detail}" if node.detail else word, _MOST_DETAIL)
    about = [f"{word} {node.name}", node.path, node.detail, f"made {node.made}" if node.made else None]
    about += [f"fingerprint {node.fingerprint[:16]}" if node.fingerprint else None, *node.remarks, *node.moved]
    return Box(node, x, y, head, cut(node.name, _MOST_NAME), "\n".join(one_line(line) for line in about if line))


def _curve(source: tuple[float, float], target: tuple[float, float]) -> str:
    """Down or up right behind the source, then straight on: it passes no box of another row."""
    x, y = source[0] + WIDTH, source[1] + HEIGHT / 2
    end, level = target[0], target[1] + HEIGHT / 2
    middle = x + _GAP / 2
    return f"M{x:g} {y:g}C{middle:g} {y:g} {middle:g} {level:g} {x + _GAP:g} {level:g}H{end:g}"


def _layers(nodes: Mapping[str, Node], sources: Mapping[str, Sequence[str]]) -> dict[str, int]:
    """At least that of its kind, and behind everything that it was made from."""
    layers = {key: _FIRST_LAYER.get(node.kind, 0) for key, node in nodes.items()}
    for _ in nodes:  # a manifest that names itself moves on no more than so often
        behind = {key: max([layers[key], *(layers[source] + 1 for source in sources[key])]) for key in nodes}
        if behind == layers:
            break
        layers = behind
    return layers


def _rows(
    nodes: Mapping[str, Node], sources: Mapping[str, Sequence[str]], layers: Mapping[str, int]
) -> dict[str, float]:
    made = [key for key, node in nodes.items() if node.kind not in _ORIGINS]
    nearest = {
        key: max(
            (source for source in sources[key] if source in set(made)), key=lambda source: layers[source], default=""
        )
        for key in made
    }
    below: dict[str, list[str]] = {key: [] for key in ("", *made)}
    for key in sorted(made, key=lambda key: (sorted(sources[key]) if not nearest[key] else [], _order(nodes[key]))):
        below[nearest[key]].append(key)
    rows: dict[str, float] = {}
    next_row = 0
    waiting = [(key, False) for key in reversed(below[""])]
    while waiting:
        key, is_below_done = waiting.pop()
        children = below[key]
        if children and not is_below_done:
            waiting.append((key, True))
            waiting += [(child, False) for child in reversed(children)]
        elif children:
            rows[key] = (rows[children[0]] + rows[children[-1]]) / 2
        else:
            rows[key] = next_row
            next_row += 1
    for key in made:  # those that nothing leads to: only manifests that name one another
        if key not in rows:
            rows[key] = next_row
            next_row += 1
    return rows | _origin_rows([key for key in nodes if key not in nearest], made, sources, rows)


def _origin_rows(
    origins: Sequence[str], made: Sequence[str], sources: Mapping[str, Sequence[str]], rows: Mapping[str, float]
) -> dict[str, float]:
    wanted = {}
    for key in origins:
        users = [rows[user] for user in made if key in sources[user]]
        wanted[key] = sum(users) / len(users) if users else 0.0
    order = sorted(origins, key=lambda key: (wanted[key], key))
    # Where a box is wanted, less the room that those before it take, may not fall.
    blocks: list[tuple[float, int]] = []
    for place, key in enumerate(order):
        total, count = wanted[key] - place, 1
        while blocks and blocks[-1][0] / blocks[-1][1] >= total / count:
            before = blocks.pop()
            total, count = total + before[0], count + before[1]
        blocks.append((total, count))
    levels = [total / count for total, count in blocks for _ in range(count)]
    return {key: level + place for place, (key, level) in enumerate(zip(order, levels, strict=True))}


def _order(node: Node) -> tuple[int, str]:
    return (_FIRST_LAYER.get(node.kind, 0), node.path or node.name)


def _breadth(text: str) -> int:
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _begin(text: str, most: int) -> str:
    taken = 0
    for place, character in enumerate(text):
        taken += _breadth(character)
        if taken > most:
            return text[:place]
    return text
