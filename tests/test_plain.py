"""Plain mode: every model family computes the same by the plain formulas as by the fast kernels."""

from __future__ import annotations

import os
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

import tinybert
from tests import support
from tests.tolerances import DEVICE_FLOAT32
from tinybert import functional as F
from tinybert.autograd import Tensor
from tinybert.backend import is_plain
from tinybert.ops import gelu, layer_norm, softmax

SIZES = {"vocab_size": 40, "hidden_size": 32, "num_hidden_layers": 2}
HEADS = {"num_attention_heads": 4, "intermediate_size": 48}
FAMILIES: dict[str, tuple[Any, Any]] = {
    "bert": (tinybert.BertForMaskedLM, tinybert.BertConfig(**SIZES, **HEADS)),
    "megatron-bert": (
        tinybert.MegatronBertForMaskedLM, tinybert.MegatronBertConfig(**SIZES, **HEADS),
    ),
    "mega": (
        tinybert.MegaForMaskedLM,
        tinybert.MegaConfig(**SIZES, intermediate_size=48, shared_representation_size=16),
    ),
    "nemotron": (
        tinybert.NemotronForCausalLM,
        tinybert.NemotronConfig(**SIZES, **HEADS, num_key_value_heads=2),
    ),
}  # fmt: skip


def run(model: Any, ids: np.ndarray) -> dict[str, np.ndarray]:
    """Logits, loss and gradients of one training step, with dropout."""
    tinybert.manual_seed(3)
    model.zero_grad()
    output = model(input_ids=ids, labels=ids)
    output.loss.backward()
    found = {name: p.grad.numpy() for name, p in model.named_parameters() if p.grad is not None}
    return {"loss": output.loss.numpy(), "logits": output.logits.numpy(), **found}


@pytest.mark.parametrize("name", FAMILIES)
def test_families_agree(name: str) -> None:
    cls, config = FAMILIES[name]
    with tinybert.manual_seed(1):
        model = cls(config).train()
    ids = np.random.default_rng(0).integers(0, 40, (3, 19))
    fast = run(model, ids)
    with tinybert.plain():
        plain = run(model, ids)
    assert fast.keys() == plain.keys()
    for key, expected in plain.items():
        # The gradient of a bias that is 0 by symmetry is rounding alone: measured by the loss's.
        support.assert_close(
            fast[key], expected, rtol=DEVICE_FLOAT32, atol=DEVICE_FLOAT32 / 10, name=key
        )


def test_formulas_alone_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """No fast version is called, and linear_gelu is linear and then gelu."""
    for kernel in (
        layer_norm.layer_norm_forward, softmax.softmax_forward, gelu.gelu_forward,
        gelu.linear_gelu_forward,
    ):  # fmt: skip
        monkeypatch.setattr(kernel, "versions", {"cpu": lambda *args: pytest.fail("fast")})
    x, weight = Tensor(np.ones((2, 3)), requires_grad=True), Tensor(np.ones((4, 3)))
    with tinybert.plain():
        assert is_plain()
        F.layer_norm(x, (3,))
        x.softmax()
        y = F.linear_gelu(x, weight)
    assert not is_plain()
    assert type(y.grad_fn).__name__ == "Gelu"


def test_a_graph_may_be_walked_in_the_other_mode() -> None:
    """What a forward saves serves the backward of both modes."""
    rng = np.random.default_rng(0)
    arrays = [rng.standard_normal((2, 3, 200, 8)).astype(np.float32) for _ in range(3)]
    gradients = []
    for forward_plain in (False, True):
        tensors = [Tensor(a, requires_grad=True) for a in arrays]
        tinybert.manual_seed(0)
        if forward_plain:
            with tinybert.plain():
                y = F.scaled_dot_product_attention(*tensors, dropout_p=0.3, is_causal=True)
            y.sum().backward()
        else:
            y = F.scaled_dot_product_attention(*tensors, dropout_p=0.3, is_causal=True)
            with tinybert.plain():
                y.sum().backward()
        gradients.append([t.grad.numpy() for t in tensors if t.grad is not None])
    for one, other in zip(*gradients, strict=True):
        support.assert_close(one, other, rtol=DEVICE_FLOAT32)


@pytest.mark.parametrize(("value", "expected"), [("1", "True"), ("0", "False"), ("", "False")])
def test_the_environment_switches_it_on(value: str, expected: str) -> None:
    code = "from tinybert.backend import is_plain; print(is_plain())"
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True,
        env={**os.environ, "TINYBERT_PLAIN": value},
    )  # fmt: skip
    assert result.stdout.strip() == expected
