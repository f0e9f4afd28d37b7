"""Oracle: the HTML parsed by the standard library, and the index for what is in it."""

from __future__ import annotations

import json
import shutil
from html.parser import HTMLParser

import pytest

from lexiscope.core.draft import write_artifact
from lexiscope.core.errors import InputError
from lexiscope.core.manifest import read_sealed, write_sealed
from lexiscope.index.describing.describe import Describer
from lexiscope.index.tables.database import Database
from lexiscope.web.exports.report import select, write_report
from lexiscope.web.folder.library import open_run


class Elements(HTMLParser):
    def __init__(self, html: str) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(html)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_it_is_one_file_that_loads_and_runs_nothing(root):
    page = Elements(write_report(root / "demo").read_text(encoding="utf-8"))
    found = open_run(root / "demo")
    tags = [tag for tag, _ in page.elements]
    assert not {"script", "link", "img", "a", "iframe"} & set(tags)
    for _, attributes in page.elements:
        assert not [name for name in attributes if name.startswith("on") or name in {"src", "href", "style"}]
    assert tags.count("article") == len(select(found.index, found.concepts, 0.8))
    assert "18 % of the variance" in page.text
    assert "tells def head with F1 0.98" in page.text
    assert [file.name for file in (root / "demo").iterdir() if file.name.startswith(".")] == []


def test_it_is_the_same_each_time(root):
    assert write_report(root / "demo").read_bytes() == write_report(root / "demo").read_bytes()


def test_without_a_scorecard_it_says_that_nothing_was_measured(root, tmp_path):
    for part in ("index", "sae"):
        shutil.copytree(root / "demo" / part, tmp_path / part)
    page = Elements(write_report(tmp_path).read_text(encoding="utf-8"))
    assert "Nobody has measured" in page.text


def test_the_selection_follows_its_rule(root):
    found = open_run(root / "demo")
    chosen = select(found.index, found.concepts, 0.95, count=10)
    assert chosen[:2] == [4, 2]  # the concepts told with F1 1.0 and 0.98; "a name" with 0.91 is below the bar
    assert len(chosen) == len(set(chosen)) == 10
    for number in chosen[2:]:
        feature = found.index.feature(number)
        assert feature.firings >= 30
        assert feature.density <= 0.02


def test_the_selection_reads_no_examples(root, monkeypatch):
    monkeypatch.delattr(Describer, "describe")
    monkeypatch.delattr(Database, "documents")
    found = open_run(root / "demo")
    assert len(select(found.index, found.concepts, 0.95, count=10)) == 10


def test_a_run_inside_the_run_changes_nothing(root, tmp_path):
    shutil.copytree(root / "demo", tmp_path / "runs")
    page = write_report(tmp_path / "runs").read_bytes()
    shutil.copytree(root / "demo", tmp_path / "runs" / "demo")
    assert write_report(tmp_path / "runs").read_bytes() == page


def test_the_scores_of_another_sae_are_left_out(root, tmp_path):
    shutil.copytree(root / "demo" / "index", tmp_path / "index")
    shutil.copytree(root / "demo" / "scorecard", tmp_path / "scorecard")
    with write_artifact(tmp_path / "sae", "sae", config={"sae": {"architecture": "relu_l1"}}):
        pass
    assert open_run(tmp_path).sae is None
    assert open_run(tmp_path).scorecard is not None
    manifest = tmp_path / "scorecard" / "manifest.json"
    sae = open_run(root / "demo").sae
    write_sealed(manifest, json.loads(json.dumps(read_sealed(manifest)).replace(sae.fingerprint, "0" * 64)))
    assert open_run(tmp_path).scorecard is None


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("stdlib+/home/alice/clients/acme+generated:lists+hf:some/set", "stdlib+acme+generated:lists+hf:some/set"),
        ("/home/alice/c++ and +/clients/notes.txt", "c++ and +notes.txt"),
    ],
)
def test_paths_of_this_machine_stay_here(root, tmp_path, source, shown):
    shutil.copytree(root / "demo", tmp_path / "run")
    manifest = tmp_path / "run" / "index" / "manifest.json"
    written = read_sealed(manifest)
    written["sources"]["model"]["name"] = "/home/alice/models/small"
    written["sources"]["corpus"]["source"] = source
    write_sealed(manifest, written)
    text = write_report(tmp_path / "run").read_text(encoding="utf-8")
    assert "alice" not in text
    assert "clients" not in text
    assert f"<dd>{shown}, " in text


def test_a_folder_without_an_index_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no index; give the folder of a run"):
        write_report(tmp_path)
