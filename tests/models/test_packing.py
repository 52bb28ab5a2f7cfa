"""A packed call gives what the padded one gives: features, losses and gradients, in every class."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any

import numpy as np
import pytest

import tinybert
from tests.models import mega_oracle, nemotron_oracle, oracle
from tinybert import Tensor, no_grad
from tinybert.backend import manual_seed
from tinybert.models import losses, masks
from tinybert.nn import packing
from tinybert.nn.packing import padded

STILL = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
CAUSAL = ("BertLMHeadModel", "MegatronBertForCausalLM", "MegaForCausalLM", "NemotronForCausalLM")
CLASSES = [
    name
    for name in dir(tinybert)
    if name.startswith(("Bert", "Megatron", "Mega", "Nemotron"))
    and name.endswith(("Model", "ForPreTraining", "ForCausalLM", "ForMaskedLM", "Classification",
                       "Prediction", "Choice", "Answering"))
]  # fmt: skip
# What reads the first token of a text.
FIRST = ("Model", "PreTraining", "Prediction", "Choice", "SequenceClassification")
LENGTHS = [3, 8, 5, 5, 1]
MASK = np.arange(8) < np.array(LENGTHS)[:, None]
HOLES = MASK & (np.arange(8) != 2)
LEFT = MASK[:, ::-1].copy()
MASKS = {"right": MASK, "holes": HOLES, "left": LEFT}
IDS = np.random.default_rng(0).integers(3, 20, MASK.shape)


def make(name: str, dtype: Any = np.float64, **options: Any) -> Any:
    """A model in training mode without dropout, all weights drawn."""
    options |= {"is_decoder": True} if name in CAUSAL else {}
    if name.startswith("Nemotron"):
        config: Any = tinybert.NemotronConfig(**{**nemotron_oracle.TOY, **options})
        config.pad_token_id = 0
    elif name.startswith("Mega") and not name.startswith("Megatron"):
        options |= {"bidirectional": False} if name in CAUSAL else {}
        config = mega_oracle.mega_config(**{**mega_oracle.NO_DROPOUT, **options})
    else:
        family = "MegatronBert" if name.startswith("Megatron") else "Bert"
        config = oracle.config(family, **{**STILL, **options})
    config.classifier_dropout = 0.0
    model = getattr(tinybert, name)(config).to(dtype).train()
    draws = np.random.default_rng(1)
    with no_grad():
        for p in model.parameters():
            p.data[...] += 0.2 * draws.standard_normal(p.shape)
    return model


def call_of(name: str, mask: np.ndarray) -> dict[str, Any]:
    """Inputs and labels; none counts at padding."""
    ids = np.where(mask, IDS, 0)
    call: dict[str, Any] = {"input_ids": ids, "attention_mask": mask.astype(np.int64)}
    chosen = np.random.default_rng(2).random(mask.shape) < 0.8
    words = np.where(mask & chosen, IDS, -100)
    words[:, 1:][~mask[:, :-1]] = -100  # predicted at padding
    if name.endswith("MultipleChoice"):
        call = {key: array[:, None] for key, array in call.items()}
        call["labels"] = np.zeros(len(mask), np.int64)
    elif name.endswith(("PreTraining", "MaskedLM", "CausalLM", "LMHeadModel")):
        call["labels"] = words
    elif name.endswith("TokenClassification"):
        call["labels"] = np.where(words < 0, words, words % 2)
    elif name.endswith(("SequenceClassification", "Prediction")):
        call["labels"] = np.arange(len(mask)) % 2
    elif name.endswith("Answering"):
        call |= {"start_positions": np.zeros(len(mask), int), "end_positions": mask.sum(1) - 1}
    if name.endswith("PreTraining"):
        call["next_sentence_label"] = np.arange(len(mask)) % 2
    return call


@contextmanager
def counted() -> Iterator[list[int]]:
    """Give a list with an entry for each call that was packed."""
    found: list[int] = []
    make_packing = packing.Packing
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(packing, "Packing", lambda real: found.append(1) or make_packing(real))
        yield found


def run(model: Any, call: dict[str, Any], compute_padding: bool) -> tuple[dict[str, Any], bool]:
    """Features of tokens, other results and all gradients by name; and whether it was packed."""
    model.zero_grad()
    with counted() as found, padded() if compute_padding else nullcontext():
        output = model(**call, output_hidden_states=True)
    mask = call["attention_mask"].reshape(-1, 8)
    total: Any = output.loss if "loss" in output else 0.0
    results: dict[str, Any] = {}
    for key, value in output.items():
        for number, tensor in enumerate(value if key == "hidden_states" else [value]):
            if key == "past_key_values":
                continue
            if tensor.shape[:2] == mask.shape:  # compare tokens
                tensor = tensor * mask.reshape(*mask.shape, *[1] * (tensor.ndim - 2))
            factors = np.random.default_rng(number).standard_normal(tensor.shape)
            total = total + (tensor * factors.astype(tensor.dtype)).sum()
            results[f"{key} {number}"] = tensor.numpy()
    total.backward()
    for key, parameter in model.named_parameters():
        if parameter.grad is not None:
            results[key] = parameter.grad.numpy().copy()
    return results, bool(found)


def assert_same(found: dict[str, Any], wanted: dict[str, Any], tolerance: float) -> None:
    assert found.keys() == wanted.keys()
    for key, array in wanted.items():
        size = max(1.0, float(np.abs(array).max(initial=0)))  # biases of keys have no slope at all
        assert np.abs(found[key] - array).max(initial=0) <= tolerance * size, key


@pytest.mark.parametrize("name", CLASSES)
def test_packed_and_padded_agree(name: str) -> None:
    model = make(name)
    assert len(CLASSES) > 25
    for kind, mask in MASKS.items():
        call = call_of(name, mask)
        wanted, was_packed = run(model, call, True)
        assert not was_packed
        found, was_packed = run(model, call, False)
        assert_same(found, wanted, 1e-12)
        reads_first = name.endswith(FIRST) and name not in CAUSAL and "Nemotron" not in name
        needs = name.endswith("Answering") or (kind == "left" and reads_first)
        assert was_packed is not needs, kind


OPTIONS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "token types, positions": (
        "BertModel",
        {},
        {"token_type_ids": IDS % 2, "position_ids": np.arange(8)[None, ::-1].copy()},
    ),
    "a cache": ("NemotronModel", {}, {"use_cache": True}),
    "a decoder": ("BertModel", {"is_decoder": True}, {"use_cache": True}),
    "chunks": ("MegaModel", {"use_chunking": True, "chunk_size": 4}, {}),
    "laplace": ("MegaModel", {"attention_activation": "laplace"}, {}),
    "rotary bias": ("MegaModel", {"relative_positional_bias": "rotary"}, {}),
    "a norm after": ("MegaModel", {"normalize_before_mega": False}, {}),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_options_that_are_packed(case: str) -> None:
    name, options, arguments = OPTIONS[case]
    model, call = make(name, **options), {**call_of(name, MASK), **arguments}
    found, was_packed = run(model, call, False)
    assert was_packed
    assert_same(found, run(model, call, True)[0], 1e-12)


def test_gradient_checkpointing_and_embeddings() -> None:
    model = make("BertForMaskedLM")
    embeds = Tensor(np.random.default_rng(3).standard_normal((5, 8, 12)), requires_grad=True)
    call = {**call_of("BertForMaskedLM", MASK), "inputs_embeds": embeds}
    del call["input_ids"]
    wanted, _ = run(model, call, True)
    slope = embeds.grad.numpy().copy()  # type: ignore[union-attr]
    model.gradient_checkpointing_enable()
    embeds.grad = None
    found, was_packed = run(model, call, False)
    assert was_packed
    assert_same({**found, "x": embeds.grad.numpy()}, {**wanted, "x": slope}, 1e-12)  # type: ignore[union-attr]


PADDED_CALLS: dict[str, tuple[str, dict[str, Any], dict[str, Any]]] = {
    "weights": ("BertModel", {}, {"output_attentions": True}),
    "head mask": ("BertModel", {}, {"head_mask": np.ones(3)}),
    "relative": ("BertModel", {"position_embedding_type": "relative_key"}, {}),
    "feed-forward in chunks": ("BertModel", {"chunk_size_feed_forward": 4}, {}),
    "three axes": ("BertModel", {}, {"attention_mask": np.repeat(MASK[:, None] * 1, 8, axis=1)}),
    "a row without a token": (
        "BertModel", {}, {"attention_mask": MASK * (np.arange(5) != 1)[:, None]}
    ),
    "states of an encoder": (
        "BertModel",
        {"is_decoder": True, "add_cross_attention": True},
        {"encoder_hidden_states": np.ones((5, 2, 12)), "use_cache": False},
    ),
    "batch norm": ("MegaModel", {"normalization_type": "batchnorm"}, {}),
    "dropout by feature": (
        "MegaModel", {"use_feature_dropout": True, "hidden_dropout_prob": 0.2}, {}
    ),
    "labels of padding": ("BertForMaskedLM", {}, {"labels": IDS}),
    "labels of padding, one axis more": ("BertForMaskedLM", {}, {"labels": IDS[..., None]}),
    "labels of padding, one axis less": (
        "BertForMaskedLM",
        {},
        {"input_ids": IDS[:1], "attention_mask": MASK[:1] * 1, "labels": IDS[0]},
    ),
    "labels after padding": (
        "NemotronForCausalLM",
        {},
        {"attention_mask": LEFT * 1, "labels": IDS * LEFT, "use_cache": False},
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", PADDED_CALLS)
def test_calls_that_stay_padded(case: str) -> None:
    name, options, arguments = PADDED_CALLS[case]
    model, call = make(name, **options), {**call_of(name, MASK), **arguments}
    outputs = []
    for context in (padded(), nullcontext()):
        manual_seed(3)
        with context:
            outputs.append(oracle.flat(model(**call)))
    for key, array in outputs[0].items():
        np.testing.assert_array_equal(outputs[1][key], array)
    if "loss" in outputs[0]:
        assert outputs[0]["logits"][~call["attention_mask"].astype(bool)].all()


def test_hooks_plain_and_recordings_see_the_padded_computation() -> None:
    model, call = make("BertModel").eval(), call_of("BertModel", MASK)
    shapes: list[tuple[int, ...]] = []
    handle = model.encoder.layer[0].register_forward_hook(
        lambda module, inputs, output: shapes.append(output[0].shape)
    )
    model(**call)
    assert shapes == [(5, 8, 12)]
    handle.remove()
    wanted = model(**call, output_attentions=True).last_hidden_state.numpy()
    assert wanted[~MASK].all()
    with tinybert.plain():
        found = model(**call).last_hidden_state.numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-12)
    with tinybert.record(model):
        found = model(**call).last_hidden_state.numpy()
    np.testing.assert_allclose(found, wanted, atol=1e-12)


def test_a_hook_on_the_head_sees_the_padded_computation() -> None:
    name = "BertForTokenClassification"
    model, call = make(name).eval(), call_of(name, MASK)
    seen: list[np.ndarray] = []
    model.classifier.register_forward_hook(lambda module, inputs, output: seen.append(output))
    logits = model(**call).logits
    assert seen[0].shape == (5, 8, 2)
    with padded():
        wanted = model(**call).logits.numpy()
    np.testing.assert_array_equal(logits.numpy(), wanted)


def test_forward_gives_what_the_call_gives() -> None:
    for name, labels in (("BertForMaskedLM", IDS), ("BertForQuestionAnswering", None)):
        model, call = make(name).eval(), call_of(name, MASK)
        call |= {} if labels is None else {"labels": labels}
        wanted, found = oracle.flat(model(**call)), oracle.flat(model.forward(**call))
        for key, array in wanted.items():
            np.testing.assert_array_equal(found[key], array)
        positional = model.forward(call.pop("input_ids"), call.pop("attention_mask"), **call)
        np.testing.assert_array_equal(oracle.flat(positional)["loss"], wanted["loss"])


def test_a_subclass_that_calls_forward_of_its_base() -> None:
    class Own(tinybert.BertForMaskedLM):
        def forward(self, *args: Any, **kwargs: Any) -> Any:
            return super().forward(*args, **kwargs)

    model, call = make("BertForMaskedLM").eval(), call_of("BertForMaskedLM", MASK)
    own = Own(model.config).to(np.float64).eval()
    own.load_state_dict(model.state_dict())
    for labels in (IDS, call["labels"]):
        arrays = call["input_ids"], call["attention_mask"]
        wanted = model(*arrays, labels=labels)
        np.testing.assert_array_equal(own(*arrays, labels=labels).logits, wanted.logits)


@pytest.mark.parametrize("given", [1, 0, np.ones((5, 0)), np.ones((5, 6)), np.zeros(8)])
@pytest.mark.parametrize(
    "name", [name for name in CLASSES if name.endswith(("CausalLM", "SequenceClassification"))]
)
def test_wrong_masks_are_named(name: str, given: Any) -> None:
    with pytest.raises(ValueError, match="attention_mask"):
        make(name)(IDS, attention_mask=given)


def test_a_classifier_continues_from_a_cache() -> None:
    model = make("NemotronForSequenceClassification").eval()
    ids, mask = IDS[1:4, :7] * LEFT[1:4, :7], LEFT[1:4, :7] * 1
    wanted = model(ids, attention_mask=mask).logits.numpy()
    first = model(ids[:, :5], attention_mask=mask[:, :5], use_cache=True)
    found = model(ids[:, 5:], attention_mask=mask, past_key_values=first.past_key_values)
    np.testing.assert_allclose(found.logits.numpy(), wanted, atol=1e-12)


def test_a_packed_prompt_makes_no_matrix(monkeypatch: pytest.MonkeyPatch) -> None:
    model, call = make("NemotronModel"), {"input_ids": IDS, "attention_mask": LEFT * 1}
    made: list[tuple[int, ...]] = []
    whole = masks.to_scores
    monkeypatch.setattr(masks, "to_scores", lambda a: made.append(a.shape) or whole(a))
    model(**call)
    assert not made
    with padded():
        model(**call)
    assert made == [(5, 1, 8, 8)]


def test_padding_gets_zeros() -> None:
    model = make("BertForTokenClassification").eval()
    call = call_of("BertForTokenClassification", MASK)
    output = model(**call, output_hidden_states=True)
    for tensor in (output.logits, *output.hidden_states):
        assert not tensor.numpy()[~MASK].any()
        assert tensor.numpy()[MASK].all()
    cache = make("NemotronModel").eval()(IDS, MASK * 1).past_key_values
    for keys in cache[1]:
        assert not keys.numpy().swapaxes(1, 2)[~MASK].any()
    with padded():
        assert model(**call).logits.numpy()[~MASK].all()


@pytest.mark.parametrize("name", CAUSAL)
def test_generation_reads_the_same_cache(name: str) -> None:
    model = make(name, np.float32).eval()
    options = {"max_new_tokens": 5, "pad_token_id": 0, "do_sample": False}
    call = {"input_ids": IDS * LEFT, "attention_mask": LEFT * 1}
    with padded():
        wanted = model.generate(**call, **options).tolist()
    with counted() as found:
        assert model.generate(**call, **options).tolist() == wanted
    assert len(found) == 1  # the prompt; later steps have tokens in the cache
    right = {"input_ids": IDS * MASK, "attention_mask": MASK * 1}
    with padded():
        wanted = model.generate(**right, **options).tolist()
    with counted() as found:
        assert model.generate(**right, **options).tolist() == wanted
    assert not found  # the token after padding is asked for


def test_float32_is_as_exact_as_padded() -> None:
    name = "BertForMaskedLM"
    call = call_of(name, MASK)
    exact, _ = run(make(name), call, True)
    errors = {}
    for compute_padding in (False, True):
        found, _ = run(make(name, np.float32), call, compute_padding)
        gaps = [np.square(found[key] - array).mean() ** 0.5 for key, array in exact.items()]
        sizes = [np.square(array).mean() ** 0.5 + 1e-3 for array in exact.values()]
        errors[compute_padding] = np.exp(np.mean(np.log(np.divide(gaps, sizes) + 1e-12)))
    assert errors[False] <= 1.25 * errors[True]


def test_dropout_in_training_follows_the_seed() -> None:
    model = make("BertForMaskedLM", hidden_dropout_prob=0.2, attention_probs_dropout_prob=0.2)
    call = call_of("BertForMaskedLM", MASK)
    found = []
    for seed in (1, 1, 2):
        manual_seed(seed)
        found.append(model(**call).loss.item())
    assert found[0] == found[1] != found[2]
    assert losses.IGNORED == -100  # as `predicts_at_padding` has it
