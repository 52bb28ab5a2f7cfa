"""Every Nemotron class against its namesake in transformers, over random configurations: outputs,
losses, gradients of every parameter, float32, names, files.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

import tinybert
from tests.models.nemotron_oracle import CLASSES, array, exact, flat, one_thread, twins
from tests.models.oracle import as_torch
from tests.support import assert_close
from tests.tolerances import MODEL_FLOAT64, MODEL_GRADIENT_FLOAT64

SEEDS = range(30)
FLOAT32 = 1e-5  # of the largest number, or of 1: what the issue of Nemotron asks for


@pytest.fixture(autouse=True)
def quick() -> Iterator[None]:
    with one_thread():
        yield


def pick(rng: np.random.Generator, *values: Any) -> Any:
    return values[rng.integers(len(values))]


def draw_options(rng: np.random.Generator) -> dict[str, Any]:
    """A random configuration."""
    groups, share = int(pick(rng, 1, 2, 3)), int(pick(rng, 1, 2, 4))
    size, factor = pick(rng, (4, 0.5), (6, 0.7), (8, 0.25), (8, 1.0), (10, 0.5), (6, 0.0), (2, 1.0))
    return {
        "vocab_size": int(rng.integers(11, 40)),
        "hidden_size": int(rng.integers(3, 20)),
        "intermediate_size": int(rng.integers(3, 20)),
        "num_hidden_layers": int(pick(rng, 1, 2, 3)),
        "num_attention_heads": groups * share,
        "num_key_value_heads": groups,
        "head_dim": size,
        "partial_rotary_factor": factor if size != 10 else 0.4,
        "hidden_act": pick(rng, "relu2", "relu2", "silu", "gelu"),
        "max_position_embeddings": int(rng.integers(4, 9)),  # beyond it, too, there are positions
        "norm_eps": pick(rng, 1e-5, 1e-3),
        "pad_token_id": int(pick(rng, 0, 3)),
        "tie_word_embeddings": bool(pick(rng, True, False)),
        "rope_theta": pick(rng, 10000.0, 500.0),
        "attention_bias": bool(pick(rng, True, False)),
        "mlp_bias": bool(pick(rng, True, False)),
        "use_cache": bool(pick(rng, True, False)),
        "num_labels": int(pick(rng, 1, 2, 5)),
        "problem_type": pick(
            rng, None, "regression", "single_label_classification", "multi_label_classification"
        ),
    }


def draw_call(name: str, config: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Random inputs, all of them or some, with labels."""
    batch, length = int(pick(rng, 1, 2, 3)), int(pick(rng, 1, 2, 6, 9))
    ids = rng.integers(config.vocab_size, size=(batch, length))
    right = np.arange(length) <= rng.integers(length, size=(batch, 1))
    added = np.where(rng.random((batch, 1, length, length)) < 0.3, -1e4, 0.5)
    call: dict[str, Any] = {
        "attention_mask": [
            right, right[:, ::-1], rng.random((batch, length)) < 0.5, np.ones_like(ids), added,
        ][rng.integers(5)],
        "position_ids": rng.integers(30, size=(pick(rng, 1, batch), length)),
        "output_hidden_states": True,
        "output_attentions": True,
        "use_cache": bool(pick(rng, True, False)),
    }  # fmt: skip
    call = {key: value for key, value in call.items() if rng.random() < 0.6}
    mask = call.get("attention_mask")
    if mask is not None and mask.ndim == 2:
        call["attention_mask"] = mask.astype(np.int64)
    if rng.random() < 0.8:
        call["input_ids"] = ids
    else:
        call["inputs_embeds"] = rng.standard_normal((batch, length, config.hidden_size))
    return call | draw_labels(name, config, ids, rng)


def draw_labels(
    name: str, config: Any, ids: np.ndarray, rng: np.random.Generator
) -> dict[str, Any]:
    """Random labels of the kind that the class takes; some of the words' are -100."""
    batch, length = ids.shape
    count = config.num_labels
    if name.endswith("CausalLM") and length > 1 and rng.random() < 0.7:
        labels = np.where(rng.random(ids.shape) < 0.4, -100, ids)
        labels[:, -1] = 1
        return {"labels": labels}
    if name.endswith("TokenClassification"):
        labels = rng.integers(count, size=ids.shape)
        return {
            "labels": np.where(rng.random(ids.shape) < 0.3, -100, labels) if length > 1 else labels
        }
    if name.endswith("QuestionAnswering"):
        ends = [np.append(rng.integers(-2, length + 2, size=batch - 1), 0) for _ in range(2)]
        return dict(zip(("start_positions", "end_positions"), ends, strict=True))
    if name.endswith("SequenceClassification"):
        kind = config.problem_type
        if kind == "regression" or (kind is None and count == 1):
            return {"labels": rng.standard_normal(batch if count == 1 else (batch, count))}
        if kind == "multi_label_classification":
            return {"labels": (rng.random((batch, count)) < 0.5).astype(float)}
        return {"labels": rng.integers(count, size=batch)}
    return {}


def theirs_of(call: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The call for transformers, whose floating inputs want the model's dtype."""
    tensors = {key: as_torch(value) for key, value in call.items()}
    return {
        key: value.to(dtype) if torch.is_tensor(value) and value.is_floating_point() else value
        for key, value in tensors.items()
    }


def wide_loss(name: str, output: Any, call: dict[str, Any]) -> None:
    """Put the loss of float64 logits in the place of one that was computed in float32."""
    if "labels" in call and name.endswith(("CausalLM", "TokenClassification")):
        shift = int(name.endswith("CausalLM"))
        logits = output.logits[:, : output.logits.shape[1] - shift].flatten(0, 1)
        labels = torch.from_numpy(call["labels"][:, shift:].ravel())
        output.loss = torch.nn.functional.cross_entropy(logits, labels)


def assert_same(found: dict[str, Any], expected: dict[str, Any], rtol: float) -> None:
    assert list(found) == list(expected)
    for name, tensor in expected.items():
        assert_close(found[name].numpy(), array(tensor), rtol=rtol, atol=rtol, name=name)


@pytest.mark.filterwarnings("ignore:all labels")
@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", CLASSES)
def test_outputs_losses_and_gradients_agree(name: str, seed: int) -> None:
    rng = np.random.default_rng([CLASSES.index(name), seed])
    ours, theirs = twins(name, seed, **draw_options(rng))
    assert list(ours.state_dict()) == list(theirs.state_dict())
    call = draw_call(name, ours.config, rng)
    with exact():
        output = theirs(**theirs_of(call, torch.float64))
    wide_loss(name, output, call)
    found, expected = flat(ours(**call)), flat(output)
    assert_same(found, expected, MODEL_FLOAT64)
    # One number that depends on every number of the output, the loss among them.
    factors = {n: rng.standard_normal(tuple(t.shape)) for n, t in expected.items()}
    sum(
        (t * torch.from_numpy(np.asarray(factors[n]))).sum() for n, t in expected.items()
    ).backward()
    sum((t * factors[n]).sum() for n, t in found.items()).backward()
    gradients = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    for parameter, own in ours.named_parameters():
        if parameter not in gradients:
            assert own.grad is None or not own.grad.numpy().any(), parameter
            continue
        assert_close(
            own.grad.numpy(),
            gradients[parameter].numpy(),
            rtol=MODEL_GRADIENT_FLOAT64,
            atol=MODEL_GRADIENT_FLOAT64,
            name=parameter,
        )
    float32_agrees(ours, theirs, call, expected)


def float32_agrees(ours: Any, theirs: Any, call: dict[str, Any], exactly: dict[str, Any]) -> None:
    """In float32, where transformers runs as it is."""
    with torch.no_grad(), tinybert.no_grad():
        output = flat(theirs.float()(**theirs_of(call, torch.float32)))
        expected = {field: array(tensor) for field, tensor in output.items()}
        found = flat(ours.to(np.float32)(**call))
    for field, value in expected.items():
        assert found[field].dtype == np.float32
        size = max(1.0, float(np.abs(value).max()))
        # A norm over a few features that are nearly equal magnifies every rounding, torch's too.
        off = float(np.abs(value - array(exactly[field])).max())
        distance = np.abs(found[field].numpy() - value).max()
        assert distance <= max(FLOAT32 * size, 2 * off), field
