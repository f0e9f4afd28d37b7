"""SparseCodes. Oracle: the dense matrix."""

from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from lexiscope.core.codes import SparseCodes


@st.composite
def dense(draw: st.DrawFn) -> Tensor:
    shape = draw(st.integers(1, 6)), draw(st.integers(1, 8))
    values = draw(
        st.lists(
            st.sampled_from([0.0, 0.0, 1.0, -2.5, 0.25]), min_size=shape[0] * shape[1], max_size=shape[0] * shape[1]
        )
    )
    return torch.tensor(values).view(shape)


@given(dense())
def test_dense_round_trip(codes_TF: Tensor) -> None:
    codes = SparseCodes.from_dense(codes_TF)
    assert torch.equal(codes.dense(), codes_TF)
    assert codes.counts().tolist() == (codes_TF != 0).sum(1).tolist()
    assert codes.firings().tolist() == (codes_TF != 0).sum(0).tolist()
    assert len(codes) == int((codes_TF != 0).sum())


@given(dense(), st.integers(1, 8))
def test_topk_drops_zeros_only(codes_TF: Tensor, k: int) -> None:
    values, latents = codes_TF.relu().topk(min(k, codes_TF.shape[1]), dim=1)
    expected = torch.zeros_like(codes_TF).scatter(1, latents, values)
    assert torch.equal(SparseCodes.from_topk(values, latents, codes_TF.shape[1]).dense(), expected)


@given(dense(), st.data())
def test_concat_is_stacking(codes_TF: Tensor, data: st.DataObject) -> None:
    cut = data.draw(st.integers(0, len(codes_TF)))
    parts = [SparseCodes.from_dense(part) for part in (codes_TF[:cut], codes_TF[cut:])]
    assert torch.equal(SparseCodes.concat(parts).dense(), codes_TF)


@given(dense(), st.data())
def test_rows(codes_TF: Tensor, data: st.DataObject) -> None:
    token = data.draw(st.integers(0, len(codes_TF) - 1))
    latents, values = SparseCodes.from_dense(codes_TF).row(token)
    assert {int(latent): float(value) for latent, value in zip(latents, values, strict=True)} == {
        latent: float(value) for latent, value in enumerate(codes_TF[token]) if value
    }


def test_fired_leaves_out_entries_of_value_zero():
    """Oracle: the dense matrix is the same, and no entry of it is zero."""
    codes = SparseCodes(torch.tensor([0, 2, 2, 3]), torch.tensor([1, 0, 2]), torch.tensor([0.0, 2.0, 3.0]), 4)
    fired = codes.fired()
    assert torch.equal(fired.dense(), codes.dense())
    assert (fired.values != 0).all()
    assert fired.offsets.tolist() == [0, 1, 1, 2]


@given(dense(), st.integers(0, 2**16))
def test_keep_chooses_entries_and_passes_gradients(codes_TF: Tensor, seed: int) -> None:
    """Oracle: the same entries of the dense matrix set to zero."""
    codes = SparseCodes.from_dense(codes_TF.clone().requires_grad_())
    keep_N = torch.rand(len(codes), generator=torch.Generator().manual_seed(seed)) < 0.5
    kept = codes.keep(keep_N)
    mask_TF = torch.zeros_like(codes_TF, dtype=torch.bool)
    mask_TF[codes.tokens()[keep_N], codes.latents[keep_N]] = True
    assert torch.equal(kept.dense(), codes_TF * mask_TF)
    assert len(kept) == int(keep_N.sum())
    assert kept.values.requires_grad
