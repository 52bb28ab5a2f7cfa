"""Small models of the four families for the tests of compression: float64, random weights."""

from __future__ import annotations

from typing import Any

import numpy as np

import tinybert

BERT: dict[str, Any] = {
    "vocab_size": 23, "hidden_size": 12, "num_hidden_layers": 3, "num_attention_heads": 4,
    "intermediate_size": 10, "max_position_embeddings": 17, "type_vocab_size": 2,
}  # fmt: skip
CONFIGS: dict[str, dict[str, Any]] = {
    "bert": BERT,
    "megatron-bert": BERT,
    "mega": {
        "vocab_size": 23, "hidden_size": 12, "num_hidden_layers": 3, "intermediate_size": 10,
        "ema_projection_size": 5, "shared_representation_size": 6, "nffn_hidden_size": 9,
        "max_positions": 17,
    },
    "nemotron": {
        "vocab_size": 23, "hidden_size": 14, "num_hidden_layers": 3, "num_attention_heads": 8,
        "num_key_value_heads": 4, "head_dim": 4, "intermediate_size": 10,
        "max_position_embeddings": 17, "attention_bias": True, "mlp_bias": True,
    },
}  # fmt: skip
TARGETS: dict[str, dict[str, int]] = {
    "bert": {
        "num_hidden_layers": 2, "hidden_size": 6, "num_attention_heads": 2, "intermediate_size": 7,
    },
    "mega": {
        "num_hidden_layers": 2, "hidden_size": 8, "intermediate_size": 7, "nffn_hidden_size": 5,
    },
    "nemotron": {
        "num_hidden_layers": 2, "hidden_size": 9, "num_attention_heads": 4,
        "num_key_value_heads": 2, "intermediate_size": 7,
    },
}  # fmt: skip
TARGETS["megatron-bert"] = TARGETS["bert"]
FAMILIES = tuple(CONFIGS)


def make_config(family: str, **options: Any) -> Any:
    """Return the config of a small model with some options changed."""
    return tinybert.AutoConfig.for_model(family, **{**CONFIGS[family], **options})


def make_model(family: str, seed: int = 0, kind: Any = None, **options: Any) -> Any:
    """Return a model: that of `kind`, an Auto class or a class, or a language model."""
    language = "CausalLM" if family == "nemotron" else "MaskedLM"
    kind = getattr(tinybert, f"AutoModelFor{language}") if kind is None else kind
    config = make_config(family, **options)
    make = getattr(kind, "from_config", kind)
    with tinybert.manual_seed(seed):
        model = make(config).to(np.float64).eval()
    rng = np.random.default_rng(seed)
    for parameter in model.parameters():
        parameter.data[...] += 0.3 * rng.standard_normal(parameter.shape)
    return model


def make_batches(seed: int = 0, padding: bool = True) -> list[dict[str, np.ndarray]]:
    """Return two batches of texts of different lengths, padded on the right."""
    rng = np.random.default_rng(seed)
    batches = []
    for rows, length in ((3, 7), (2, 5)):
        mask = np.ones((rows, length), np.int64)
        if padding:
            mask[0, -2:] = 0
        batches.append({"input_ids": rng.integers(5, 23, (rows, length)), "attention_mask": mask})
    return batches
