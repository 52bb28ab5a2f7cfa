"""feature-extraction and text-classification against transformers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import transformers

from tests.pipelines.twins import Make, assert_same, both
from tinybert import BertForSequenceClassification, Tensor, pipeline

TEXTS = [
    "The king went home.",
    "Why?",
    "A ship came into the house of the sea, and men fell.",
]
PAIR = {"text": "The king went home.", "text_pair": "He slept."}


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (TEXTS[0], {}),
        (TEXTS, {}),
        (TEXTS[:1], {}),
        ("many words " * 60, {"truncation": True}),
        ("many words " * 60, {"tokenize_kwargs": {"truncation": True, "max_length": 9}}),
    ],
)
def test_features(model_folder: Make, inputs: Any, options: dict[str, Any]) -> None:
    ours, theirs = both("feature-extraction", model_folder("BertModel"))
    found, expected = ours(inputs, **options), theirs(inputs, **options)
    for a, b in (
        [(found, expected)] if isinstance(inputs, str) else zip(found, expected, strict=True)
    ):
        np.testing.assert_allclose(np.array(a), np.array(b), rtol=0, atol=2e-5)
        assert (type(a), type(a[0]), type(a[0][0][0])) == (list, list, float)


def test_no_features_of_padding(model_folder: Make) -> None:
    """In a batch, transformers gives vectors of padding too, so that results depend on it."""
    ours, theirs = both("feature-extraction", model_folder("BertModel"))
    found, alone = ours(TEXTS, batch_size=3), theirs(TEXTS)
    for a, b in zip(found, alone, strict=True):
        np.testing.assert_allclose(np.array(a), np.array(b), rtol=0, atol=2e-5)
    assert len(theirs(TEXTS, batch_size=3)[1][0]) > len(found[1][0])


def test_features_of_a_model_with_a_head_are_its_logits(model_folder: Make) -> None:
    folder = model_folder("BertForSequenceClassification", num_labels=30)
    theirs = transformers.pipeline(
        "feature-extraction",
        transformers.BertForSequenceClassification.from_pretrained(folder),
        tokenizer=str(folder),
    )
    ours = pipeline(
        "feature-extraction", BertForSequenceClassification.from_pretrained(folder), folder
    )
    assert_same(ours(TEXTS), theirs(TEXTS))
    assert len(ours(TEXTS[1], batch_size=2)[0]) == 30


def test_features_as_tensors(model_folder: Make) -> None:
    ours, theirs = both("feature-extraction", model_folder("BertModel"))
    found, expected = (f(TEXTS[0], return_tensors=True) for f in (ours, theirs))
    assert isinstance(found, Tensor)
    assert found.shape == tuple(expected.shape)
    np.testing.assert_allclose(found.numpy(), expected.numpy(), rtol=0, atol=2e-5)


CASES: list[tuple[Any, dict[str, Any]]] = [
    (TEXTS[0], {}),
    (TEXTS, {}),
    ([TEXTS[0]], {}),
    (TEXTS, {"batch_size": 2}),
    (PAIR, {}),
    ([PAIR, PAIR], {"top_k": 2}),
    (TEXTS[0], {"top_k": 1}),
    (TEXTS[0], {"top_k": None}),
    (TEXTS, {"top_k": None}),
    (TEXTS, {"top_k": 2, "function_to_apply": "sigmoid"}),
    (TEXTS[1], {"function_to_apply": "none"}),
    (TEXTS[1], {"function_to_apply": "softmax", "top_k": None}),
    ("many words " * 60, {"truncation": True}),
    ("many words " * 60, {"truncation": True, "max_length": 11}),
]
CONFIGS: list[dict[str, Any]] = [
    {"num_labels": 3},
    {"num_labels": 3, "problem_type": "multi_label_classification"},
    {"num_labels": 3, "problem_type": "single_label_classification"},
    {"num_labels": 1, "problem_type": "regression"},
    {"num_labels": 2, "problem_type": "regression"},
    {"num_labels": 1},
    {"id2label": {0: "bad", 1: "good"}, "label2id": {"bad": 0, "good": 1}},
]


@pytest.mark.parametrize("config", CONFIGS, ids=str)
def test_classes(model_folder: Make, config: dict[str, Any]) -> None:
    ours, theirs = both(
        "text-classification", model_folder("BertForSequenceClassification", **config)
    )
    for inputs, options in CASES:
        assert_same(ours(inputs, **options), theirs(inputs, **options), f"{inputs}, {options}")


@pytest.mark.parametrize("top_k", [1, 2, None])
def test_options_of_the_pipeline(model_folder: Make, top_k: int | None) -> None:
    folder = model_folder("BertForSequenceClassification", num_labels=3)
    ours, theirs = both("sentiment-analysis", folder, top_k=top_k)
    for inputs in (TEXTS[0], TEXTS):
        assert_same(ours(inputs), theirs(inputs))
        assert_same(ours(inputs, top_k=2), theirs(inputs, top_k=2))


def test_inputs_that_are_refused(model_folder: Make) -> None:
    ours, _ = both("text-classification", model_folder("BertForSequenceClassification"))
    for inputs, options, match in (
        ([["a", "b"]], {}, "takes a str, "),
        ({"texts": "a"}, {}, "takes a str, "),
        (
            "a",
            {"function_to_apply": "relu"},
            "must be one of 'softmax', 'sigmoid', 'none', got 'relu'",
        ),
        ("a", {"top_k": 0}, "top_k must be an integer >= 1 or None, got 0"),
        ("many words " * 60, {}, "max_position_embeddings is 64"),
    ):
        with pytest.raises(ValueError, match=match):
            ours(inputs, **options)
