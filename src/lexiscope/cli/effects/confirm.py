"""lexiscope effects confirm: a feature and pairs of prompts → whether it causes what it is said to stand for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from lexiscope.cli.effects import asked
from lexiscope.cli.options import Device, Json

if TYPE_CHECKING:
    from lexiscope.steer.confirming.confirm import Confirmation, Moved
    from lexiscope.steer.confirming.pairs import Pair


def confirm(
    sae: asked.Run,
    feature: asked.Feature,
    pairs: Annotated[
        Path, typer.Argument(help="JSON Lines: prompt, answer, other_prompt, other_answer; not those it was chosen on.")
    ],
    hypothesis: Annotated[str, typer.Option(help="What the feature is said to stand for; kept with the result.")] = "",
    chosen_on: Annotated[
        Path | None, typer.Option(help="Pairs that it was chosen on; none of them may be among the others.")
    ] = None,
    no_keep: asked.NoKeep = False,
    seed: asked.Seed = 0,
    index: asked.Index = None,
    model: asked.Model = None,
    device: Device = "cpu",
    json: Json = False,
) -> None:
    """Patch a feature between pairs of prompts: cause or no cause, with controls that change as much."""
    import torch

    from lexiscope.cli.console import ConsoleProgress, output, show_json
    from lexiscope.cli.effects.keeping import keep
    from lexiscope.steer.confirming.confirm import confirm as patch
    from lexiscope.steer.experiments.findings import keep_confirmation

    given, seen = _pairs(pairs), [] if chosen_on is None else _pairs(chosen_on)
    found = asked.opened(sae, index, model, device)
    asked.check_feature(found, feature)
    others = None if found.index is None else torch.tensor(found.index.live_L, dtype=torch.int64)
    with ConsoleProgress().task("Patching", total=len(given), unit="pairs") as task:
        confirmed = patch(
            found.model, found.sae, feature, given, hypothesis=hypothesis, chosen_on=seen, others=others, seed=seed
        )
        task.advance(len(given))
    if json:
        show_json(confirmed.model_dump(mode="json") | {"seed": seed})
    else:
        output.print(shown(confirmed), markup=False, soft_wrap=True)
    if not no_keep:
        keep(found, lambda notes, about, by: keep_confirmation(notes, about, confirmed, given, by, seed=seed))


def shown(found: Confirmation) -> str:
    """The verdict, and what each direction did both ways."""
    from lexiscope.cli.effects.tables import table

    rows = [["", "patched", "logits", "share of the way"]]
    for way, name in ((found.put_in, "put in"), (found.taken_out, "taken out")):
        for what, moved in (
            ("feature", way.feature),
            ("other feature", way.other_feature),
            ("random direction", way.direction),
            ("beyond chance", way.beyond),
        ):
            rows.append([name if what == "feature" else "", what, *_moved(moved)])
    where = "at every position" if found.by_position else "at the last token, since prompts differ in length"
    claim = f" ({found.hypothesis})" if found.hypothesis else ""
    return (
        f"Feature {found.feature}{claim}: {found.verdict}. {found.said}\n\n"
        f"{found.pairs} pairs, patched {where}; the feature differs in {found.differ} of them.\n"
        f"Logit difference of the answers: {found.clean:+.2f} after the prompts, {found.clean_other:+.2f} after the "
        "others.\n\n"
        f"{table(rows, words=[0, 1])}\n"
        "95 % intervals, redrawing pairs. Beyond chance: beyond twice the root mean square of the stronger control.\n"
        "A cause surely goes more than 5 % of the way, and beyond chance, both ways."
    )


def _moved(moved: Moved) -> list[str]:
    from lexiscope.cli.effects.tables import number

    logits, low, high = (number(each, ".2f") for each in (moved.logits, moved.logits_low, moved.logits_high))
    share, share_low, share_high = (
        number(100 * each, ".0f") for each in (moved.share, moved.share_low, moved.share_high)
    )
    return [f"{logits} [{low}, {high}]", f"{share}% [{share_low}, {share_high}]"]


def _pairs(path: Path) -> list[Pair]:
    from lexiscope.steer.confirming.pairs import read_pairs

    return read_pairs(asked.texts_of(path), str(path))
