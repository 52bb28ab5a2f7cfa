"""Hooks that change while they run, and on parts of a layer whose operations can be fused."""

from __future__ import annotations

from typing import Any

import numpy as np

from tinybert import BertConfig, Tensor
from tinybert.models.bert import BertIntermediate
from tinybert.nn import Linear


def test_a_hook_that_removes_itself_runs_once_and_the_others_always() -> None:
    layer, calls = Linear(3, 2), []

    def once(module: Any, args: Any, output: Any = None) -> None:
        calls.append("once")
        handle.remove()

    for register in (layer.register_forward_hook, layer.register_forward_pre_hook):
        calls.clear()
        handle = register(once)
        register(lambda *args: calls.append("always"))
        x = Tensor(np.ones((1, 3), np.float32))
        layer(x)
        layer(x)
        assert calls.count("once") == 1
        assert calls.count("always") >= 2
    assert len(layer._forward_hooks) == len(layer._forward_pre_hooks) == 1


def test_a_hook_on_a_part_of_a_fused_layer_sees_and_replaces_its_output() -> None:
    config = BertConfig(hidden_size=6, num_attention_heads=2, intermediate_size=5)
    layer, seen = BertIntermediate(config), []
    x = Tensor(np.random.default_rng(0).standard_normal((2, 6)).astype(np.float32))
    fused = layer(x).numpy()
    handle = layer.dense.register_forward_hook(lambda m, args, y: seen.append(y.numpy()))
    np.testing.assert_allclose(layer(x).numpy(), fused, atol=1e-6)
    assert len(seen) == 1
    np.testing.assert_allclose(
        seen[0], x.numpy() @ layer.dense.weight.numpy().T + layer.dense.bias.numpy(), rtol=1e-5
    )
    handle.remove()
    handle = layer.dense.register_forward_hook(lambda m, args, y: y * 0)
    assert not layer(x).numpy().any()
    handle.remove()
    handle = layer.dense.register_forward_pre_hook(lambda m, args: (args[0] * 0,))
    assert not np.array_equal(layer(x).numpy(), fused)
    handle.remove()
    np.testing.assert_array_equal(layer(x).numpy(), fused)
