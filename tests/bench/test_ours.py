"""Our own loop. Oracles: the counts and shapes that the workload asks for."""

from __future__ import annotations

import contextlib

import pytest
import torch

from lexiscope.bench import ours
from lexiscope.bench.workload import ARCHITECTURES, Workload
from lexiscope.saes import Batch


@pytest.mark.parametrize("architecture", ARCHITECTURES)
def test_as_many_latents_fire_as_the_workload_says(architecture: str) -> None:
    workload = Workload("w", width=32, num_latents=512, k=4, tokens=64)
    x_TD = torch.cat(workload.batches())
    trainer = ours.make_trainer(architecture, workload, x_TD)
    assert trainer.sae.num_latents == 512
    fired = len(trainer.sae.encode(x_TD).fired()) / len(x_TD)
    assert fired == pytest.approx(4, rel=0.05)
    step = trainer.step(Batch.same(x_TD[:64]))
    assert step.number == 0


def test_matryoshka_has_the_prefixes_that_peers_are_given(tiny: Workload) -> None:
    config = ours.make_trainer("matryoshka", tiny, tiny.batches()[0]).sae.config
    assert [*config.model_dump()["prefixes"], 128] == tiny.prefixes


def test_latents_that_are_declared_dead_reach_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    workload = Workload("dead", width=32, num_latents=128, k=4, tokens=64, dead_fraction=0.25)
    seen: list[dict[str, float]] = []
    step = ours.Trainer.step

    def watch(self: ours.Trainer, batch: Batch) -> object:
        done = step(self, batch)
        seen.append({"auxk": float(done.terms["auxk"].detach())})
        return done

    monkeypatch.setattr(ours.Trainer, "step", watch)
    ours.run("topk", workload, iter(workload.batches()), path="stock")
    assert len(seen) == 4
    assert all(losses["auxk"] > 0 for losses in seen)


def test_a_path_without_low_precision_is_offered_where_there_is_one_with(monkeypatch: pytest.MonkeyPatch) -> None:
    from lexiscope.saes.kernels import backend, select

    monkeypatch.setattr(backend, "path", lambda *_: "native")
    monkeypatch.setattr(ours.native_select, "shortlist", lambda: "amx-bf16")
    monkeypatch.setattr(ours.stock_shortlist, "has_fast_bfloat16", lambda: True)
    without = {"dense": "fp32", "stock-fp32": "fp32", "native-fp32": "fp32"}
    assert ours.paths("cpu") == without | {"stock": "bf16", "native": "bf16"}
    monkeypatch.setattr(ours.native_select, "shortlist", lambda: "none")
    monkeypatch.setattr(ours.stock_shortlist, "has_fast_bfloat16", lambda: False)
    assert ours.paths("cpu") == {"dense": "fp32", "stock": "fp32", "native": "fp32"}
    asked: list[str] = []
    monkeypatch.setattr(backend, "use", lambda name: contextlib.nullcontext(asked.append(name)))
    for path, shortens in (("native", True), ("native-fp32", False), ("stock-fp32", False)):
        with ours.kernels(path):
            assert select._may_shorten is shortens
    assert asked == ["native", "native", "stock"]
