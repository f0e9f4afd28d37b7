"""What is written is what is read back; TensorBoard is used exactly where it is installed."""

import importlib.util
import json
import sys
import types

import pytest

from lexiscope.core.errors import ArtifactError
from lexiscope.train.sinks import JsonLines, Sinks


def without(monkeypatch, found):
    find = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name, *rest: found if name == "tensorboard" else find(name, *rest)
    )


def test_json_lines_can_be_read_while_the_run_goes_on(tmp_path):
    sink = JsonLines(tmp_path / "metrics.jsonl")
    sink.write(1, {"loss/reconstruction": 0.5})
    sink.write(2, {"l0": 3.0})
    lines = [json.loads(line) for line in (tmp_path / "metrics.jsonl").read_text().splitlines()]
    sink.close()
    assert lines == [{"step": 1, "loss/reconstruction": 0.5}, {"step": 2, "l0": 3.0}]


def test_tensorboard_is_skipped_where_it_is_absent(tmp_path, monkeypatch):
    without(monkeypatch, None)
    sinks = Sinks(tmp_path / "metrics.jsonl", tmp_path / "tensorboard")
    sinks.write(1, {"l0": 3.0})
    sinks.close()
    assert (tmp_path / "metrics.jsonl").read_text() == '{"step": 1, "l0": 3.0}\n'
    assert not (tmp_path / "tensorboard").exists()


def test_tensorboard_gets_every_number_where_it_is_installed(tmp_path, monkeypatch):
    """The writer of the package is replaced by one that remembers."""
    written = []

    class SummaryWriter:
        def __init__(self, folder, purge_step):
            written.append((folder, purge_step))

        def add_scalar(self, *scalar):
            written.append(scalar)

        def close(self):
            written.append("closed")

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    without(monkeypatch, object())
    sinks = Sinks(tmp_path / "metrics.jsonl", tmp_path / "tensorboard")
    sinks.write(7, {"l0": 3.0, "lr": 0.1})
    after = sinks.position()
    sinks.write(8, {"l0": 2.0})
    sinks.close()
    Sinks(tmp_path / "metrics.jsonl", tmp_path / "tensorboard", after).close()
    folder = str(tmp_path / "tensorboard")
    assert written == [
        (folder, None),
        ("l0", 3.0, 7),
        ("lr", 0.1, 7),
        ("l0", 2.0, 8),
        "closed",
        (folder, 8),
        "closed",
    ]


def test_json_lines_go_on_after_a_position_and_cut_off_what_came_later(tmp_path):
    path = tmp_path / "metrics.jsonl"
    sink = JsonLines(path)
    sink.write(1, {"l0": 1.0})
    after = sink.position()
    sink.write(2, {"l0": 2.0})
    sink.close()
    sink = JsonLines(path, after)
    sink.write(2, {"l0": 3.0})
    sink.close()
    assert [json.loads(line)["l0"] for line in path.read_text().splitlines()] == [1.0, 3.0]


@pytest.mark.parametrize("damage", [b"", b"{", b'{"step": 1, "l0": 1.5}\n', None])
def test_metrics_that_are_not_what_was_written_are_refused(tmp_path, damage):
    path = tmp_path / "metrics.jsonl"
    sink = JsonLines(path)
    sink.write(1, {"l0": 1.0})
    after = sink.position()
    sink.close()
    path.unlink() if damage is None else path.write_bytes(damage)
    with pytest.raises(ArtifactError, match=r"metrics\.jsonl is damaged"):
        JsonLines(path, after)
