"""Gradients of BertModel by every parameter and by the embeddings, against torch's autograd."""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import cache
from typing import Any

import numpy as np
import pytest
import torch

from tests.models.oracle import as_torch, flat, twins
from tests.support import assert_close, rms
from tests.tolerances import (
    MODEL_FLOAT32_KEY_BIAS_RATIO,
    MODEL_FLOAT32_MEAN_RATIO,
    MODEL_FLOAT32_RATIO,
    MODEL_GRADIENT_FLOAT64,
)
from tinybert import BertModel, Tensor
from tinybert.ops.attention import ScaledDotProductAttention
from tinybert.ops.embedding import Embedding
from tinybert.ops.gelu import LinearGelu
from tinybert.ops.layer_norm import LayerNorm
from tinybert.ops.linear import Linear
from tinybert.ops.softmax import Softmax

WEIGHTS = {"output_attentions": True, "output_hidden_states": True}
PATHS = pytest.mark.parametrize("flags", [{}, WEIGHTS], ids=["blockwise", "with weights"])


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """torch on one thread: on arrays this small, threads mostly wait for one another."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def example(model: BertModel, seed: int, batch: int = 3, length: int = 7) -> dict[str, Any]:
    """Ids (some of them padding, some twice), types, and a mask with a row in which all is 0."""
    rng, c = np.random.default_rng(seed), model.config
    ids = rng.integers(c.vocab_size, size=(batch, length))
    ids[0, :3] = c.pad_token_id
    mask = np.ones((batch, length), np.int64)
    mask[0, :3] = 0
    mask[1] = 0
    types = rng.integers(c.type_vocab_size, size=(batch, length))
    return {"input_ids": ids, "attention_mask": mask, "token_type_ids": types}


def gradients_of_ours(
    model: BertModel, call: dict[str, Any], cotangents: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The gradient of the sum of <cotangent, output> over all outputs, by parameter."""
    model.zero_grad()
    call = dict(call)
    embeds = call.pop("inputs_embeds", None)
    if embeds is not None:
        call["inputs_embeds"] = embeds = Tensor(embeds, requires_grad=True)
    output = model(**call)
    parts = dict(_named(output))
    total = None
    for name, cotangent in cotangents.items():
        term = (parts[name] * cotangent.astype(parts[name].dtype)).sum()
        total = term if total is None else total + term
    total.backward()
    found = {n: p.grad.numpy().copy() for n, p in model.named_parameters() if p.grad is not None}
    if embeds is not None:
        found["inputs_embeds"] = embeds.grad.numpy()
    return found


def gradients_of_torch(
    model: Any, call: dict[str, Any], cotangents: dict[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The same by torch."""
    model.zero_grad()
    call = {name: as_torch(value) for name, value in call.items()}
    if "inputs_embeds" in call:
        call["inputs_embeds"].requires_grad_()
    parts = dict(_named(model(**call)))
    sum(
        (parts[name] * torch.from_numpy(u).to(parts[name].dtype)).sum()
        for name, u in cotangents.items()
    ).backward()
    found = {n: p.grad.numpy().copy() for n, p in model.named_parameters() if p.grad is not None}
    if "inputs_embeds" in call:
        found["inputs_embeds"] = call["inputs_embeds"].grad.numpy()
    return found


def _named(output: Any) -> Any:
    for name, value in output.items():
        if isinstance(value, tuple):
            yield from ((f"{name}[{number}]", member) for number, member in enumerate(value))
        else:
            yield name, value


def draw_cotangents(model: BertModel, call: dict[str, Any], seed: int) -> dict[str, np.ndarray]:
    """A random cotangent for every output: a plain sum would be blind to softmax and the norms."""
    rng = np.random.default_rng(seed)
    shapes = {name: array.shape for name, array in flat(model(**call)).items()}
    return {
        name: rng.standard_normal(shape).astype(np.float32).astype(np.float64)
        for name, shape in shapes.items()
    }


def compare(ours: BertModel, theirs: Any, call: dict[str, Any]) -> dict[str, np.ndarray]:
    """All gradients agree in float64, and none is missing."""
    cotangents = draw_cotangents(ours, call, 1)
    found = gradients_of_ours(ours, call, cotangents)
    expected = gradients_of_torch(theirs, call, cotangents)
    assert set(found) == set(expected)
    scale = max(rms(array) for array in expected.values())
    for name, array in expected.items():
        # The gradient of a key's bias is 0 exactly: softmax does not see what all keys share.
        zero = 1e-3 * scale if name.endswith("key.bias") else 0.0
        tolerance = MODEL_GRADIENT_FLOAT64
        assert_close(found[name], array, rtol=tolerance, atol=tolerance * zero, name=name)
    return found


VARIANTS: dict[str, dict[str, Any]] = {
    "gelu": {},
    "gelu_new": {"hidden_act": "gelu_new", "num_hidden_layers": 3},
    "relu": {"hidden_act": "relu", "num_attention_heads": 2, "intermediate_size": 19},
    "silu": {"hidden_act": "silu", "num_attention_heads": 1, "layer_norm_eps": 1e-3},
    "in chunks": {"chunk_size_feed_forward": 7},
    "no pooler": {"add_pooling_layer": False, "pad_token_id": 4},
}


@PATHS
@pytest.mark.parametrize("options", VARIANTS.values(), ids=VARIANTS)
def test_gradients_of_every_parameter_agree(options, flags):
    ours, theirs = twins(**options)
    call = {**example(ours, 3), **flags}
    found = compare(ours, theirs, call)
    assert set(found) == {name for name, _ in ours.named_parameters()}
    table = found["embeddings.word_embeddings.weight"]
    assert not table[ours.config.pad_token_id].any()
    assert table[call["input_ids"][2]].any()


@PATHS
def test_gradients_of_the_embeddings_agree(flags):
    ours, theirs = twins()
    call = {**example(ours, 3), "input_ids": None, **flags}
    call["inputs_embeds"] = np.random.default_rng(0).standard_normal((3, 7, 12))
    found = compare(ours, theirs, call)
    assert found["inputs_embeds"].any()
    assert "embeddings.word_embeddings.weight" not in found


@PATHS
def test_gradients_with_head_masks_and_positions_agree(flags):
    ours, theirs = twins()
    call = {**example(ours, 3), "head_mask": np.array([[0.0, 1.0, 0.5], [2.0, 0.0, 1.0]])}
    call["attention_mask"] = np.tril(np.ones((3, 7, 7), np.int64))
    call["position_ids"] = np.random.default_rng(0).integers(17, size=(1, 7))
    compare(ours, theirs, {**call, **flags})


def test_both_paths_of_attention_have_one_gradient():
    ours, _ = twins()
    call = example(ours, 3)
    cotangents = draw_cotangents(ours, call, 1)
    blockwise = gradients_of_ours(ours, call, cotangents)
    full = gradients_of_ours(ours, {**call, "output_attentions": True}, cotangents)
    for name, array in full.items():
        if not name.endswith("key.bias"):
            assert_close(blockwise[name], array, rtol=MODEL_GRADIENT_FLOAT64, name=name)


def test_frozen_parameters_get_no_gradient_and_change_no_other():
    ours, _ = twins()
    call = example(ours, 3)
    cotangents = draw_cotangents(ours, call, 1)
    full = gradients_of_ours(ours, call, cotangents)
    ours.embeddings.requires_grad_(False)
    ours.encoder.layer[0].requires_grad_(False)
    rest = gradients_of_ours(ours, call, cotangents)
    assert {name for name in full if name not in rest} == {
        name for name in full if name.startswith(("embeddings", "encoder.layer.0"))
    }
    for name, array in rest.items():
        assert_close(array, full[name], rtol=MODEL_GRADIENT_FLOAT64, atol=1e-9, name=name)


def test_gradients_accumulate():
    ours, _ = twins()
    once = gradients_of_ours(ours, example(ours, 3), {"pooler_output": np.ones((3, 12))})
    ours(**example(ours, 3)).pooler_output.sum().backward()
    for name, parameter in ours.named_parameters():
        if name in once and not name.endswith("key.bias"):
            assert_close(parameter.grad.numpy(), 2 * once[name], rtol=1e-12, name=name)


# --- float32 --------------------------------------------------------------------------------------


@cache
def float32_case(seed: int, full: bool) -> tuple[BertModel, dict[str, Any], Any, Any, Any]:
    """Our model in float32, its call and cotangents; gradients of torch in float64 and float32."""
    ours, theirs = twins(
        seed, hidden_size=48, num_attention_heads=4, intermediate_size=100, vocab_size=90,
        max_position_embeddings=40, num_hidden_layers=3,
    )  # fmt: skip
    call = {**example(ours, seed, batch=4, length=31), **(WEIGHTS if full else {})}
    cotangents = draw_cotangents(ours, call, seed)
    exact = gradients_of_torch(theirs, call, cotangents)
    torch32 = gradients_of_torch(theirs.float(), call, cotangents)
    return ours.to(np.float32), call, cotangents, exact, torch32


def check_float32(full: bool, models: int) -> None:
    """Errors of gradients in float32 are, in the geometric mean over models, about torch's."""
    logarithms: dict[str, list[float]] = {}  # of our error / torch's; by parameter, without layer
    for seed in range(models):
        ours, call, cotangents, exact, torch32 = float32_case(seed, full)
        for name, found in gradients_of_ours(ours, call, cotangents).items():
            assert found.dtype == np.float32
            unit = name.replace("key.bias", "key.weight")
            own, torchs = found - exact[name], torch32[unit] - exact[unit]
            ratio = np.sqrt(np.mean(own**2) / np.mean(torchs**2))
            logarithms.setdefault(re.sub(r"\d+", "*", name), []).append(np.log(ratio))
    means = {kind: np.exp(np.mean(values)) for kind, values in logarithms.items()}
    zero = means.pop("encoder.layer.*.attention.self.key.bias")
    worst = max(means, key=means.__getitem__)
    mean = np.exp(np.mean(np.concatenate([logarithms[kind] for kind in means])))
    assert mean < MODEL_FLOAT32_MEAN_RATIO, f"all parameters: {mean:.2f} times torch's error"
    assert means[worst] < MODEL_FLOAT32_RATIO, f"{worst}: {means[worst]:.2f} times torch's error"
    assert zero < MODEL_FLOAT32_KEY_BIAS_RATIO, f"key.bias: {zero:.2f} times key.weight's error"


@PATHS
def test_float32_costs_no_more_precision_than_it_costs_torch(flags):
    check_float32(bool(flags), models=24)


@pytest.mark.parametrize("part", ["forward", "backward"])
@pytest.mark.parametrize(
    "operation",
    [Embedding, LayerNorm, Linear, LinearGelu, ScaledDotProductAttention, Softmax],
)
def test_a_kernel_of_less_precision_is_seen(operation, part, monkeypatch):
    """A relative error of 1e-5 in the results of one operation; a float32 rounds by 6e-8."""
    rng = np.random.default_rng(0)
    right = getattr(operation, part)

    def rounded(x):
        if x is None:
            return None
        return x * (1 + 1e-5 * rng.standard_normal(x.shape)).astype(x.dtype)

    def rough(self, *arguments, **options):
        result = right(self, *arguments, **options)
        return tuple(map(rounded, result)) if isinstance(result, tuple) else rounded(result)

    monkeypatch.setattr(operation, part, rough)
    with pytest.raises(AssertionError, match="times"):
        check_float32(full=operation is Softmax, models=6)
