"""lexiscope effects fidelity: ways of spending features → what each costs, against what it saves."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lexiscope.cli.effects import asked
from lexiscope.cli.options import Device, Json

if TYPE_CHECKING:
    from lexiscope.measure.scores import Score
    from lexiscope.saes.base import SparseAutoencoder
    from lexiscope.steer.spending.fidelity import Curve
    from lexiscope.steer.spending.rules import Spending

NONE: list[str] = []
HALVINGS = 5


def fidelity(
    sae: asked.Run,
    spend: Annotated[
        list[str],
        typer.Option(
            metavar="RULE", help="k=8, threshold=0.5, budget=12.5, prefix=1024 or all; may be given several times."
        ),
    ] = NONE,
    tokens: Annotated[int, typer.Option(min=1, help="Predictions to measure on, about.")] = 20_000,
    store: Annotated[Path | None, typer.Option(help="Activations; default: those that it was trained on.")] = None,
    corpus: Annotated[
        str | None, typer.Option(help="Held-out text; default: that of the corpus it comes from.")
    ] = None,
    seed: Annotated[int, typer.Option(help="Of the intervals.")] = 0,
    model: asked.Model = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Run the model on some features per token: what is lost by that, and the operations that it takes."""
    from lexiscope import saes
    from lexiscope.cli.console import ConsoleProgress, output, show_json
    from lexiscope.cli.inputs import open_model, open_store
    from lexiscope.steer.spending.fidelity import curve
    from lexiscope.steer.spending.rules import parse
    from lexiscope.text.corpus import Corpus

    spendings = [parse(each) for each in spend]
    dictionary = saes.load(sae / "sae" if (sae / "sae").is_dir() else sae)
    assert dictionary.artifact is not None
    activations = open_store(dictionary.artifact, store)
    found = curve(
        dictionary,
        open_model(activations, model, device),
        activations,
        spendings or usual(dictionary),
        corpus=None if corpus is None else Corpus(corpus, split="heldout"),
        tokens=tokens,
        seed=seed,
        progress=ConsoleProgress(),
    )
    if json:
        show_json(found.model_dump(mode="json"))
    else:
        output.print(shown(found), markup=False, soft_wrap=True)


def usual(sae: SparseAutoencoder) -> list[Spending]:
    """What to compare where nobody says: all features, half as many and so on; the prefixes of a nested dictionary."""
    from lexiscope.cli.inputs import heldout_of
    from lexiscope.saes import matryoshka
    from lexiscope.steer.spending.rules import EveryFeature, First, PerToken

    fires = sae.config.fixed_l0
    if fires is None:
        assert sae.artifact is not None
        fires = heldout_of(sae.artifact)["l0"]
    halved = [int(fires / 2**times) for times in range(1, HALVINGS + 1)]
    found: list[Spending] = [EveryFeature(), *(PerToken(features=count) for count in halved if count)]
    if isinstance(sae.config, matryoshka.Config):
        found += [First(latents=size) for size in reversed(sae.config.sizes(sae.num_latents)[:-1])]
    return found


def shown(found: Curve) -> str:
    """A line for each way of spending."""
    from lexiscope.cli.effects.tables import table

    rows = [
        [
            each.spending,
            f"{each.features_per_token:.1f}",
            *(_value(each.scores[name]) for name in ("fvu", "kl_divergence")),
            _interval(each.scores["loss_difference"]),
            f"{each.encode_operations / 1e6:.2f} M",
            f"{each.decode_operations / 1e3:.1f} k",
            f"{each.decode_microseconds:.0f} µs",
        ]
        for each in found.points
    ]
    header = ["spending", "per token", "FVU", "KL", "loss added", "encode", "decode", "time"]
    return (
        f"{found.architecture} at {found.hook}, {found.tokens:,} tokens of {found.documents} held-out documents; the "
        f"model's own loss is {found.clean_loss:.3f} nats per token.\n\n{table([header, *rows], words=[0])}\n\n"
        "KL, loss added: nats per token, 95 % interval. encode, decode: multiply-adds per token. time: to choose and\n"
        f"decode, per token; encoding took {found.encode_microseconds:.0f} µs."
    )


def _value(score: Score) -> str:
    return "-" if score.value is None else f"{score.value:.3f}"


def _interval(score: Score) -> str:
    if score.value is None or score.low is None or score.high is None:
        return _value(score)
    return f"{score.value:+.3f} [{score.low:.3f}, {score.high:.3f}]"
