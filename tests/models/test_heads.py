"""Every model with a head against transformers: outputs, losses, gradients, names.

Ten random configurations a class; all sizes, options and inputs are drawn.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import transformers

import tinybert
from tests.models.oracle import as_torch, flat, twin_heads
from tests.support import assert_close
from tests.tolerances import MODEL_FLOAT64, MODEL_GRADIENT_FLOAT64

BERT = (
    "BertModel",
    "BertForPreTraining",
    "BertLMHeadModel",
    "BertForMaskedLM",
    "BertForNextSentencePrediction",
    "BertForSequenceClassification",
    "BertForMultipleChoice",
    "BertForTokenClassification",
    "BertForQuestionAnswering",
)
MEGATRON = tuple(f"Megatron{name.replace('LMHeadModel', 'ForCausalLM')}" for name in BERT)
HEADS = (*BERT, *MEGATRON)
DECODERS = ("BertModel", "BertLMHeadModel", "BertForMaskedLM")
DECODERS += tuple(f"Megatron{name.replace('LMHeadModel', 'ForCausalLM')}" for name in DECODERS)
SEEDS = range(10)
FLOAT32 = 1e-5  # absolute, on values of order 1: what the issue of BERT asks for


def pick(rng: np.random.Generator, *values: Any) -> Any:
    return values[rng.integers(len(values))]


def draw_options(name: str, rng: np.random.Generator) -> dict[str, Any]:
    """A random configuration."""
    heads = int(pick(rng, 1, 2, 3))
    options: dict[str, Any] = {
        "vocab_size": int(rng.integers(11, 40)),
        "hidden_size": heads * int(pick(rng, 2, 4, 6)),
        "num_hidden_layers": int(pick(rng, 1, 2, 3)),
        "num_attention_heads": heads,
        "intermediate_size": int(rng.integers(3, 20)),
        "hidden_act": pick(rng, "gelu", "gelu_new", "relu", "silu", "quick_gelu", "tanh"),
        "max_position_embeddings": int(rng.integers(8, 15)),
        "type_vocab_size": int(pick(rng, 1, 2, 5)),
        "layer_norm_eps": pick(rng, 1e-12, 1e-5),
        "pad_token_id": int(pick(rng, 0, 3)),
        "position_embedding_type": pick(rng, "absolute", "relative_key", "relative_key_query"),
        "tie_word_embeddings": bool(pick(rng, True, True, False)),
        "chunk_size_feed_forward": int(pick(rng, 0, 0, 2)),
        "num_labels": 2 if name.endswith("QuestionAnswering") else int(pick(rng, 1, 2, 5)),
        "problem_type": pick(
            rng, None, "regression", "single_label_classification", "multi_label_classification"
        ),
    }
    if name in DECODERS and rng.random() < 0.6:
        options |= {"is_decoder": True, "add_cross_attention": bool(pick(rng, True, False))}
        options["use_cache"] = False  # with it theirs differs for relative positions (B4)
    return options


def draw_call(name: str, config: Any, rng: np.random.Generator) -> dict[str, Any]:
    """Random inputs, all of them or some, with labels."""
    batch, length = int(pick(rng, 1, 2, 3)), int(pick(rng, 2, 4, 6))
    choices = int(pick(rng, 1, 2, 4))
    shape = (batch, choices, length) if name.endswith("MultipleChoice") else (batch, length)
    ids = rng.integers(config.vocab_size, size=shape)
    mask = (rng.random(shape) < 0.7).astype(np.int64)
    mask[..., 0] = 1
    mask[0] = 0 if batch > 1 else 1  # a row in which all is masked
    if len(shape) == 2 and rng.random() < 0.3:
        mask = (rng.random((*shape, length)) < 0.6).astype(np.int64)
    heads = (config.num_hidden_layers, config.num_attention_heads)
    call: dict[str, Any] = {
        "attention_mask": mask,
        "token_type_ids": rng.integers(config.type_vocab_size, size=shape),
        "position_ids": rng.integers(config.max_position_embeddings, size=shape),
        "head_mask": rng.random(heads if rng.random() < 0.5 else heads[1:]),
        "output_hidden_states": True,
        "output_attentions": True,
    }
    call = {key: value for key, value in call.items() if rng.random() < 0.7}
    if rng.random() < 0.8:
        call["input_ids"] = ids
    else:
        call["inputs_embeds"] = rng.standard_normal((*shape, config.hidden_size))
    if config.is_decoder and config.add_cross_attention:
        width = int(pick(rng, 1, 3, 5))
        call["encoder_hidden_states"] = rng.standard_normal((batch, width, config.hidden_size))
        if rng.random() < 0.5:
            call["encoder_attention_mask"] = (rng.random((batch, width)) < 0.7).astype(float)
    return call | draw_labels(name, config, batch, length, choices, rng)


def draw_labels(
    name: str, config: Any, batch: int, length: int, choices: int, rng: np.random.Generator
) -> dict[str, Any]:
    """Random labels of the kind that the class takes; some of the words' are -100."""
    words = rng.integers(config.vocab_size, size=(batch, length))
    words[rng.random(words.shape) < 0.4] = -100
    words[:, -1] = 1
    count = config.num_labels
    if name.endswith("PreTraining"):
        return {"labels": words, "next_sentence_label": rng.integers(2, size=batch)}
    if name.endswith(("LMHeadModel", "CausalLM", "MaskedLM")):
        return {"labels": words}
    if name.endswith("NextSentencePrediction"):
        return {"labels": rng.integers(2, size=batch)}
    if name.endswith("MultipleChoice"):
        return {"labels": rng.integers(choices, size=batch)}
    if name.endswith("TokenClassification"):
        return {"labels": words.clip(-100, count - 1)}
    if name.endswith("QuestionAnswering"):
        return {
            "start_positions": np.append(rng.integers(-2, length + 2, size=batch - 1), 1),
            "end_positions": np.append(rng.integers(-2, length + 2, size=batch - 1), 0),
        }
    if name.endswith("SequenceClassification"):
        kind = config.problem_type
        if kind == "regression" or (kind is None and count == 1):
            return {"labels": rng.standard_normal(batch if count == 1 else (batch, count))}
        if kind == "multi_label_classification":
            return {"labels": (rng.random((batch, count)) < 0.5).astype(float)}
        return {"labels": rng.integers(count, size=batch)}
    return {}


def theirs_of(call: dict[str, Any], dtype: torch.dtype) -> dict[str, Any]:
    """The call for transformers, whose floating labels and embeddings want the model's dtype."""
    tensors = {key: as_torch(value) for key, value in call.items()}
    return {
        key: value.to(dtype) if torch.is_tensor(value) and value.is_floating_point() else value
        for key, value in tensors.items()
    }


def cotangents(output: dict[str, np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """A random factor for every number of an output."""
    rng = np.random.default_rng(seed)
    return {name: rng.standard_normal(array.shape) for name, array in output.items()}


def members(output: Any) -> dict[str, Any]:
    """Every tensor of an output, by the names that `flat` uses."""
    return {
        (f"{name}[{i}]" if isinstance(value, tuple) else name): member
        for name, value in output.items()
        for i, member in enumerate(value if isinstance(value, tuple) else (value,))
    }


@pytest.mark.parametrize("seed", SEEDS)
@pytest.mark.parametrize("name", HEADS)
def test_outputs_losses_and_gradients_agree(name: str, seed: int) -> None:
    rng = np.random.default_rng([HEADS.index(name), seed])
    ours, theirs = twin_heads(name, seed, **draw_options(name, rng))
    call = draw_call(name, ours.config, rng)
    expected = theirs(**theirs_of(call, torch.float64))
    if name.endswith(
        ("LMHeadModel", "CausalLM")
    ):  # it computes this loss in float32, whatever the model's dtype
        expected.loss = torch.nn.functional.cross_entropy(
            expected.logits[:, :-1].flatten(0, 1), torch.from_numpy(call["labels"][:, 1:].ravel())
        )
    found = ours(**call)
    assert list(found) == list(expected)
    assert_same(flat(found), flat(expected), MODEL_FLOAT64)
    # One number that depends on every number of the output, the loss among them.
    factors = cotangents(flat(expected), seed)
    sum((t * torch.from_numpy(factors[n])).sum() for n, t in members(expected).items()).backward()
    sum((t * factors[n]).sum() for n, t in members(found).items()).backward()
    gradients = {n: p.grad for n, p in theirs.named_parameters() if p.grad is not None}
    for parameter_name, parameter in ours.named_parameters():
        if parameter_name not in gradients:
            assert parameter.grad is None or not parameter.grad.numpy().any(), parameter_name
            continue
        assert_close(
            parameter.grad.numpy(),
            gradients[parameter_name].numpy(),
            rtol=MODEL_GRADIENT_FLOAT64,
            atol=MODEL_GRADIENT_FLOAT64,
        )


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], rtol: float) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].shape == array.shape, name
        assert_close(found[name], array, rtol=rtol, atol=rtol)


@pytest.mark.parametrize(
    "seed", [pytest.param(seed, marks=[pytest.mark.slow] * (seed % 2)) for seed in SEEDS]
)
@pytest.mark.parametrize("name", HEADS)
def test_float32_agrees_to_1e_5(name: str, seed: int) -> None:
    rng = np.random.default_rng([HEADS.index(name), seed])
    ours, theirs = twin_heads(name, seed, **draw_options(name, rng))
    call = draw_call(name, ours.config, rng)
    exact = flat(theirs(**theirs_of(call, torch.float64)))
    expected = flat(theirs.float()(**theirs_of(call, torch.float32)))
    found = flat(ours.to(np.float32)(**call))
    for field, array in expected.items():
        assert found[field].dtype == np.float32
        size = max(1.0, float(np.abs(array).max()))
        # A norm over a few features that are nearly equal magnifies every rounding, torch's too.
        theirs_is_off = float(np.abs(array - exact[field]).max())
        allowed = max(FLOAT32 * size, 2 * theirs_is_off)
        assert np.abs(found[field] - array).max() <= allowed, field


@pytest.mark.parametrize("name", HEADS)
def test_the_names_of_weights_are_those_of_transformers(name: str) -> None:
    for options in ({}, {"is_decoder": True, "add_cross_attention": True}):
        if options and name not in DECODERS:
            continue
        for kind in ("absolute", "relative_key"):
            ours, theirs = twin_heads(name, 0, **options, position_embedding_type=kind)
            assert list(ours.state_dict()) == list(theirs.state_dict())


@pytest.mark.parametrize("name", HEADS)
def test_a_saved_model_loads_on_the_other_side_and_back(name: str, tmp_path: Any) -> None:
    rng = np.random.default_rng(7)
    ours, theirs = twin_heads(name, 7, num_labels=2, id2label={0: "no", 1: "yes"})
    call = draw_call(name, ours.config, rng)
    ours, theirs = ours.to(np.float32), theirs.float()
    expected = flat(ours(**call))
    ours.save_pretrained(tmp_path / "ours")
    there, info = getattr(transformers, name).from_pretrained(
        tmp_path / "ours", attn_implementation="eager", output_loading_info=True
    )
    assert not any(info.values()), info
    assert there.config.id2label == {0: "no", 1: "yes"}
    assert_same(flat(there(**theirs_of(call, torch.float32))), expected, FLOAT32)
    there.save_pretrained(tmp_path / "theirs")
    back, report = getattr(tinybert, name).from_pretrained(
        tmp_path / "theirs", output_loading_info=True
    )
    assert str(report) == ""
    found = flat(back(**call))
    assert all((found[key] == array).all() for key, array in expected.items())


@pytest.mark.parametrize("name", [name for name in HEADS if not name.endswith("BertModel")])
def test_a_plain_tuple_has_the_same_members(name: str) -> None:
    rng = np.random.default_rng(8)
    ours, theirs = twin_heads(name, 8, num_labels=2)
    call = draw_call(name, ours.config, rng) | {"output_attentions": True, "return_dict": False}
    expected = theirs(**theirs_of(call, torch.float64))
    found = ours(**call)
    assert isinstance(found, tuple)
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        ones, others = (v if isinstance(v, tuple) else (v,) for v in (one, other))
        for mine, their in zip(ones, others, strict=True):
            assert mine.shape == their.shape
            assert_close(mine.numpy(), their.detach().double().numpy(), rtol=FLOAT32)
