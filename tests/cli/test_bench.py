"""lexiscope bench. Oracle: the exit code, one sentence, and the files it leaves."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ET
from collections.abc import Callable
from pathlib import Path

import pytest

from lexiscope.bench import bench as whole
from lexiscope.bench import scaling
from lexiscope.bench.workload import Workload

from .test_verbs import refused

Run = Callable[..., "tuple[int, str, str]"]


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--config", "C"], ["config", "A-dead"]),
        (["--architecture", "vae"], ["architecture", "batch_topk"]),
        (["--path", "quantum"], ["quantum", "stock"]),
        (["--peers", "/no/such/python"], ["/no/such/python", "interpreter"]),
        (["--rounds", "0"], ["rounds"]),
        (["--threads", "-2"], ["threads"]),
        (["--device", "abacus"], ["abacus"]),
    ],
)
def test_bad_input_is_refused_before_anything_is_timed(
    arguments: list[str], words: list[str], lexiscope: Run, tmp_path: Path
) -> None:
    outcome = lexiscope("bench", "--quick", *arguments, "--out", tmp_path / "bench")
    refused(outcome, *words)
    assert not (tmp_path / "bench").exists()


def test_a_folder_of_something_else_is_not_written_to(lexiscope: Run, tmp_path: Path) -> None:
    (tmp_path / "thesis.tex").write_text("precious")
    refused(lexiscope("bench", "--quick", "--out", tmp_path), "thesis.tex")
    refused(lexiscope("bench", "--quick", "--out", tmp_path / "thesis.tex"), "folder")


def test_a_run_leaves_numbers_and_pictures(lexiscope: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tiny = Workload("quick", width=32, num_latents=128, k=4, tokens=64)
    monkeypatch.setitem(whole.WORKLOADS, "quick", tiny)
    for axis in scaling.SMALLEST:
        monkeypatch.setitem(scaling.SMALLEST, axis, Workload(axis, width=16, num_latents=32, k=2, tokens=16))
    out = tmp_path / "runs" / "bench"
    arguments = ["bench", "--quick", "--rounds", 1, "--threads", 1, "--path", "stock", "--parts", "--memory"]
    code, printed, err = lexiscope(*arguments, "--out", out, "--json")
    assert code == 0, err
    found = json.loads(printed)
    assert found == json.loads((out / "bench.json").read_text())
    row = found["comparisons"][0]["rows"][0]
    assert row["name"] == "lexiscope stock"
    assert row["over_floor"] == pytest.approx(row["timing"]["median_ms"] / row["floor_ms"])
    assert row["peak_bytes"] >= 0
    assert [curve["axis"] for curve in found["scaling"]] == ["tokens", "width", "latents"]
    assert found["breakdowns"][0]["parts_ms"]["select"] > 0
    assert {path.name for path in out.iterdir()} == {"bench.json", "steps.svg", "scaling.svg"}
    for picture in out.glob("*.svg"):
        assert ET.parse(picture).getroot().tag.endswith("svg")
    assert {path.name for path in out.parent.iterdir()} == {"bench"}

    code, printed, err = lexiscope(*arguments, "--no-scaling", "--no-memory", "--out", out)
    assert code == 0, err
    assert "quick: topk, D 32, F 128, K 4, 64 tokens" in printed
    assert "lexiscope, stock" in printed
