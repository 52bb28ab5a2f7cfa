"""Conversion of NeMo's `model_config.yaml` to the options of a `config.json`, for Nemotron."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from tinybert.checks import check, check_integer

# NeMo's name of an option -> Hugging Face's.
SIZES = {
    "num_layers": "num_hidden_layers",
    "hidden_size": "hidden_size",
    "ffn_hidden_size": "intermediate_size",
    "num_attention_heads": "num_attention_heads",
    "num_query_groups": "num_key_value_heads",
    "max_position_embeddings": "max_position_embeddings",
    "kv_channels": "kv_channels",
}
NUMBERS = {
    "rotary_percentage": "partial_rotary_factor",
    "rotary_base": "rope_theta",
    "layernorm_epsilon": "norm_eps",
    "init_method_std": "initializer_range",
    "attention_dropout": "attention_dropout",
}
SHARES = ("rotary_percentage", "attention_dropout")  # from 0 to 1
NEEDED = ("num_layers", "hidden_size", "ffn_hidden_size", "num_attention_heads")
# The values that a Nemotron must have; a missing option is taken to have them.
ALWAYS = {
    "activation": "squared-relu",
    "normalization": "layernorm1p",
    "position_embedding_type": "rope",
    "transformer_block_type": "pre_ln",
    "seq_len_interpolation_factor": 1,
}


def nemo_config(options: Mapping[str, Any], vocab_size: int) -> dict[str, Any]:
    """Return the options of a NemotronConfig for those of a NeMo `model_config.yaml`, as a dict.

    `vocab_size` is the number of rows of the embedding, which NeMo does not store. Raises
    ValueError, naming the option, for one that is missing, has a wrong type (such as a
    `${reference}` to another option), or does not describe a Nemotron.
    """
    given = {name: value for name, value in options.items() if value is not None}
    if missing := [name for name in NEEDED if name not in given]:
        raise ValueError(f"the NeMo config lacks {', '.join(missing)}")
    for name, value in ALWAYS.items():
        if given.get(name, value) != value:
            raise ValueError(f"{name} must be {value!r} for a Nemotron, got {given[name]!r:.80}")
    if "max_position_embeddings" not in given:
        given["max_position_embeddings"] = given.get("encoder_seq_length", 4096)
    found: dict[str, Any] = {"partial_rotary_factor": 1.0}
    found |= {ours: _size(name, given[name]) for name, ours in SIZES.items() if name in given}
    found |= {ours: _number(name, given[name]) for name, ours in NUMBERS.items() if name in given}
    bias = _truth("bias", given.get("bias", False))
    tied = "share_embeddings_and_output_weights"
    # Written explicitly, so readers do not need to know the defaults.
    found.setdefault("num_key_value_heads", found["num_attention_heads"])
    found["head_dim"] = found.get("kv_channels") or _head_size(found)
    _check_heads(found)
    return {
        "model_type": "nemotron",
        "vocab_size": vocab_size,
        "hidden_act": "relu2",
        "attention_bias": bias,
        "mlp_bias": bias,
        "tie_word_embeddings": _truth(tied, given.get(tied, False)),
        **found,
    }


def _size(name: str, value: Any) -> int:
    check_integer(name, value, 1)
    return value


def _number(name: str, value: Any) -> float:
    """Return a number >= 0, a share <= 1; YAML reads 1e-5, without a point, as a str."""
    try:
        number = float(value) if type(value) in (int, float, str) else math.nan
    except (ValueError, OverflowError):
        number = math.nan
    most, allowed = (1, "a number from 0 to 1") if name in SHARES else (math.inf, "a number >= 0")
    check(name, value, 0 <= number <= most and number < math.inf, allowed)
    return number


def _truth(name: str, value: Any) -> bool:
    check(name, value, type(value) is bool, "true or false")
    return value


def _head_size(found: Mapping[str, Any]) -> int:
    hidden, heads = found["hidden_size"], found["num_attention_heads"]
    if hidden % heads:
        raise ValueError(
            f"num_attention_heads {heads} does not divide hidden_size {hidden}: kv_channels, the "
            "size of a head, must be given"
        )
    return hidden // heads


def _check_heads(found: Mapping[str, Any]) -> None:
    heads, groups = found["num_attention_heads"], found["num_key_value_heads"]
    if heads % groups:
        raise ValueError(
            f"num_attention_heads {heads} must be a multiple of num_query_groups {groups}"
        )
    size, factor = found["head_dim"], found["partial_rotary_factor"]
    rotated = int(size * factor)
    if rotated % 2 or (factor and not rotated):
        raise ValueError(
            f"rotary_percentage {factor} of kv_channels {size} rotates {rotated} features of a "
            "head; it must be an even number"
        )
