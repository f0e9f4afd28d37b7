"""Rendering: pydantic views to HTML. Jinja escapes everything; filters give plain text."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cache
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import jinja2

from lexiscope.index.feature import ActivationHistogram, DensityHistogram, EffectHistogram
from lexiscope.index.live.changes import Compared
from lexiscope.web.drawing import tested
from lexiscope.web.drawing.characters import labelled, visible, whole
from lexiscope.web.drawing.plots import Interval, Plot, Scatter, histogram, intervals, linear_ticks, scatter
from lexiscope.web.folder.lineage import WORDS, draw
from lexiscope.web.folder.siblings import Trade

STATIC, TEMPLATES = (Path(__file__).parents[1] / name for name in ("static", "templates"))
LEVELS = 20
"""Steps of the highlight; style.css has a class for each."""


@cache
def environment() -> jinja2.Environment:
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    templates.filters |= {
        "visible": visible,
        "whole": whole,
        "labelled": labelled,
        "level": level,
        "percent": percent,
        "short": short,
        "title_of": title_of,
        "query": query,
        "day": day,
    }
    templates.globals |= {
        "activation_plot": activation_plot,
        "density_plot": density_plot,
        "effect_plot": effect_plot,
        "kl_plot": kl_plot,
        "metric": metric_number,
        "pareto_plot": pareto_plot,
        "places": places,
    }
    templates.globals |= {"lineage": draw, "kind_words": WORDS}
    templates.globals |= {
        "cost_chart": tested.cost_chart,
        "dose_controls": tested.controls,
        "dose_kinds": tested.KINDS,
        "dose_turn": tested.turn,
        "doses": tested.doses,
        "effect_chart": tested.effect_chart,
        "verdict_kind": tested.verdict_kind,
        "way_plots": tested.way_plots,
    }
    return templates


def render(template: str, **values: Any) -> str:
    return environment().get_template(template).render(values)


def level(activation: float, most: float) -> int:
    """Step of the highlight, 0 for silence, 1..LEVELS in proportion for the rest."""
    share = max(0.0, activation / most) if most > 0 else 0.0
    return min(LEVELS, math.ceil(share * LEVELS))


def percent(share: float) -> str:
    """A share as a percentage with two significant digits: 3.4 %, 0.012 %, 100 %."""
    number = share * 100
    if number == 0 or number >= 99.95:
        return f"{number:.0f} %"
    digits = max(0, 1 - math.floor(math.log10(number)))
    return f"{number:.{digits}f} %"


def day(when: datetime) -> str:
    """The day of a moment, as one reads it."""
    return f"{when.day} {when:%B %Y}"


def places(first: int, last: int | None) -> str:
    """An interval of token positions in words."""
    if last is None:
        return f"from {first:,} on"
    return f"{first:,}" if last == first + 1 else f"{first:,} to {last - 1:,}"


def short(number: float) -> str:
    """Three significant digits, without an exponent where that stays short."""
    if number == 0:
        return "0"
    if 1e-4 <= abs(number) < 1e5:
        return f"{number:,.{max(0, 2 - math.floor(math.log10(abs(number))))}f}"
    return f"{number:.2g}"


def metric_number(value: float | None) -> str:
    """A cell of the scorecard."""
    if value is None:
        return "n/a"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"


def title_of(name: str) -> str:
    """A name from code in words: ``loss_recovered_mean_ablation`` → Loss recovered (mean ablation)."""
    if name in _TITLES:
        return _TITLES[name]
    words = name.replace("_", " ")
    return words[:1].upper() + words[1:]


_TITLES = {
    "sae": "This SAE",
    "pca": "PCA",
    "untrained": "Untrained SAE",
    "l0": "L0",
    "fvu": "FVU",
    "mse": "MSE",
    "kl_divergence": "KL divergence",
    "loss_recovered_mean_ablation": "Loss recovered, mean ablation",
    "loss_recovered_zero_ablation": "Loss recovered, zero ablation",
    "topk": "TopK",
    "relu_l1": "ReLU + L1",
}


def query(values: Mapping[str, Any], **changes: Any) -> str:
    """The query of an address, some values changed; those that are empty are left out."""
    merged = {**values, **changes}
    kept = {key: value for key, value in merged.items() if value not in {"", None, 0} or key in {"descending", "dead"}}
    kept = {key: value for key, value in kept.items() if value is not None}
    return urlencode({key: str(value).lower() if isinstance(value, bool) else value for key, value in kept.items()})


def activation_plot(found: ActivationHistogram) -> Plot:
    step = (found.high - found.low) / 8
    ticks = [tick for tick in linear_ticks(found.high) if found.low <= tick < found.high - step]
    return histogram(
        found.counts,
        found.low,
        found.high,
        width=368,
        x_label="activation",
        unit="firings",
        y_label="firings",
        x_ticks=[*((tick, f"{tick:g}") for tick in ticks), (found.high, short(found.high))],
        value=short,
        logarithmic=True,
    )


def effect_plot(found: EffectHistogram) -> Plot:
    return histogram(
        found.counts,
        found.low,
        found.high,
        width=368,
        x_label="change of the logit per unit",
        unit="tokens",
        y_label="tokens",
        x_ticks=[(found.low, short(found.low)), (found.high, short(found.high))]
        + ([(0.0, "0")] if found.low < 0 < found.high else []),
        value=short,
        logarithmic=True,
    )


def density_plot(found: DensityHistogram) -> Plot:
    decades = range(round(found.low), round(found.high) + 1)
    return histogram(
        found.counts,
        found.low,
        found.high,
        width=440,
        x_label="share of tokens on which a feature fires",
        unit="features",
        y_label="features",
        x_ticks=[(power, f"{100 * 10.0**power:g} %") for power in decades],
        value=lambda power: percent(10.0**power),
        logarithmic=False,
    )


def kl_plot(compared: Compared) -> list[Interval]:
    """What taking a feature out changes at the focus, beside the two controls that take out as much."""
    parts = (
        ("this feature", compared.feature),
        ("another feature", compared.other_feature),
        ("a random direction", compared.direction),
    )
    return intervals([(label, part.kl.mean, part.kl.low, part.kl.high) for label, part in parts], short)


def pareto_plot(found: Sequence[Trade]) -> Scatter:
    """How much of the variance is left unexplained with how many features."""
    points = []
    for trade in found:
        name = title_of(trade.name) if trade.kind == "trivial" else visible(trade.name)
        said = f"{name}: L0 {short(trade.l0)}, FVU {short(trade.fvu)}"
        points.append((trade.l0, trade.fvu, trade.kind, name, said))
    return scatter(points, width=440, x_label="features per token (L0)", y_label="Variance unexplained (FVU)")
