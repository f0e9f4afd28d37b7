"""Where the parts of each model family are: one row per family.

To add a family, add a row. ``tests/lm/test_families.py`` then checks it on a tiny model with random weights: against
`output_hidden_states`, and that every block's output is its input plus attention plus MLP.

No row says where the embedding is: ``embed`` is read where it enters block 0, so a scale (Gemma), learned positions
(GPT-2, OPT) and a projection (OPT) are in it whatever the family. The unembedding is what the model itself names as
its output embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Family:
    """Dotted paths of one family's parts. The defaults are Llama's, which most families follow.

    Paths named ``blocks``, ``final_norm`` and ``final_projection`` start at the causal LM; the others start at a block.
    """

    name: str
    model_types: tuple[str, ...]
    """``model_type`` of every ``config.json`` that this row describes."""
    blocks: str = "model.layers"
    attn_out: str = "self_attn"
    """Its output is what attention adds to the residual stream."""
    mlp_in: str = "mlp"
    """Its input is what the MLP reads."""
    mlp_out: str = "mlp"
    """Its output is what the MLP adds to the residual stream."""
    final_norm: str | None = "model.norm"
    final_projection: str | None = None
    """Linear map between the final norm and the unembedding, in models that have one."""


FAMILIES = (
    Family("GPT-2", ("gpt2",), blocks="transformer.h", attn_out="attn", final_norm="transformer.ln_f"),
    # Attention and MLP read the same residual stream side by side (unless use_parallel_residual is false).
    Family(
        "GPT-NeoX",
        ("gpt_neox",),
        blocks="gpt_neox.layers",
        attn_out="attention",
        final_norm="gpt_neox.final_layer_norm",
    ),
    Family("Llama", ("llama",)),
    Family("Mistral", ("mistral",)),
    Family("Qwen 2", ("qwen2",)),
    Family("Qwen 3", ("qwen3",)),
    Family("Gemma", ("gemma",)),
    # Gemma 2 and 3 normalise what attention and MLP give before adding it: what is added leaves the post-norms.
    Family(
        "Gemma 2",
        ("gemma2",),
        attn_out="post_attention_layernorm",
        mlp_out="post_feedforward_layernorm",
    ),
    Family(
        "Gemma 3",
        ("gemma3_text",),
        attn_out="post_attention_layernorm",
        mlp_out="post_feedforward_layernorm",
    ),
    Family(
        "Gemma 3 with vision",
        ("gemma3",),
        blocks="model.language_model.layers",
        attn_out="post_attention_layernorm",
        mlp_out="post_feedforward_layernorm",
        final_norm="model.language_model.norm",
    ),
    # Attention and MLP read one norm's output side by side.
    Family("Phi", ("phi",), final_norm="model.final_layernorm"),
    Family("Phi 3", ("phi3",)),
    # Two bare linear maps are the MLP. OPT-350m has no final norm, a projection instead, and normalises the residual
    # stream itself after each addition, so that a block's output is not the plain sum there.
    Family(
        "OPT",
        ("opt",),
        blocks="model.decoder.layers",
        mlp_in="fc1",
        mlp_out="fc2",
        final_norm="model.decoder.final_layer_norm",
        final_projection="model.decoder.project_out",
    ),
)


def family_of(model_type: str) -> Family | None:
    """The row for a ``model_type``, or None where no row describes it."""
    return next((family for family in FAMILIES if model_type in family.model_types), None)
