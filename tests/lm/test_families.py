"""Every row of the table: against transformers' own account of the residual stream, and the arithmetic of a block."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.lm.families import FAMILIES
from lexiscope.lm.model import LanguageModel


def read(model: LanguageModel, tokens_BC: Tensor, *names: str) -> list[Tensor]:
    hooks = [HookPoint.parse(name) for name in names]
    found = model.read(tokens_BC, hooks)
    return [found[hook] for hook in hooks]


def normalises_after_adding(model: LanguageModel) -> bool:
    return not getattr(model.module.config, "do_layer_norm_before", True)


def test_every_row_is_tried_on_a_model(model_types: set[str]) -> None:
    assert {model_type for family in FAMILIES for model_type in family.model_types} <= model_types


def test_residual_stream_is_what_transformers_calls_hidden_states(
    every_model: LanguageModel, tokens_BC: Tensor
) -> None:
    """Oracle: `output_hidden_states`, whose last entry transformers gives after the final norm."""
    if every_model.module.config.model_type == "mamba":
        pytest.skip("transformers leaves what enters block 0 out of Mamba's hidden states")
    with torch.no_grad():
        states = every_model.module(tokens_BC, output_hidden_states=True, use_cache=False).hidden_states
    layers = range(every_model.num_layers)
    before = read(every_model, tokens_BC, *(f"resid_pre.{layer}" for layer in layers))
    after = read(every_model, tokens_BC, *(f"resid_post.{layer}" for layer in layers))
    (embed,) = read(every_model, tokens_BC, "embed")
    assert torch.equal(embed, states[0])
    for layer in layers:
        assert torch.equal(before[layer], states[layer])
    for layer in layers[:-1]:
        assert torch.equal(after[layer], states[layer + 1])
    norm, projection = every_model._anatomy.final_maps()
    final = after[-1]
    for part in (norm, projection):
        final = part(final) if part is not None else final
    assert torch.allclose(final, states[-1], atol=1e-6)


def test_a_block_adds_its_attention_and_its_mlp(known_model: LanguageModel, tokens_BC: Tensor) -> None:
    """Oracle: the definition of a residual block, resid_post = resid_pre + attn_out + mlp_out."""
    if normalises_after_adding(known_model):
        pytest.skip("this size of OPT normalises the residual stream itself, so its blocks are not plain sums")
    for layer in range(known_model.num_layers):
        parts = ("resid_pre", "attn_out", "mlp_out", "resid_post")
        before, attention, mlp, after = read(known_model, tokens_BC, *(f"{part}.{layer}" for part in parts))
        assert torch.allclose(before + attention + mlp, after, atol=1e-5)
        assert attention.norm() > 0.01
        assert mlp.norm() > 0.01


def test_mlp_in_is_what_the_mlp_reads(known_model: LanguageModel, tokens_BC: Tensor) -> None:
    """Oracle: the MLP run by itself on mlp_in gives mlp_out."""
    for layer, block in enumerate(known_model._anatomy.blocks):
        x_BCD, out_BCD = read(known_model, tokens_BC, f"mlp_in.{layer}", f"mlp_out.{layer}")
        steps = [block.mlp] if hasattr(block, "mlp") else [block.fc1, block.activation_fn, block.fc2]
        steps += [block.post_feedforward_layernorm] if hasattr(block, "post_feedforward_layernorm") else []
        assert torch.allclose(nn.Sequential(*steps)(x_BCD), out_BCD, atol=1e-6)


def test_unknown_family_has_the_residual_stream_and_modules(strange_model: LanguageModel, tokens_BC: Tensor) -> None:
    names = [str(hook) for hook in strange_model.hook_points()]
    assert names[:3] == ["embed", "resid_pre.0", "resid_post.0"]
    assert len(names) == 1 + 2 * strange_model.num_layers
    inside = next(
        name for name, part in strange_model.module.named_modules() if isinstance(part, nn.Linear) and ".1." in name
    )
    hook = HookPoint.parse(f"module:{inside}")
    width = strange_model.module.get_submodule(inside).out_features
    assert strange_model.width_at(hook) == width
    assert strange_model.read(tokens_BC, [hook])[hook].shape == (*tokens_BC.shape, width)
    with pytest.raises(InputError, match="module:"):
        strange_model.check(HookPoint.parse("attn_out.0"))


def test_neurons_write_what_the_mlp_gives(known_model: LanguageModel, tokens_BC: Tensor) -> None:
    """Oracle: the difference between two tokens' MLP outputs, put together from those of their neurons."""
    row = known_model._anatomy._row
    if "norm" in row.mlp_out:
        with pytest.raises(InputError, match="normalises"):
            known_model.neurons(1)
        return
    directions_ND = known_model.neurons(1)
    seen: list[Tensor] = []
    mlp = known_model._anatomy.blocks[1].get_submodule(row.mlp_out)
    last = [part for part in mlp.modules() if getattr(part, "weight", None) is not None and part.weight.ndim == 2][-1]
    handle = last.register_forward_pre_hook(lambda module, args: seen.append(args[0].clone()))
    (out_BCD,) = read(known_model, tokens_BC, "mlp_out.1")
    handle.remove()
    neurons_TN, out_TD = seen[0].reshape(-1, len(directions_ND)), out_BCD.reshape(-1, out_BCD.shape[-1])
    assert torch.allclose((neurons_TN[1:] - neurons_TN[:-1]) @ directions_ND, out_TD[1:] - out_TD[:-1], atol=1e-4)
    with pytest.raises(InputError, match="layers 0 to 2"):
        known_model.neurons(9)


def test_neurons_of_an_unknown_family_are_not_told(strange_model: LanguageModel) -> None:
    with pytest.raises(InputError, match="no row"):
        strange_model.neurons(0)
