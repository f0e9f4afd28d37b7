"""A model on few features, and the record of all of them. Oracle: dense arithmetic on whole texts, without a cache."""

from __future__ import annotations

import duckdb
import numpy as np
import pytest
import torch
from tests.measure.conftest import HOOK, model  # noqa: F401

from lexiscope import saes
from lexiscope.core.artifact import open_artifact
from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.core.verify import verify
from lexiscope.saes.base import Batch
from lexiscope.steer.spending.frugal import frugal
from lexiscope.steer.spending.record import read_record, recording
from lexiscope.steer.spending.rules import parse

AT = HookPoint.parse(HOOK)
PROMPT = "Anna and Paul met"


@pytest.fixture(scope="module")
def sae():
    sample_TD = torch.randn(500, 24, generator=torch.Generator().manual_seed(1))
    made = saes.create(saes.relu_l1.Config(expansion=4), Batch.same(sample_TD))
    made.hook = AT
    return made


def ids(model, text=PROMPT):  # noqa: F811
    lead = [model.tokenizer.bos_id] if model.bos == "context" else []
    return torch.tensor([[*lead, *model.tokenizer.encode(text).ids]])


def few(model, sae, x_CD, tokens_C, k):  # noqa: F811
    """Reconstructions from the k longest contributions; special tokens keep what they have. And all codes."""
    codes_CF = sae.encode(x_CD).dense()
    kept_CF = torch.zeros_like(codes_CF)
    for place, row in enumerate(codes_CF * sae.W_dec_FD.norm(dim=1)):
        for latent in row.topk(k).indices.tolist():
            kept_CF[place, latent] = codes_CF[place, latent]
    out_CD = kept_CF @ sae.W_dec_FD + sae.b_dec_D
    special_C = torch.tensor([token in model.tokenizer.special_ids for token in tokens_C.tolist()])
    return torch.where(special_C[:, None], x_CD, out_CD), codes_CF * ~special_C[:, None], kept_CF


@torch.no_grad()
def slowly(model, sae, k, new):  # noqa: F811
    """Greedy generation that runs the whole text for every token, and the codes of all that was read."""
    tokens_BC = ids(model)
    for _ in range(new):
        codes = []

        def replace(x_BCD, tokens_BC=tokens_BC, codes=codes):
            out_CD, *found = few(model, sae, x_BCD[0], tokens_BC[0], k)
            codes[:] = found
            return out_CD[None]

        with model.splice({AT: replace}):
            next_B = model.logits(tokens_BC)[:, -1].argmax(1)
        tokens_BC = torch.cat([tokens_BC, next_B[:, None]], 1)
    return tokens_BC, codes


@pytest.mark.parametrize("cache", [True, False])
def test_generation_and_its_record(model, sae, tmp_path, cache):  # noqa: F811
    expected_BC, (codes_CF, kept_CF) = slowly(model, sae, 3, 6)
    spending = parse("k=3")
    with recording(tmp_path / "record", model, sae, spending) as record, frugal(model, sae, spending, record):
        found_BC = model.generate_tokens(ids(model), max_new_tokens=6, cache=cache)
    assert torch.equal(found_BC, expected_BC[:, ids(model).shape[1] :])
    rows = duckdb.sql(f"SELECT * FROM '{tmp_path}/record/fired/*.parquet'").fetchnumpy()
    assert all((read_record(tmp_path / "record")[name] == column).all() for name, column in rows.items())
    place_N, latent_N = codes_CF.nonzero(as_tuple=True)
    order = np.lexsort((rows["feature"], rows["position"]))
    assert rows["position"][order].tolist() == place_N.tolist()
    assert rows["feature"][order].tolist() == latent_N.tolist()
    assert rows["activation"][order] == pytest.approx(codes_CF[place_N, latent_N].detach().numpy(), rel=1e-3, abs=1e-5)
    assert rows["spent"][order].tolist() == (kept_CF[place_N, latent_N] != 0).tolist()
    assert rows["token"][order].tolist() == expected_BC[0, place_N].tolist()
    assert set(rows["context"].tolist()) == {0}
    manifest = open_artifact(tmp_path / "record", "record").manifest
    assert (manifest["contexts"], manifest["firings"], manifest["spent"]) == (
        1,
        len(place_N),
        int((kept_CF != 0).sum()),
    )
    assert all(checked.whole for checked in verify([tmp_path / "record"]))


def test_texts_are_numbered_in_their_order(model, sae, tmp_path):  # noqa: F811
    batch_BC = torch.cat([ids(model), ids(model)])
    with recording(tmp_path / "record", model, sae, parse("all")) as record, frugal(model, sae, parse("all"), record):
        model.logits(batch_BC)
        model.logits(ids(model, "We all know")[:, :1])
        model.generate_tokens(ids(model), max_new_tokens=3, cache=False)
        model.generate_tokens(ids(model), max_new_tokens=3)
    contexts = duckdb.sql(
        f"SELECT context, max(position) FROM '{tmp_path}/record/fired/*.parquet' GROUP BY ALL"
    ).fetchall()
    length = batch_BC.shape[1]
    read = {0: length - 1, 1: length - 1, 3: length + 1, 4: length + 1}
    assert {context: last for context, last in contexts if context != 2} == read
    assert record.contexts == 5


@torch.no_grad()
def test_all_features_are_the_reconstruction(model, sae):  # noqa: F811
    tokens_BC = ids(model)
    with frugal(model, sae, parse("all")):
        found = model.logits(tokens_BC)
    with model.splice({AT: lambda x_BCD: few(model, sae, x_BCD[0], tokens_BC[0], sae.num_latents)[0][None]}):
        expected = model.logits(tokens_BC)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_prefix_alone_is_encoded(model, sae, tmp_path):  # noqa: F811
    """With a record everything is encoded, without one the prefix: the same text."""
    spending = parse("prefix=40")
    with frugal(model, sae, spending):
        quick = model.logits(ids(model))
    with recording(tmp_path / "record", model, sae, spending) as record, frugal(model, sae, spending, record):
        whole = model.logits(ids(model))
    torch.testing.assert_close(quick, whole, rtol=1e-4, atol=1e-4)
    assert 0 < record.spent < record.firings


def test_what_can_not_be(model, sae, tmp_path):  # noqa: F811
    with frugal(model, sae, parse("budget=2")):
        model.logits(ids(model))
        with pytest.raises(InputError, match="whose end is not there while it is generated; give a threshold"):
            model.generate_tokens(ids(model), max_new_tokens=2)
    both = saes.create(saes.relu_l1.Config(expansion=2), Batch.same(torch.randn(64, 48)))
    both.reads = both.writes = (AT, HookPoint.parse("resid_post.0"))
    with pytest.raises(InputError, match="give a dictionary of one place"), frugal(model, both, parse("k=2")):
        pass
    with pytest.raises(RuntimeError), recording(tmp_path / "record", model, sae, parse("k=2")):
        raise RuntimeError
    assert not (tmp_path / "record").exists()
