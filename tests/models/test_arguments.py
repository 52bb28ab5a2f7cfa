"""What BERT's documentation names is here, under the same name, at the same place; and what is
given wrongly is refused by an error that says which argument, what was given, and what is allowed.
"""

from __future__ import annotations

import functools
import inspect
import pydoc
import re
from collections.abc import Iterator
from dataclasses import fields
from typing import Any

import numpy as np
import pytest
import transformers

import tinybert
from tests.models.oracle import TOY, config

B, C, T = 3, 2, 7  # texts, choices, tokens
V, D, LIMIT = TOY["vocab_size"], TOY["hidden_size"], TOY["max_position_embeddings"]
LAYERS, HEADS, TYPES = TOY["num_hidden_layers"], TOY["num_attention_heads"], TOY["type_vocab_size"]
N = 5  # classes of a classifier
WORDS = ((B, T), V)  # labels for every token, numbers of words


# --- what the page names --------------------------------------------------------------------------

CONFIG: dict[str, Any] = {
    "vocab_size": 30522,
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "intermediate_size": 3072,
    "hidden_act": "gelu",
    "hidden_dropout_prob": 0.1,
    "attention_probs_dropout_prob": 0.1,
    "max_position_embeddings": 512,
    "type_vocab_size": 2,
    "initializer_range": 0.02,
    "layer_norm_eps": 1e-12,
    "pad_token_id": 0,
    "position_embedding_type": "absolute",
    "use_cache": True,
    "classifier_dropout": None,
}
FIRST = (
    *("input_ids", "attention_mask", "token_type_ids", "position_ids", "head_mask"),
    "inputs_embeds",
)
ENCODER = ("encoder_hidden_states", "encoder_attention_mask")
CACHE = ("past_key_values", "use_cache")
LAST = ("output_attentions", "output_hidden_states", "return_dict")
EXTRAS = ("hidden_states", "attentions")
CLASSIFIER = ("loss", "logits", *EXTRAS)
DECODER = ("past_key_values", *EXTRAS, "cross_attentions")

# The arguments of a call after the first six and before the last three.
ARGUMENTS: dict[str, tuple[str, ...]] = {
    "BertModel": (*ENCODER, *CACHE),
    "BertForPreTraining": ("labels", "next_sentence_label"),
    "BertLMHeadModel": (*ENCODER, "labels", *CACHE),
    "BertForMaskedLM": (*ENCODER, "labels"),
    "BertForNextSentencePrediction": ("labels",),
    "BertForSequenceClassification": ("labels",),
    "BertForMultipleChoice": ("labels",),
    "BertForTokenClassification": ("labels",),
    "BertForQuestionAnswering": ("start_positions", "end_positions"),
}
OUTPUTS: dict[str, tuple[str, tuple[str, ...]]] = {
    "BertModel": (
        "BaseModelOutputWithPoolingAndCrossAttentions",
        ("last_hidden_state", "pooler_output", "hidden_states", *CACHE[:1], *DECODER[2:]),
    ),
    "BertForPreTraining": (
        "BertForPreTrainingOutput",
        ("loss", "prediction_logits", "seq_relationship_logits", *EXTRAS),
    ),
    "BertLMHeadModel": ("CausalLMOutputWithCrossAttentions", ("loss", "logits", *DECODER)),
    "BertForMaskedLM": ("MaskedLMOutput", CLASSIFIER),
    "BertForNextSentencePrediction": ("NextSentencePredictorOutput", CLASSIFIER),
    "BertForSequenceClassification": ("SequenceClassifierOutput", CLASSIFIER),
    "BertForMultipleChoice": ("MultipleChoiceModelOutput", CLASSIFIER),
    "BertForTokenClassification": ("TokenClassifierOutput", CLASSIFIER),
    "BertForQuestionAnswering": (
        "QuestionAnsweringModelOutput", ("loss", "start_logits", "end_logits", *EXTRAS),
    ),
}  # fmt: skip

# What the page, or transformers behind it, takes and tinybert does not, and why.
NOT_TAKEN = {
    "masked_lm_labels": "an old name of `labels` that transformers itself warns of",
    "lm_labels": "another",
    "label": "never a name; a `**kwargs` that swallows misspelt names is not copied",
}
MODELS = tuple(ARGUMENTS)
WITH_HEAD = MODELS[1:]


@functools.cache
def model(name: str, **options: Any) -> Any:
    """A small model of the class, with N classes where the class allows that many."""
    if not name.endswith("QuestionAnswering"):
        options = {"num_labels": N, **options}
    return getattr(tinybert, name)(config(**options)).eval()


def shape_of(name: str) -> tuple[int, ...]:
    """The shape of ids."""
    return (B, C, T) if name.endswith("MultipleChoice") else (B, T)


def good(name: str) -> dict[str, Any]:
    """A call without fault."""
    return {"input_ids": np.arange(np.prod(shape_of(name))).reshape(shape_of(name)) % V}


def labels_of(name: str) -> dict[str, tuple[tuple[int, ...], int]]:
    """The shape of each kind of labels, and how many classes they number."""
    own: dict[str, dict[str, tuple[tuple[int, ...], int]]] = {
        "BertModel": {},
        "BertForPreTraining": {"labels": WORDS, "next_sentence_label": ((B,), 2)},
        "BertLMHeadModel": {"labels": WORDS},
        "BertForMaskedLM": {"labels": WORDS},
        "BertForNextSentencePrediction": {"labels": ((B,), 2)},
        "BertForSequenceClassification": {"labels": ((B,), N)},
        "BertForMultipleChoice": {"labels": ((B,), C)},
        "BertForTokenClassification": {"labels": ((B, T), N)},
        "BertForQuestionAnswering": {"start_positions": ((B,), T), "end_positions": ((B,), T)},
    }
    return own[name]


def good_labels(name: str) -> dict[str, Any]:
    return {key: np.ones(shape, int) for key, (shape, _) in labels_of(name).items()}


def test_the_config_has_the_arguments_of_the_page_in_their_order() -> None:
    for library in (tinybert, transformers):
        parameters = inspect.signature(library.BertConfig).parameters.values()
        named = {p.name: p.default for p in parameters if p.kind is p.POSITIONAL_OR_KEYWORD}
        assert list(named.items()) == list(CONFIG.items()), library.__name__
        own = library.BertConfig()
        assert {name: getattr(own, name) for name in CONFIG} == CONFIG
        assert own.is_decoder is False
        assert library.BertConfig(is_decoder=True, my_option=3).my_option == 3


@pytest.mark.parametrize("name", MODELS)
def test_a_call_takes_the_arguments_of_the_page(name: str) -> None:
    arguments = (*FIRST, *ARGUMENTS[name], *LAST)
    theirs = inspect.signature(getattr(transformers, name).forward).parameters
    assert [key for key in theirs if key in arguments] == list(arguments)
    ours, call = model(name), good(name)
    expected = ours(**call)
    for argument in arguments[1:]:
        found = ours(**call, **{argument: None})
        assert list(found) == list(expected), argument
        assert all((found[key].numpy() == expected[key].numpy()).all() for key in expected)


@pytest.mark.parametrize("name", MODELS)
def test_the_first_arguments_may_be_given_by_position(name: str) -> None:
    ours, ids = model(name), good(name)["input_ids"]
    rng = np.random.default_rng(0)
    values = (
        ids, np.ones(ids.shape, int), rng.integers(TYPES, size=ids.shape),
        rng.integers(LIMIT, size=ids.shape), rng.random((LAYERS, HEADS)),
    )  # fmt: skip
    for count in range(1, len(values) + 1):
        found = ours(*values[:count])
        expected = ours(**dict(zip(FIRST, values[:count], strict=False)))
        assert all((found[key].numpy() == expected[key].numpy()).all() for key in expected)
    embeds = ours.get_input_embeddings()(tinybert.Tensor(ids))
    assert list(ours(None, None, None, None, None, embeds)) == list(ours(ids))


DOCUMENTED = {name: (*FIRST, *ARGUMENTS[name], *LAST) for name in MODELS}
MEGA_FIRST = ("input_ids", "attention_mask", "token_type_ids", "inputs_embeds")
NEMOTRON_FIRST = (
    "input_ids", "attention_mask", "position_ids", "past_key_values", "inputs_embeds",
)  # fmt: skip
SPAN = ("start_positions", "end_positions")
DOCUMENTED |= {
    "MegaModel": (*MEGA_FIRST, *ENCODER, *CACHE, *LAST),
    "MegaForCausalLM": (*MEGA_FIRST, *ENCODER, "labels", *CACHE, *LAST),
    "MegaForMaskedLM": (*MEGA_FIRST, *ENCODER, "labels", *LAST),
    "MegaForSequenceClassification": (*MEGA_FIRST, "labels", *LAST),
    "MegaForMultipleChoice": (
        "input_ids", "token_type_ids", "attention_mask", "labels", "inputs_embeds", *LAST,
    ),
    "MegaForTokenClassification": (*MEGA_FIRST, "labels", *LAST),
    "MegaForQuestionAnswering": (*MEGA_FIRST, *SPAN, *LAST),
    "NemotronModel": (*NEMOTRON_FIRST, "use_cache", *LAST, "cache_position"),
    "NemotronForCausalLM": (*NEMOTRON_FIRST, "labels", "use_cache", *LAST, "cache_position"),
    "NemotronForSequenceClassification": (*NEMOTRON_FIRST, "labels", "use_cache", *LAST),
    "NemotronForTokenClassification": (*NEMOTRON_FIRST, "labels", "use_cache", *LAST),
    "NemotronForQuestionAnswering": (*NEMOTRON_FIRST, *SPAN, *LAST),
}  # fmt: skip
DOCUMENTED |= {
    f"Megatron{name}".replace("BertLMHeadModel", "BertForCausalLM"): arguments
    for name, arguments in DOCUMENTED.items()
    if name.startswith("Bert")
}


@pytest.mark.parametrize("name", DOCUMENTED)
def test_all_documented_arguments_may_be_given_by_position(name: str) -> None:
    """In the order of the documentation; what a class takes beyond it, by name."""
    parameters = inspect.signature(getattr(tinybert, name).forward).parameters
    by_position = [key for key, p in parameters.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    documented = ["self", *DOCUMENTED[name]]
    assert by_position[: len(documented)] == documented
    assert {*by_position[len(documented) :]} <= {"logits_to_keep"}  # transformers has it there
    assert {p.kind.name for p in parameters.values()} <= {"POSITIONAL_OR_KEYWORD", "KEYWORD_ONLY"}
    defaults = {key: p.default for key, p in parameters.items()}
    assert {value for key, value in defaults.items() if key not in ("self", "logits_to_keep")} == {
        None
    }
    theirs = [*inspect.signature(getattr(transformers, name).forward).parameters]
    shared = [key for key in by_position if key in theirs]
    assert shared == [key for key in theirs if key in shared]


@pytest.mark.parametrize("name", DOCUMENTED)
def test_help_explains_every_argument_of_a_call(name: str) -> None:
    """The documentation is written once and reaches every class, as plain inheritance."""
    model_class = getattr(tinybert, name)
    explained = inspect.getdoc(model_class.forward) or ""
    for argument in DOCUMENTED[name]:
        assert re.search(rf"\b{argument}\b", explained), argument
    shown = pydoc.plain(pydoc.render_doc(model_class))
    assert "Return" in shown
    assert all(f"{argument}=None" in shown for argument in DOCUMENTED[name])


def test_the_model_without_head_is_made_of_a_config_and_a_pooler() -> None:
    with pytest.raises(TypeError, match="takes from 1 to 14 positional arguments but 15"):
        model("BertModel")(*[None] * 14)
    made = inspect.signature(tinybert.BertModel).parameters
    assert {name: p.default for name, p in made.items()} == {
        "config": inspect.Parameter.empty,
        "add_pooling_layer": True,
    }


@pytest.mark.parametrize("name", WITH_HEAD)
def test_labels_may_be_given_by_position(name: str) -> None:
    call, labels = good(name), good_labels(name)
    arguments = DOCUMENTED[name]
    last = max(arguments.index(key) for key in labels)
    found = model(name)(*({**call, **labels}.get(key) for key in arguments[: last + 1]))
    assert found.loss.item() == model(name)(**call, **labels).loss.item()


def test_the_order_of_base_classes_cannot_choose_a_head() -> None:
    from tinybert.models import bert_heads, heads

    class EitherOrder(heads.MaskedLM, bert_heads.BertWordHead):
        forward = tinybert.BertForMaskedLM.forward

    made = EitherOrder(config())
    call = good("BertForMaskedLM")
    made.load_state_dict(model("BertForMaskedLM").state_dict())
    found, expected = made.eval()(**call), model("BertForMaskedLM")(**call)
    np.testing.assert_array_equal(found.logits.numpy(), expected.logits.numpy())
    with pytest.raises(TypeError, match="BertWordHead and TokenClassification make different hea"):
        type("Two", (bert_heads.BertWordHead, heads.TokenClassification), {})


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("argument", NOT_TAKEN)
def test_an_argument_that_there_is_not_is_refused(name: str, argument: str) -> None:
    with pytest.raises(TypeError, match=rf" argument '?{argument}\b") as raised:
        model(name)(**good(name), **{argument: 1})
    for part in (name, *FIRST, *labels_of(name), *LAST):
        assert part in str(raised.value)


@pytest.mark.parametrize("name", MODELS)
def test_an_output_has_the_fields_of_the_page(name: str) -> None:
    class_name, names = OUTPUTS[name]
    ours = getattr(tinybert, class_name)
    for output_class in (ours, original_output(class_name)):
        assert tuple(field.name for field in fields(output_class)) == names
        assert all(field.default is None for field in fields(output_class))
    plain = model(name)(**good(name))
    assert isinstance(plain, ours)
    assert all(plain[key] is getattr(plain, key) for key in plain)
    assert "loss" not in plain
    assert plain.hidden_states is None
    assert plain.attentions is None
    rows = B * C if name.endswith("MultipleChoice") else B
    labels = good_labels(name)
    full = model(name)(**good(name), **labels, output_attentions=True, output_hidden_states=True)
    assert [x.shape for x in full.hidden_states] == [(rows, T, D)] * (LAYERS + 1)
    assert [x.shape for x in full.attentions] == [(rows, HEADS, T, T)] * LAYERS
    if labels:
        assert full.loss.shape == ()
    shapes = {
        "last_hidden_state": (B, T, D), "pooler_output": (B, D),
        "prediction_logits": (B, T, V), "seq_relationship_logits": (B, 2),
        "start_logits": (B, T), "end_logits": (B, T),
        "logits": {
            "BertLMHeadModel": (B, T, V), "BertForMaskedLM": (B, T, V),
            "BertForNextSentencePrediction": (B, 2), "BertForSequenceClassification": (B, N),
            "BertForMultipleChoice": (B, C), "BertForTokenClassification": (B, T, N),
        }.get(name),
    }  # fmt: skip
    assert all(plain[key].shape == shapes[key] for key in plain)
    listed = model(name)(**good(name), return_dict=False)
    assert isinstance(listed, tuple)
    assert len(listed) == len(plain)


def original_output(class_name: str) -> Any:
    from transformers import modeling_outputs
    from transformers.models.bert import modeling_bert

    return getattr(modeling_outputs, class_name, None) or getattr(modeling_bert, class_name)


# --- what is given wrongly ------------------------------------------------------------------------

Fault = tuple[str, dict[str, Any], type[Exception], tuple[str, ...]]


def with_last(name: str, value: int) -> np.ndarray:
    """Ids of ones whose last one is `value`."""
    ids = np.ones(shape_of(name), int)
    ids[..., -1] = value
    return ids


def faults_of_inputs(name: str) -> Iterator[Fault]:
    """What, the call, the error, and what its message has to name."""
    call, shape = good(name), shape_of(name)
    ids, flat = call["input_ids"], (int(np.prod(shape[:-1])), T)
    letters = "(B, C, T" if len(shape) == 3 else "(B, T"

    limits = {"input_ids": V, "token_type_ids": TYPES, "position_ids": LIMIT}
    for argument, limit in limits.items():
        for value in (limit, -1):
            wrong = {**call, argument: with_last(name, value)}
            yield f"{argument} {value}", wrong, ValueError, (
                f"{argument} must be from 0 to {limit - 1}, got {value}",
            )  # fmt: skip
        yield f"{argument} of a half", {**call, argument: np.full(shape, 0.5)}, TypeError, (
            f"{argument} must be integers, got float64",
        )  # fmt: skip

    for argument in FIRST[:-1]:
        yield f"{argument} a text", {**call, argument: "yes"}, TypeError, (
            argument, "array", "nested lists of numbers", "str",
        )  # fmt: skip
    ragged = {"input_ids": [[1, 2], [1]]}
    yield "ragged ids", ragged, ValueError, ("input_ids", "lengths [1, 2]", "pad")

    for wrong_ids in (ids[0], ids[None]):
        yield f"ids of rank {wrong_ids.ndim}", {"input_ids": wrong_ids}, ValueError, (
            f"input_ids must have shape {letters})", f"got {wrong_ids.shape}",
        )  # fmt: skip
    yield "ids without tokens", {"input_ids": ids[..., :0]}, ValueError, ("input_ids", "token")
    yield "embeddings of ids' rank", {"inputs_embeds": np.ones(shape)}, ValueError, (
        f"inputs_embeds must have shape {letters}", f"got {shape}",
    )  # fmt: skip
    narrow = {"inputs_embeds": np.ones((*shape, D - 1))}
    yield "narrow embeddings", narrow, ValueError, ("inputs_embeds", f"{D})", f"{D - 1})")
    yield "nothing", {}, ValueError, ("input_ids or inputs_embeds",)
    both = {**call, "inputs_embeds": np.ones((*shape, D))}
    yield "both", both, ValueError, ("give either input_ids or inputs_embeds",)

    long = (*shape[:-1], LIMIT + 1)
    too_long = (f"has {LIMIT + 1} tokens", f"max_position_embeddings is {LIMIT}")
    for argument, array in (("input_ids", np.ones(long)), ("inputs_embeds", np.ones((*long, D)))):
        yield f"{argument} too long", {argument: array}, ValueError, (argument, *too_long)

    for argument in ("attention_mask", "token_type_ids", "position_ids"):
        for other in ((*shape[:-1], T - 2), (B + 1, *shape[1:]), (T,)):
            expected = f"{argument} must have shape "
            expected += f"{letters})" if len(shape) == 3 and len(other) == 1 else str(shape)
            yield f"{argument} {other}", {**call, argument: np.ones(other, int)}, ValueError, (
                expected, f"got {other}",
            )  # fmt: skip
    cube = {**call, "attention_mask": np.ones((*flat, T + 1))}
    if len(shape) == 2:
        yield "a mask for other keys", cube, ValueError, (
            f"attention_mask must have shape {shape} or {(*shape, T)}, got {(*shape, T + 1)}",
        )  # fmt: skip

    for other in ((HEADS + 1,), (1, HEADS), (LAYERS, 1, HEADS)):
        yield f"head_mask {other}", {**call, "head_mask": np.ones(other)}, ValueError, (
            f"head_mask must have shape ({HEADS},) or ({LAYERS}, {HEADS}), got {other}",
        )  # fmt: skip
    if "past_key_values" in ARGUMENTS[name]:
        cached = {**call, "past_key_values": []}
        yield "a cache", cached, ValueError, ("past_key_values", "is_decoder=True")


def faults_of_labels(name: str) -> Iterator[Fault]:
    """The same for labels; positions of answers have no range: what is outside does not count."""
    call = {**good(name), **good_labels(name)}
    for argument, (shape, classes) in labels_of(name).items():
        if not name.endswith("QuestionAnswering"):
            for value in (classes, -1, -101):
                labels = np.zeros(shape, int)
                labels[-1] = value
                yield f"{argument} {value}", {**call, argument: labels}, ValueError, (
                    f"{argument} must be from 0 to {classes - 1}, or -100", f"got {value}",
                )  # fmt: skip
        for other in ((B + 1, *shape[1:]), (*shape, 2), (), (B, T + 1)):
            yield f"{argument} {other}", {**call, argument: np.ones(other, int)}, ValueError, (
                f"{argument} must have shape {shape}, got {other}",
            )  # fmt: skip
        half = {**call, argument: np.full(shape, 0.5)}
        if name.endswith("SequenceClassification"):  # several classes, then
            yield "half", half, ValueError, (f"labels must have shape ({B}, {N}), got ({B},)",)
        else:
            yield f"{argument} half", half, TypeError, (
                f"{argument} must be integers, got float64",
            )  # fmt: skip
        yield f"{argument} a text", {**call, argument: "yes"}, TypeError, (argument, "str")


def cases(faults: Any) -> list[Any]:
    return [
        pytest.param(name, call, error, parts, id=f"{name}-{what}")
        for name in MODELS
        for what, call, error, parts in faults(name)
    ]


@pytest.mark.parametrize(
    ("name", "call", "error", "parts"), cases(faults_of_inputs) + cases(faults_of_labels)
)
def test_a_wrong_call_is_refused_by_name_value_and_limit(
    name: str, call: dict[str, Any], error: type[Exception], parts: tuple[str, ...]
) -> None:
    with pytest.raises(error) as raised:
        model(name)(**call)
    message = str(raised.value)
    assert type(raised.value) is error
    assert not [part for part in parts if part not in message], message
    assert "\n" not in message


SEVERAL: dict[str, tuple[dict[str, Any], Any, str]] = {
    "several, above 1": ({}, np.full((B, N), 2.5), "labels must be from 0 to 1 for multi.*got 2.5"),
    "several, below 0": ({}, np.full((B, N), -0.5), "labels must be from 0 to 1 .*got -0.5"),
    "several, nan": ({}, np.full((B, N), np.nan), "labels must be from 0 to 1 .*got nan"),
    "several, too few": ({}, np.ones((B, 2)), r"labels must have shape \(3, 5\), got \(3, 2\)"),
    "whole numbers for several": (
        {}, np.ones((B, N), int), r"labels must have shape \(3,\), got \(3, 5\)",
    ),
    "one, but halves": (
        {"problem_type": "single_label_classification"}, np.full(B, 0.5),
        "labels must be integers, got float64",
    ),
    "numbers, too few": (
        {"problem_type": "regression"}, np.ones(B), r"labels must have shape \(3, 5\), got \(3,\)",
    ),
    "one number, too many": (
        {"num_labels": 1}, np.ones((B, 2)), r"labels must have shape \(3, 1\), got \(3, 2\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("options", "labels", "message"), SEVERAL.values(), ids=SEVERAL)
def test_labels_of_every_problem_type_are_checked(
    options: dict[str, Any], labels: Any, message: str
) -> None:
    name = "BertForSequenceClassification"
    with pytest.raises((ValueError, TypeError), match=message):
        model(name, **options)(**good(name), labels=labels)


CHOICES: dict[str, tuple[dict[str, Any], str]] = {
    "two axes": (
        {"input_ids": np.ones((B, T), int)}, r"input_ids must have shape \(B, C, T\).*\(3, 7\)",
    ),
    "no choice": ({"input_ids": np.ones((B, 0, T), int)}, r"at least one choice.*\(3, 0, 7\)"),
    "choices of other number": (
        {"token_type_ids": np.ones((B, C + 1, T), int)},
        r"token_type_ids must have shape \(3, 2, 7\), as input_ids has, got \(3, 3, 7\)",
    ),
    "as many rows, other choices": (
        {"attention_mask": np.ones((C, B, T))}, r"attention_mask .*\(3, 2, 7\).*got \(2, 3, 7\)",
    ),
    "embeddings with three axes": (
        {"input_ids": None, "inputs_embeds": np.ones((B, T, D))},
        r"inputs_embeds must have shape \(B, C, T, D\).*\(3, 7, 12\)",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("call", "message"), CHOICES.values(), ids=CHOICES)
def test_inputs_of_multiple_choice_have_an_axis_for_it(call: dict[str, Any], message: str) -> None:
    name = "BertForMultipleChoice"
    with pytest.raises(ValueError, match=message):
        model(name)(**{**good(name), **call})


@pytest.mark.parametrize("name", ["token_type_ids", "position_ids"])
def test_one_row_may_stand_for_all_choices(name: str) -> None:
    ours, call = model("BertForMultipleChoice"), good("BertForMultipleChoice")
    row = np.arange(T)[None, None] % TYPES
    found = ours(**call, **{name: row}).logits.numpy()
    assert (found == ours(**call, **{name: row.repeat(B, 0).repeat(C, 1)}).logits.numpy()).all()


CONFIGS: dict[str, tuple[str, dict[str, Any], str]] = {
    "labels of answers": (
        "BertForQuestionAnswering", {"num_labels": 3}, "num_labels must be 2 .*got 3",
    ),
    "one label of answers": (
        "BertForQuestionAnswering", {"num_labels": 1}, "num_labels must be 2 .*got 1",
    ),
    "negative labels": ("BertModel", {"num_labels": -1}, "num_labels .*>= 0, got -1"),
    "labels in quotes": ("BertModel", {"num_labels": "2"}, "num_labels .*>= 0, got '2'"),
    "problem type": (
        "BertForSequenceClassification", {"problem_type": "ranking"},
        "problem_type must be one of .*multi_label_classification.*got 'ranking'",
    ),
    "layers": ("BertModel", {"num_hidden_layers": -1}, "num_hidden_layers .*>= 0, got -1"),
    "a true size": ("BertModel", {"type_vocab_size": True}, "type_vocab_size .*>= 1, got True"),
    "chunks": (
        "BertModel", {"chunk_size_feed_forward": -1}, "chunk_size_feed_forward .*>= 0, got -1",
    ),
    "dropout": (
        "BertModel", {"hidden_dropout_prob": -0.5}, "hidden_dropout_prob .*0 to 1, got -0.5",
    ),
    "dropout in quotes": (
        "BertModel", {"attention_probs_dropout_prob": "0.1"},
        "attention_probs_dropout_prob .*0 to 1, got '0.1'",
    ),
    "dropout of a head": (
        "BertForTokenClassification", {"classifier_dropout": 1.5},
        "classifier_dropout .*0 to 1 or None, got 1.5",
    ),
    "eps": ("BertModel", {"layer_norm_eps": -1.0}, "layer_norm_eps .*>= 0, got -1.0"),
    "range": ("BertModel", {"initializer_range": None}, "initializer_range .*got None"),
    "padding": ("BertModel", {"pad_token_id": -1}, "pad_token_id .*0 to 22 or None, got -1"),
    "heads that are not there": (
        "BertModel", {"pruned_heads": {0: [9]}}, r"heads must be from 0 to 2, got \[9\]",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("name", "options", "message"), CONFIGS.values(), ids=CONFIGS)
def test_a_wrong_option_is_refused_by_name_value_and_limit(
    name: str, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        getattr(tinybert, name)(config(**options))
