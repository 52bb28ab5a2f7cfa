"""The arguments of Megatron-LM that change what a BERT computes, but not the shape of a tensor.

Source: https://github.com/NVIDIA/Megatron-LM, ``megatron/arguments.py`` and ``megatron/model``.
transformers' converter ignores them. One difference is not expressed: with ``bias_gelu_fusion``
Megatron-LM's layers use the tanh approximation of GELU, and its head the exact function; the
configuration has one activation, and, as in transformers, it is the exact one.
"""

from collections.abc import Mapping
from typing import Any

from tinybert.checks import is_number

# Megatron-LM's name of a number -> Hugging Face's, and the largest value.
NUMBERS = {
    "layernorm_epsilon": ("layer_norm_eps", 1.0),
    "init_method_std": ("initializer_range", 1e3),
    "hidden_dropout": ("hidden_dropout_prob", 1.0),
    "attention_dropout": ("attention_probs_dropout_prob", 1.0),
}
# The values that MegatronBERT has; a missing argument is taken to have them.
ALWAYS: dict[str, tuple[Any, ...]] = {
    "apply_residual_connection_post_layernorm": (False,),
    "apply_layernorm_1p": (False,),
    "normalization": ("LayerNorm",),
    "position_embedding_type": ("learned_absolute",),
    "use_rotary_position_embeddings": (False,),
    "swiglu": (False,),
    "num_experts": (None,),
    "untie_embeddings_and_output_weights": (False,),
}


def options_of(args: Mapping[str, Any], has_lm_head: bool) -> dict[str, Any]:
    """Return the options of a MegatronBertConfig that the arguments determine.

    Raises ValueError, naming the argument, for a value that MegatronBERT does not have.
    """
    for name, allowed in ALWAYS.items():
        if name in args and args[name] not in allowed:
            raise ValueError(
                f"was trained with {name}={args[name]!r:.40}, which MegatronBERT does not have "
                f"(only {allowed[0]!r})"
            )
    found: dict[str, Any] = {}
    for name, (ours, most) in NUMBERS.items():
        value = args.get(name)
        if value is not None:
            if not is_number(value) or not 0 <= value <= most:
                raise ValueError(f"its argument {name} must be from 0 to {most}, got {value!r:.40}")
            found[ours] = value
    if args.get("openai_gelu"):
        found["hidden_act"] = "gelu_new"
    elif args.get("squared_relu") and not args.get("onnx_safe"):
        if has_lm_head:
            raise ValueError(
                "was trained with squared_relu, but its language model head uses GELU: "
                "MegatronBERT has one activation for both"
            )
        found["hidden_act"] = "relu2"
    return found
