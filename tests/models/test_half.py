"""Models in float16: the gradients are those of float32, and padding makes none of them NaN."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinybert as tb

SIZES = {"vocab_size": 61, "hidden_size": 32, "num_hidden_layers": 2, "intermediate_size": 64}
HEADS = {**SIZES, "num_attention_heads": 4, "max_position_embeddings": 128}
MEGA = {
    **SIZES, "ema_projection_size": 4, "shared_representation_size": 16,
    "nffn_hidden_size": 48, "max_positions": 128,
}  # fmt: skip
MODELS: dict[str, Any] = {
    "bert": lambda: tb.BertForMaskedLM(tb.BertConfig(**HEADS)),
    "megatron_bert": lambda: tb.MegatronBertForMaskedLM(tb.MegatronBertConfig(**HEADS)),
    "nemotron": lambda: tb.NemotronForCausalLM(
        tb.NemotronConfig(**HEADS, num_key_value_heads=2, pad_token_id=0)
    ),
    **{
        f"mega, {norm}, {attention}": lambda norm=norm, attention=attention: tb.MegaForMaskedLM(
            tb.MegaConfig(**MEGA, normalization_type=norm, attention_activation=attention)
        )
        for norm in ("scalenorm", "layernorm", "rmsnorm", "batchnorm")
        for attention in ("softmax", "laplace", "relu2")
    },
}


def gradients(model: Any, ids: np.ndarray, mask: np.ndarray) -> dict[str, np.ndarray]:
    """The gradients of all parameters; the loss is scaled up, as is usual in float16."""
    model.zero_grad()
    labels = np.where(mask, ids, -100)
    (model(ids, attention_mask=mask, labels=labels).loss * 256).backward()
    named = model.named_parameters()
    return {n: p.grad.numpy().astype(np.float64) for n, p in named if p.grad is not None}


@pytest.mark.parametrize("name", MODELS)
def test_a_padded_batch(name: str) -> None:
    model = MODELS[name]().eval().half()
    pad = model.config.pad_token_id
    mask = np.arange(64) < np.array([[64], [40], [7], [64], [1], [64], [33], [50]])
    ids = np.where(mask, np.random.default_rng(0).integers(2, 61, mask.shape), pad)
    found = gradients(model, ids, mask.astype(np.int64))
    expected = gradients(model.float(), ids, mask.astype(np.int64))
    assert found.keys() == expected.keys()
    for key, want in expected.items():
        assert np.isfinite(found[key]).all(), key
        # The gradients of a fresh MEGA are of the size of float16's smallest numbers, and that
        # of a key's bias is 0.
        if name.startswith("mega") or key.endswith("key.bias"):
            continue
        off = np.sqrt(((found[key] - want) ** 2).mean() / (want**2).mean())
        assert off < 0.02, f"{key}: {off:.2g}"
