"""Options that these verbs share, and what they stand for: a dictionary with its model, a goal, an experiment."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from lexiscope.core.artifact import Artifact
    from lexiscope.index.feature_index import FeatureIndex
    from lexiscope.lm.model import LanguageModel
    from lexiscope.saes.base import SparseAutoencoder
    from lexiscope.steer.experiments.aims import Aim
    from lexiscope.steer.experiments.experiment import Experiment

Run = Annotated[Path, typer.Argument(metavar="SAE", help="A run folder, or the folder of an autoencoder.")]
Feature = Annotated[int, typer.Argument(help="The number of a feature.")]
Tokens = Annotated[
    str | None,
    typer.Option(
        metavar="LIST", help='Goal: one of these tokens comes next, as in " she, her" (white space counts); or a file.'
    ),
]
Concept = Annotated[
    str | None, typer.Option(metavar="NAME", help="Goal: a concept of the bank, such as 'personal pronoun'.")
]
Wanted = Annotated[
    Path | None, typer.Option(help="Goal: these texts become likelier than those of --unwanted, line by line.")
]
Unwanted = Annotated[Path | None, typer.Option(help="What --wanted is measured against; one text per line.")]
Corpus = Annotated[str | None, typer.Option(help="Text to try things on; default: that of the activation store.")]
Prompts = Annotated[int, typer.Option(min=2, max=10_000, help="Prompts to judge on, one per document.")]
Shortlist = Annotated[int, typer.Option(min=1, max=1000, help="Features to try with a small dose.")]
Random = Annotated[int, typer.Option(min=0, max=1000, help="Others to try, drawn at random, for the sign test.")]
NoKeep = Annotated[bool, typer.Option("--no-keep", help="Do not write the result into the notes beside the index.")]
Limit = Annotated[float, typer.Option(help="Rise of perplexity off-target that is allowed: 0.05 is 5 %.")]
Seed = Annotated[int, typer.Option(help="Of all that is drawn; another one is other text and another split of it.")]
Index = Annotated[Path | None, typer.Option(help="The index; default: that beside the autoencoder.")]
Model = Annotated[str | None, typer.Option(help="The language model; default: the one that was harvested.")]


@dataclass(frozen=True)
class Opened:
    """A dictionary, the model that it is of, and its index if there is one."""

    sae: SparseAutoencoder
    model: LanguageModel
    index: FeatureIndex | None

    @property
    def artifact(self) -> Artifact:
        assert self.sae.artifact is not None
        return self.sae.artifact


def opened(run: Path, index: Path | None, model: str | None, device: str) -> Opened:
    """What a path means.

    Raises:
        InputError: no dictionary, or the index or the model is of another one.
        ArtifactError: something is damaged.
    """
    from lexiscope import saes
    from lexiscope.cli.inputs import model_of
    from lexiscope.index.feature_index import FeatureIndex
    from lexiscope.index.live.contexts import Places
    from lexiscope.steer.applying.checks import check_fit, check_index
    from lexiscope.steer.strength import Units

    sae = saes.load(run / "sae" if (run / "sae").is_dir() else run)
    assert sae.artifact is not None
    beside = sae.artifact.path.absolute().parent / "index"
    found = FeatureIndex.open(index or beside) if index is not None or beside.is_dir() else None
    if found is not None:
        check_index(sae, Units(found))
    language_model = model_of(sae.artifact, model, device)
    check_fit(language_model, sae, Places.of(sae), other_model=False)
    return Opened(sae, language_model, found)


def goal_of(
    model: LanguageModel, tokens: str | None, concept: str | None, wanted: Path | None, unwanted: Path | None
) -> Callable[[Experiment], Aim]:
    """The one goal that was given; whatever is wrong with it is said before any text is read.

    Raises:
        InputError: no goal, several, or one that is none.
    """
    from lexiscope.core.errors import InputError
    from lexiscope.steer.experiments.aims import check_examples, concept_named, token_set

    examples = wanted is not None or unwanted is not None
    count = (tokens is not None) + (concept is not None) + examples
    if count != 1:
        raise InputError(
            f"there {f'are {count} goals' if count else 'is no goal'}; give one of --tokens, --concept, or --wanted "
            "with --unwanted"
        )
    if concept is not None:
        named = concept_named(concept)
        return lambda experiment: _told(experiment.towards_concept(named))
    if tokens is not None:
        given = token_set(model.tokenizer, _strings(tokens))
        return lambda experiment: experiment.towards_tokens(given)
    if wanted is None or unwanted is None:
        raise InputError("examples need both sides; give --wanted and --unwanted")
    sides = texts_of(wanted), texts_of(unwanted)
    check_examples(*sides)
    return lambda experiment: experiment.towards_examples(f"{wanted.name} over {unwanted.name}", *sides)


def _told(aim: Aim) -> Aim:
    """Say for how much of a concept its tokens stand."""
    from lexiscope.cli.console import say
    from lexiscope.steer.effects.goals import TokenSet

    assert isinstance(aim.goal, TokenSet)
    say(
        f"{len(aim.goal.weights)} tokens stand for {aim.goal.name!r}: {aim.coverage:.0%} of its occurrences in "
        "the text that features are chosen on"
    )
    return aim


def experiment_on(found: Opened, corpus: str | None, *, seed: int, prompts: int | None = None) -> Experiment:
    """Text, activations and what else is the same for all goals.

    Raises:
        InputError: there is no text, or too little.
    """
    from lexiscope.cli.console import ConsoleProgress
    from lexiscope.steer.experiments.excerpts import Source
    from lexiscope.steer.experiments.experiment import Experiment, Sizes

    source = Source.of(found.artifact) if corpus is None else Source(corpus)
    usual = Sizes()
    sizes = Sizes(prompts=(usual.prompts[0], prompts or usual.prompts[1]))
    return Experiment(found.model, found.sae, source, sizes, index=found.index, seed=seed, progress=ConsoleProgress())


def check_feature(found: Opened, feature: int | None) -> None:
    """Raises InputError: there is no such feature, or an index says that it never fires."""
    from lexiscope.core.errors import InputError

    if feature is None:
        return
    if not 0 <= feature < found.sae.num_latents:
        raise InputError(
            f"there is no feature {feature}; this dictionary has features 0 to {found.sae.num_latents - 1}"
        )
    if found.index is not None and found.index.summaries([feature])[feature].dead:
        raise InputError(f"feature {feature} never fires in the indexed text, so nothing is to be tried; take another")


def check_limit(limit: float, of: str = "perplexity") -> None:
    """Raises InputError: it is no share."""
    from lexiscope.core.errors import InputError

    if not (math.isfinite(limit) and limit > 0):
        raise InputError(f"--limit {limit} is no rise of {of}; give a share above 0, such as 0.05")


def texts_of(path: Path) -> list[str]:
    """The lines of a file that hold anything, without their ends.

    Raises:
        InputError: it can't be read, is not UTF-8, or is empty.
    """
    from lexiscope.cli.files import lines_of
    from lexiscope.core.errors import InputError

    try:
        lines = [line.decode().rstrip("\r\n") for line in lines_of(path)]
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text in UTF-8; give another file") from None
    if not (texts := [line for line in lines if line.strip()]):
        raise InputError(f"{path} is empty; give one text per line")
    return texts


def _strings(given: str) -> list[str]:
    """Lines of a file, or what commas separate."""
    return texts_of(Path(given)) if _is_file(given) else given.split(",")


def _is_file(given: str) -> bool:
    try:
        return Path(given).is_file()
    except (OSError, ValueError):
        return False
