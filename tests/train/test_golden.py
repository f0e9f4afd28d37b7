"""A recorded tiny run of every architecture that can be trained: a change that was not meant to change them shows here.

Oracle: `golden.json`, the run as it was when somebody last looked at it. In float64, so that machines agree; once more
in float32 on the kernels that this machine would take, more loosely. After a change that is meant, write it again with

    LEXISCOPE_WRITE_GOLDEN=1 pytest tests/train/test_golden.py

and read the difference before you commit it.
"""

import contextlib
import json
import os
from pathlib import Path

import pytest
import torch

from lexiscope import saes
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.saes import Batch
from lexiscope.train.check import fidelity
from lexiscope.train.config import TrainConfig, resolve
from lexiscope.train.trainer import Trainer

GOLDEN = Path(__file__).with_name("golden.json")
WRITE = bool(os.environ.get("LEXISCOPE_WRITE_GOLDEN"))
STEPS, TOKENS = 12, 100
ONE, OTHER = HookPoint.parse("resid_post.0"), HookPoint.parse("mlp_out.0")
PLACES = [((ONE,), (ONE,)), ((ONE,), (OTHER,)), ((ONE, OTHER), (ONE, OTHER))]


def small(architecture):
    """Settings for 10 + 6 dimensions, and whether what is written differs from what is read."""
    make = saes.architectures()[architecture].Config
    sizes = {"num_latents": 160, "k": 4, "activation": {"name": "batch_topk", "k": 4}}
    config = make(**{name: value for name, value in sizes.items() if name in make.model_fields})
    for reads, writes in PLACES:
        with contextlib.suppress(InputError):
            return config.for_sites(reads, writes, [10, 6] if len(reads) > 1 else [16]), reads != writes
    raise AssertionError(f"{architecture} takes none of the places of this test")


def rows():
    """Sparse mixtures of directions, float64: 4 of 60 at a time. Drawn as whole numbers: all machines agree on them."""
    rng = torch.Generator().manual_seed(0)
    directions_GD = torch.randint(-100, 101, (60, 16), generator=rng).double() / 200
    strength_TG = torch.randint(0, 15 * 100, ((STEPS + 3) * TOKENS, 60), generator=rng).double() / 100 - 14
    return strength_TG.relu() @ directions_GD * 4


def run(architecture, dtype):
    config, different = small(architecture)
    rows_TD = rows()
    target_TD = (rows_TD[:, :9] * rows_TD[:, 7:]).tanh() if different else rows_TD
    batches = [
        Batch(*(x_TD.to(dtype) for x_TD in pair)) if different else Batch.same(pair[0].to(dtype))
        for pair in zip(rows_TD.split(TOKENS), target_TD.split(TOKENS), strict=True)
    ]
    target_l0 = 4 if config.needs_target_l0 else None
    asked = TrainConfig(tokens=STEPS * TOKENS, batch_tokens=TOKENS, dead_after_tokens=TOKENS, target_l0=target_l0)
    train_config, _ = resolve(asked, config, 16)
    sae = saes.create(
        config, Batch(*(x_TD.float() for x_TD in batches[0])) if different else batches[0].input_TD.float()
    )
    if not any(parameter.requires_grad for parameter in sae.parameters()):
        return None
    trainer = Trainer(sae.to(dtype), train_config)
    steps = [trainer.step(batch) for batch in batches[:STEPS]]
    sae.eval()
    sae.calibrate(batches[STEPS].input_TD, train_config.target_l0)
    return {
        "loss": [sum(term.item() for term in step.terms.values()) for step in steps],
        "l0": [len(step.codes) / step.codes.num_tokens for step in steps],
        "heldout": list(fidelity(sae, batches[STEPS + 1 :])),
    }


TRAINABLE = [name for name, module in saes.architectures().items() if "baselines" not in module.__name__]


@pytest.mark.skipif(not WRITE, reason="writes golden.json, on request only")
def test_write():
    runs = {name: run(name, torch.float64) for name in TRAINABLE}
    rounded = {
        name: {key: [float(f"{value:.10g}") for value in values] for key, values in found.items()}
        for name, found in runs.items()
    }
    lines = [f"{json.dumps(name)}: {json.dumps(found)}" for name, found in rounded.items()]
    GOLDEN.write_text("{\n" + ",\n".join(lines) + "\n}\n")


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-5), (torch.float32, 2e-2)], ids=str)
@pytest.mark.parametrize("architecture", TRAINABLE)
def test_the_run_is_the_recorded_one(architecture, dtype, tolerance):
    golden = json.loads(GOLDEN.read_text())
    assert architecture in golden, f"no run of {architecture} is recorded; the top of this file says how to"
    found = run(architecture, dtype)
    for name, values in golden[architecture].items():
        assert found[name] == pytest.approx(values, rel=tolerance), name


def test_nothing_is_recorded_that_is_no_more():
    assert set(json.loads(GOLDEN.read_text())) == set(TRAINABLE)
