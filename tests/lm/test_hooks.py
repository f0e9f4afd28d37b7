"""Reading stops early and copies; replacing reaches every place and nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn

from lexiscope.core.errors import InputError
from lexiscope.core.hookpoint import HookPoint
from lexiscope.lm.hooks import Site, capture
from lexiscope.lm.model import LanguageModel

Tiny = Callable[[str], LanguageModel]


def hooks_of(*names: str) -> list[HookPoint]:
    return [HookPoint.parse(name) for name in names]


def calls_of(modules: list[nn.Module]) -> tuple[list[int], list[object]]:
    """Numbers of the modules that ran, in order, and the handles to take the counters off."""
    ran: list[int] = []
    handles = [
        module.register_forward_pre_hook(lambda *_, number=number: ran.append(number))
        for number, module in enumerate(modules)
    ]
    return ran, handles


def num_hooks(model: LanguageModel) -> int:
    return sum(len(part._forward_hooks) + len(part._forward_pre_hooks) for part in model.module.modules())


def test_reading_stops_after_the_last_hook_and_gives_the_same_values(
    every_model: LanguageModel, tokens_BC: Tensor
) -> None:
    """Oracle: the same hooks read in a pass that runs to the end, for the logits are read with them."""
    head = next(
        name for name, part in every_model.module.named_modules() if part is every_model.module.get_output_embeddings()
    )
    early, late = hooks_of("resid_pre.1", "resid_post.1"), hooks_of(f"module:{head}")
    ran, handles = calls_of(every_model._anatomy.blocks)
    try:
        stopped = every_model.read(tokens_BC, early)
        assert ran == [0, 1]
        whole = every_model.read(tokens_BC, [*early, *late])
        assert ran == [0, 1, 0, 1, 2]
        every_model.read(tokens_BC, hooks_of("embed"))
        assert ran == [0, 1, 0, 1, 2, 0]
    finally:
        for handle in handles:
            handle.remove()
    assert all(torch.equal(stopped[hook], whole[hook]) for hook in early)


def test_identity_at_every_hook_point_changes_no_bit(every_model: LanguageModel, tokens_BC: Tensor) -> None:
    plain = every_model.logits(tokens_BC)
    with every_model.splice(dict.fromkeys(every_model.hook_points(), torch.clone)):
        assert torch.equal(every_model.logits(tokens_BC), plain)
    with every_model.splice(dict.fromkeys(every_model.hook_points(), lambda x_BCD: x_BCD)):
        assert torch.equal(every_model.logits(tokens_BC), plain)
    assert torch.equal(every_model.logits(tokens_BC), plain)


def test_no_hook_stays_behind(tiny: Tiny, tokens_BC: Tensor) -> None:
    model = tiny("llama")
    hook = HookPoint.parse("resid_post.1")
    before = num_hooks(model)
    model.read(tokens_BC, [hook])
    with pytest.raises(InputError), model.splice({hook: lambda x_BCD: x_BCD[:, :1]}):
        model.logits(tokens_BC)
    with (
        pytest.raises(InputError, match="layers 0 to 2"),
        model.splice({hook: torch.clone, HookPoint("mlp_in", 9): abs}),
    ):
        pass
    assert num_hooks(model) == before


def test_nothing_added_leaves_the_embedding(known_model: LanguageModel, tokens_BC: Tensor) -> None:
    """Oracle: with every attention and MLP writing zeros, a residual stream ends as it began."""
    if not getattr(known_model.module.config, "do_layer_norm_before", True):
        pytest.skip("this size of OPT normalises the residual stream itself")
    writers = [hook for hook in known_model.hook_points() if hook.site in ("attn_out", "mlp_out")]
    first, last = hooks_of("embed", f"resid_post.{known_model.num_layers - 1}")
    with known_model.splice(dict.fromkeys(writers, torch.zeros_like)):
        found = known_model.read(tokens_BC, [first, last])
    assert torch.equal(found[first], found[last])


def test_zeros_after_the_last_block_leave_the_biases(every_model: LanguageModel, tokens_BC: Tensor) -> None:
    """Oracle: the final norm, projection and unembedding run by themselves on zeros."""
    norm, projection = every_model._anatomy.final_maps()
    expected = torch.zeros(*tokens_BC.shape, every_model.width)
    for part in (norm, projection, every_model.module.get_output_embeddings()):
        expected = part(expected) if part is not None else expected
    cap = getattr(every_model.module.config, "final_logit_softcapping", None)
    expected = expected if cap is None else cap * torch.tanh(expected / cap)
    with every_model.splice({HookPoint("resid_post", every_model.num_layers - 1): torch.zeros_like}):
        assert torch.allclose(every_model.logits(tokens_BC), expected, atol=1e-6)


def test_replacing_the_embedding_replaces_the_text(every_model: LanguageModel, tokens_BC: Tensor) -> None:
    """Oracle: two contexts of one length whose embeddings are swapped give each other's logits."""
    plain = every_model.logits(tokens_BC)
    with every_model.splice({HookPoint("embed"): lambda x_BCD: x_BCD.flip(0)}):
        assert torch.allclose(every_model.logits(tokens_BC), plain.flip(0), atol=1e-5)


def test_replacing_mlp_in_reaches_the_mlp_alone(known_model: LanguageModel, tokens_BC: Tensor) -> None:
    """Oracle: an MLP (and what normalises its output) shown zeros, while attention of that block is as before."""
    attention, mlp, inside = hooks_of("attn_out.1", "mlp_out.1", "mlp_in.1")
    plain = known_model.read(tokens_BC, [attention])
    with known_model.splice({inside: torch.zeros_like}):
        found = known_model.read(tokens_BC, [attention, mlp, inside])
    assert torch.equal(found[attention], plain[attention])
    assert not found[inside].any()
    assert torch.allclose(found[mlp], found[mlp][:1, :1].expand_as(found[mlp]), atol=1e-6)


def test_replacing_a_module(tiny: Tiny, tokens_BC: Tensor) -> None:
    """Oracle: Llama's self-attention, which gives a tuple, is the same place as attn_out."""
    model = tiny("llama")
    by_name, by_path = hooks_of("attn_out.1", "module:model.layers.1.self_attn")
    with model.splice({by_name: lambda x_BCD: 2 * x_BCD}):
        expected = model.logits(tokens_BC)
    with model.splice({by_path: lambda x_BCD: 2 * x_BCD}):
        assert torch.equal(model.logits(tokens_BC), expected)
        assert torch.equal(model.module(tokens_BC).logits, expected)


def test_what_is_read_is_a_copy() -> None:
    """Oracle: a module that adds to its input in place after it was read."""

    class InPlace(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first = nn.Identity()

        def forward(self, x_BCD: Tensor) -> Tensor:
            return self.first(x_BCD).add_(1)

    root, x_BCD = InPlace(), torch.zeros(1, 2, 3)
    here, end = hooks_of("module:first", "module:end")
    sites = {here: Site("first", root.first, "output"), end: Site("end", root, "output")}
    found = capture(root, sites, lambda: root(x_BCD))
    assert found[here].eq(0).all()
    assert found[end].eq(1).all()


def test_a_module_that_runs_twice_is_read_the_first_time() -> None:
    twice = nn.Linear(3, 3)
    (here, end) = hooks_of("module:0", "module:end")
    root, x_BCD = nn.Sequential(twice, twice), torch.ones(1, 2, 3)
    sites = {here: Site("0", twice, "output"), end: Site("end", root, "output")}
    found = capture(root, sites, lambda: root(x_BCD))
    assert torch.equal(found[here], twice(x_BCD))
    assert torch.equal(found[end], twice(twice(x_BCD)))


def test_impossible_places_say_why(tiny: Tiny, tokens_BC: Tensor) -> None:
    model = tiny("llama")
    for name, message in {
        "resid_post.3": "layers 0 to 2",
        "module:model.layers.0.nope": "near it are model.layers.0.self_attn",
        "module:model": "not a tensor",
        "module:model.rotary_emb": "not one activation per context and token",
        "module:model.layers": "did not run",
    }.items():
        with pytest.raises(InputError, match=message):
            model.read(tokens_BC, hooks_of(name))


def test_gradient_flows_to_what_a_splice_brings_in(every_model: LanguageModel, tokens_BC: Tensor) -> None:
    """Oracle: a finite difference of one logit along a random direction."""
    here = HookPoint("resid_post", 0)
    x_BCD = every_model.read(tokens_BC, [here])[here]
    assert not x_BCD.requires_grad
    leaf = x_BCD.clone().requires_grad_()
    with every_model.splice({here: lambda _: leaf}):
        every_model.logits(tokens_BC, grad=True)[1, -1, 7].backward()
    assert all(parameter.grad is None for parameter in every_model.module.parameters())
    direction = torch.nn.functional.normalize(
        torch.randn(x_BCD.shape, generator=torch.Generator().manual_seed(0)).flatten(), dim=0
    ).view_as(x_BCD)
    ends = []
    for sign in (1, -1):
        with every_model.splice({here: lambda x, sign=sign: x + sign * 1e-2 * direction}):
            ends.append(every_model.logits(tokens_BC)[1, -1, 7])
    slope = (ends[0] - ends[1]) / 2e-2
    assert torch.allclose((leaf.grad * direction).sum(), slope, atol=2e-2, rtol=2e-2)


def test_threads_take_turns(tiny: Tiny) -> None:
    """Oracle: each thread's own text read alone."""
    model, hook = tiny("llama"), HookPoint("resid_post", 1)
    texts = [torch.full((1, 5 + number), 3 + number) for number in range(4)]
    alone = [model.read(text, [hook])[hook] for text in texts]
    right: list[bool] = []

    def work(number: int) -> None:
        right.extend(torch.equal(model.read(texts[number], [hook])[hook], alone[number]) for _ in range(10))

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert right == [True] * 40
