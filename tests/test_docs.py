"""Documentation that can go stale. Oracles: the disk, the registry, the command line."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
README = (ROOT / "README.md").read_text(encoding="utf-8")


def test_the_map_in_the_readme_is_the_disk() -> None:
    drawn = re.findall(
        r"^ {4}( *)([\w/]+)/ ", README.split("<!-- map -->")[1].split("<!-- end of map -->")[0], re.MULTILINE
    )
    rooms = {name for indent, name in drawn if indent}
    tops = {name for indent, name in drawn if not indent} | {"src"}
    package = ROOT / "src" / "lexiscope"
    assert rooms == {path.name for path in package.iterdir() if path.is_dir() and path.name != "__pycache__"}
    ignored = {"runs", "build", "dist"}
    assert tops == {path.name for path in ROOT.iterdir() if path.is_dir() and path.name[0] != "."} - ignored


def test_the_order_of_the_map_is_the_order_of_imports() -> None:
    from importlib import util

    spec = util.spec_from_file_location("layers", ROOT / "tests" / "test_layers.py")
    assert spec is not None
    assert spec.loader is not None
    layers = util.module_from_spec(spec)
    spec.loader.exec_module(layers)
    places = [README.index(f"      {room}/ ") for room in layers.ORDER]
    assert places == sorted(places)


@pytest.mark.parametrize(
    "document", [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")), ROOT / "CONTRIBUTING.md"]
)
def test_links_and_pictures_exist(document: Path) -> None:
    for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text(encoding="utf-8")):
        assert (document.parent / target).exists(), f"{document.name} points to {target}, which is not there"


def test_every_verb_is_in_the_readme() -> None:
    from lexiscope.cli.main import app

    for command in app.registered_commands:
        assert f"lexiscope {command.name}" in README or f"make {command.name}" in README


def test_every_kind_of_artifact_is_specified() -> None:
    from lexiscope.core.artifact import FORMAT_VERSIONS

    formats = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    for kind in FORMAT_VERSIONS:
        assert f"\n## {kind}\n" in formats


def test_every_capability_has_its_row() -> None:
    coverage = (ROOT / "docs" / "coverage.md").read_text(encoding="utf-8")
    numbers = [int(number) for number in re.findall(r"^\| (\d+) \|", coverage, re.MULTILINE)]
    assert numbers == list(range(1, 94))
    for path in re.findall(r"`((?:core|text|lm|harvest|saes|train|measure|index|web|cli)/[\w/.]*)`", coverage):
        assert (ROOT / "src" / "lexiscope" / path).exists(), f"coverage.md names {path}"


@pytest.mark.parametrize("recipe", sorted((ROOT / "recipes").glob("*.toml")), ids=lambda path: path.name)
def test_every_recipe_is_valid(recipe: Path) -> None:
    from lexiscope.cli.recipes import HarvestRecipe, TrainRecipe
    from lexiscope.core.config import read_recipe
    from lexiscope.saes.registry import read_config
    from lexiscope.train.config import TrainConfig

    tables = read_recipe(recipe)
    HarvestRecipe.read(tables["harvest"], recipe.name)
    asked = TrainRecipe.read(tables["train"], recipe.name)
    read_config(asked.sae, recipe.name)
    TrainConfig.read(asked.optimise, recipe.name)


def test_the_recipe_of_the_demo_is_what_the_demo_does() -> None:
    from lexiscope.cli.pipeline import DemoSettings
    from lexiscope.cli.recipes import HarvestRecipe
    from lexiscope.core.config import read_recipe

    recipe, demo = read_recipe(ROOT / "recipes" / "demo.toml"), DemoSettings()
    harvest = HarvestRecipe.read(recipe["harvest"], "demo.toml")
    assert (harvest.model, harvest.corpus, harvest.tokens) == (demo.model, demo.corpus, demo.tokens)
    assert recipe["train"] == {"sae": demo.sae, "optimise": demo.optimise}
