"""What is written is what is read back; TensorBoard is used exactly where it is installed."""

import importlib.util
import json
import sys
import types

from lexiscope.train.sinks import JsonLines, TensorBoard, open_sinks


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
    sinks = open_sinks(tmp_path / "metrics.jsonl", tmp_path / "tensorboard")
    assert [type(sink) for sink in sinks] == [JsonLines]
    sinks[0].close()
    assert not (tmp_path / "tensorboard").exists()


def test_tensorboard_gets_every_number_where_it_is_installed(tmp_path, monkeypatch):
    """The writer of the package is replaced by one that remembers."""
    written = []

    class SummaryWriter:
        def __init__(self, folder):
            written.append(folder)

        def add_scalar(self, *scalar):
            written.append(scalar)

        def close(self):
            written.append("closed")

    module = types.ModuleType("torch.utils.tensorboard")
    module.SummaryWriter = SummaryWriter
    monkeypatch.setitem(sys.modules, "torch.utils.tensorboard", module)
    without(monkeypatch, object())
    json_lines, tensorboard = open_sinks(tmp_path / "metrics.jsonl", tmp_path / "tensorboard")
    json_lines.close()
    assert isinstance(tensorboard, TensorBoard)
    tensorboard.write(7, {"l0": 3.0, "lr": 0.1})
    tensorboard.close()
    assert written == [str(tmp_path / "tensorboard"), ("l0", 3.0, 7), ("lr", 0.1, 7), "closed"]
