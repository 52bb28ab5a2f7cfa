"""Gradient checkpointing: the second forward pass is the first one again, whatever came between."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

import tinybert as tb

SIZES = {"vocab_size": 31, "hidden_size": 24, "num_hidden_layers": 2, "intermediate_size": 16}
HEADS = {**SIZES, "num_attention_heads": 3, "max_position_embeddings": 16}
DROPOUT = {"hidden_dropout_prob": 0.2, "attention_probs_dropout_prob": 0.2}
MODELS: dict[str, Any] = {
    "bert": lambda: tb.BertModel(tb.BertConfig(**HEADS, **DROPOUT)),
    "megatron_bert": lambda: tb.MegatronBertModel(tb.MegatronBertConfig(**HEADS, **DROPOUT)),
    "nemotron": lambda: tb.NemotronModel(
        tb.NemotronConfig(**HEADS, num_key_value_heads=3, attention_dropout=0.2)
    ),
}
IDS = np.arange(2, 14).reshape(2, 6)


def gradients(model: Any, recompute: bool, leave: str) -> dict[str, np.ndarray]:
    """The gradients after a step in training mode; `leave` is what happens before backward."""
    model.zero_grad()
    model.train()
    if recompute:
        model.gradient_checkpointing_enable()
    with tb.manual_seed(3):
        y = model(IDS, use_cache=False).last_hidden_state
        if leave:
            getattr(model, leave)()
        (y * np.linspace(-1, 1, y.size, dtype=np.float32).reshape(y.shape)).sum().backward()
    if recompute:
        model.gradient_checkpointing_disable()
    named = model.named_parameters()
    return {n: p.grad.numpy().copy() for n, p in named if p.grad is not None}


@pytest.mark.parametrize("leave", ["", "eval"])
@pytest.mark.parametrize("name", MODELS)
def test_the_mode_is_that_of_the_forward(name: str, leave: str) -> None:
    model = MODELS[name]()
    expected = gradients(model, False, leave)
    found = gradients(model, True, leave)
    assert found.keys() == expected.keys()
    for key, want in expected.items():
        assert np.abs(found[key] - want).max() <= 1e-5 * (np.abs(want).max() + 1e-2), key
    assert {part.training for part in model.modules()} == {not leave}
