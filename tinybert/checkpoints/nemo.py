"""From NeMo's names to those of Hugging Face, for Nemotron: the weights of a Megatron-core decoder
and the options that belong to them.

NeMo keeps queries, keys and values of a layer in one matrix, group by group; here they are taken
apart. The weights of norms are copied as they are: both sides scale by weight + 1.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

# NeMo's name of an option, and Hugging Face's.
OPTIONS = {
    "num_layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "ffn_hidden_size": "intermediate_size",
    "num_attention_heads": "num_attention_heads",
    "num_query_groups": "num_key_value_heads",
    "max_position_embeddings": "max_position_embeddings",
    "rotary_percentage": "partial_rotary_factor",
    "rotary_base": "rope_theta",
    "layernorm_epsilon": "norm_eps",
    "init_method_std": "initializer_range",
    "kv_channels": "kv_channels",
    "share_embeddings_and_output_weights": "tie_word_embeddings",
    "attention_dropout": "attention_dropout",
}
ACTIVATIONS = {"squared-relu": "relu2", "fast-swiglu": "silu"}

NAMES = {
    "embedding.word_embeddings.weight": "model.embed_tokens.weight",
    "decoder.final_layernorm.weight": "model.norm.weight",
    "decoder.final_layernorm.bias": "model.norm.bias",
    "output_layer.weight": "lm_head.weight",
}
# Of a layer; {0} is "weight" or "bias".
LAYER_NAMES = {
    "self_attention.linear_proj.{0}": "self_attn.o_proj.{0}",
    "self_attention.linear_qkv.layer_norm_{0}": "input_layernorm.{0}",
    "mlp.linear_fc1.layer_norm_{0}": "post_attention_layernorm.{0}",
    "mlp.linear_fc1.{0}": "mlp.up_proj.{0}",
    "mlp.linear_fc2.{0}": "mlp.down_proj.{0}",
}
OF_A_LAYER = {
    theirs.format(kind): ours.format(kind)
    for theirs, ours in LAYER_NAMES.items()
    for kind in ("weight", "bias")
}
QKV = "self_attention.linear_qkv."
IGNORED = ("_extra_state", "inv_freq")  # states of kernels, and angles that are computed


def nemo_config(options: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    """The options of a NemotronConfig for those of a NeMo `model_config.yaml`, as a dict.

    `vocab_size` is the number of rows of the embedding, which NeMo does not write down. Raises
    ValueError for an option that is missing or an activation that Nemotron does not have.
    """
    missing = [
        name
        for name in ("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads")
        if options.get(name) is None
    ]
    if missing:
        raise ValueError(f"the NeMo config lacks {', '.join(missing)}")
    found = {
        ours: options[theirs] for theirs, ours in OPTIONS.items() if options.get(theirs) is not None
    }
    found.setdefault("max_position_embeddings", options.get("encoder_seq_length") or 4096)
    found.setdefault("partial_rotary_factor", 1.0)
    found.setdefault("tie_word_embeddings", False)
    activation = options.get("activation", "squared-relu")
    if activation not in ACTIVATIONS:
        raise ValueError(f"activation must be one of {sorted(ACTIVATIONS)}, got {activation!r}")
    if "kv_channels" in found:
        found["head_dim"] = found["kv_channels"]  # the only name of the size of a head that counts
    bias = bool(options.get("bias", False))
    return {
        "model_type": "nemotron",
        "vocab_size": vocab_size,
        "hidden_act": ACTIVATIONS[activation],
        "attention_bias": bias,
        "mlp_bias": bias,
        **found,
    }


def nemo_to_hugging_face(
    arrays: Mapping[str, np.ndarray], num_attention_heads: int, num_key_value_heads: int
) -> dict[str, np.ndarray]:
    """The weights of a NeMo Nemotron under the names of NemotronForCausalLM.

    Args:
        arrays: by NeMo's names, with or without "model." in front; a lazy reader will do.
        num_attention_heads, num_key_value_heads: H and G.

    Raises ValueError for names that a Nemotron does not have, and for rows that do not fit H and G.
    """
    found: dict[str, np.ndarray] = {}
    unknown = []
    for name in arrays:
        key = name.removeprefix("model.")
        if key.endswith(IGNORED):
            continue
        match = re.fullmatch(r"decoder\.layers\.(\d+)\.(.+)", key)
        if key in NAMES:
            found[NAMES[key]] = arrays[name]
        elif match and match[2] in OF_A_LAYER:
            found[f"model.layers.{match[1]}.{OF_A_LAYER[match[2]]}"] = arrays[name]
        elif match and match[2] in (QKV + "weight", QKV + "bias"):
            kind = match[2].removeprefix(QKV)
            parts = _apart(name, arrays[name], num_attention_heads, num_key_value_heads)
            for letter, part in zip("qkv", parts, strict=True):
                found[f"model.layers.{match[1]}.self_attn.{letter}_proj.{kind}"] = part
        else:
            unknown.append(name)
    if unknown:
        raise ValueError(
            f"{len(unknown)} names are not those of a NeMo Nemotron, the first is {unknown[0]!r}"
        )
    return found


def _apart(name: str, joined: np.ndarray, heads: int, groups: int) -> Iterator[np.ndarray]:
    """Queries (H K, ...), keys and values (G K, ...) out of rows ((H + 2 G) K, ...).

    Each of the G groups has its H / G heads of queries, then one of keys, then one of values.
    """
    if groups < 1 or heads % groups or joined.shape[0] % (heads + 2 * groups):
        raise ValueError(
            f"{name} has {joined.shape[0]} rows, which {heads} heads of queries and {groups} of "
            "keys and values do not divide into"
        )
    share, rest = heads // groups, joined.shape[1:]
    blocks = joined.reshape(groups, share + 2, joined.shape[0] // (heads + 2 * groups), *rest)
    for part in (blocks[:, :share], blocks[:, share], blocks[:, share + 1]):
        yield part.reshape(-1, *rest)
