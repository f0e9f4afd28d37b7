"""Oracle: folders made by hand."""

from __future__ import annotations

import shutil

import pytest

from lexiscope.core.manifest import read_sealed, write_sealed
from lexiscope.web.folder.library import Library, UnknownDictionaryError


def test_an_index_finds_its_sae_and_scorecard(root):
    [dictionary] = Library(root).dictionaries()
    assert dictionary.name == "demo"
    assert dictionary.sae.path == root / "demo" / "sae"
    assert dictionary.scorecard.architecture == "topk"


def test_the_name_is_the_same_when_only_the_run_is_shown(root):
    assert [dictionary.name for dictionary in Library(root / "demo").dictionaries()] == ["demo"]


def test_names_are_unique_and_fit_addresses(root, tmp_path):
    for folder in ("a b/index", "a-b/index", "ä/<script>", "plain"):
        shutil.copytree(root / "demo" / "index", tmp_path / folder)
    names = [dictionary.name for dictionary in Library(tmp_path).dictionaries()]
    assert names == ["a-b", "a-b-2", "plain", "script"]


def test_a_folder_that_changes_is_seen_and_the_rest_stays_open(root, tmp_path):
    shutil.copytree(root / "demo", tmp_path / "one")
    library = Library(tmp_path)
    [first] = library.dictionaries()
    shutil.copytree(root / "demo", tmp_path / "two")
    names = [dictionary.name for dictionary in library.dictionaries()]
    assert names == ["one", "two"]
    assert library.dictionary("one") is first
    shutil.rmtree(tmp_path / "one" / "scorecard")
    shutil.rmtree(tmp_path / "two" / "scorecard")
    library.dictionaries()
    assert library.dictionary("one").scorecard is None


@pytest.mark.parametrize("part", ["index", "sae", "scorecard"])
def test_a_run_that_is_made_again_is_opened_again(root, tmp_path, part):
    """Only the address of the dictionary is asked for, never the list of all."""
    shutil.copytree(root / "demo", tmp_path / "demo")
    library = Library(tmp_path)
    before = library.dictionary("demo")
    assert library.dictionary("demo") is before
    manifest = tmp_path / "demo" / part / "manifest.json"
    written = read_sealed(manifest)
    shutil.rmtree(manifest.parent)
    shutil.copytree(root / "demo" / part, manifest.parent)
    write_sealed(manifest, written | {"created": "later"})
    after = library.dictionary("demo")
    assert after is not before
    assert library.dictionary("demo") is after
    assert library.dictionaries() == [after]


def test_a_run_that_was_removed_is_not_there(root, tmp_path):
    shutil.copytree(root / "demo", tmp_path / "demo")
    library = Library(tmp_path)
    library.dictionary("demo")
    shutil.rmtree(tmp_path / "demo")
    with pytest.raises(UnknownDictionaryError):
        library.dictionary("demo")
