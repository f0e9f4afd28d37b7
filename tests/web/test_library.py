"""Oracle: folders made by hand."""

from __future__ import annotations

import shutil
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from lexiscope.core.artifact import Artifact
from lexiscope.core.manifest import read_sealed, write_sealed
from lexiscope.index.feature_index import FeatureIndex
from lexiscope.web.folder import library as libraries
from lexiscope.web.folder.library import Library, UnknownDictionaryError
from lexiscope.web.server import open_ahead


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


def test_an_index_is_opened_once_however_many_look_into_it(root, monkeypatch):
    opened = []

    def slowly(artifact: Artifact) -> FeatureIndex:
        opened.append(artifact)
        time.sleep(0.05)
        return FeatureIndex(artifact)

    monkeypatch.setattr(libraries, "FeatureIndex", slowly)
    [dictionary] = Library(root).dictionaries()
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda _: dictionary.index, range(8)))
    assert len(opened) == 1
    assert all(index is found[0] for index in found)


def test_what_is_opened_ahead_and_damaged_is_no_trouble(root, tmp_path):
    copy = tmp_path / "copy"
    shutil.copytree(root, copy)
    [dictionary] = Library(copy).dictionaries()
    text = dictionary.artifact.path / "text.safetensors"
    text.write_bytes(bytes(text.stat().st_size))
    open_ahead(Library(copy))
    open_ahead(Library(root))
