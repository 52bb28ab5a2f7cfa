"""fill-mask against transformers."""

from __future__ import annotations

from typing import Any

import pytest

from tests.pipelines.twins import Make, assert_same, both

ONE = "The king of [MASK] went to the city."
TWO = "The [MASK] of Egypt, don't you know, was [MASK]!"


@pytest.fixture(scope="module")
def pair(model_folder: Make) -> tuple[Any, Any]:
    return both("fill-mask", model_folder("BertForMaskedLM"))


@pytest.mark.parametrize(
    ("inputs", "options"),
    [
        (ONE, {}),
        (ONE, {"top_k": 3}),
        (TWO, {}),
        ([ONE], {}),
        ([TWO], {"top_k": 1}),
        ([ONE, TWO, "[MASK]"], {"top_k": 2}),
        ([ONE, TWO], {"batch_size": 2}),
        ([], {}),
        (ONE, {"targets": "people"}),
        (ONE, {"targets": ["people", "house", "men", "people"]}),
        (ONE, {"targets": ["people", "house", "men"], "top_k": 2}),
        (TWO, {"targets": ["people", "house"]}),
        ("[MASK] [PAD] and [SEP]", {"top_k": 2}),
        ("long [MASK] text " * 50, {"tokenizer_kwargs": {"truncation": True}, "top_k": 1}),
    ],
)
def test_results(pair: tuple[Any, Any], inputs: Any, options: dict[str, Any]) -> None:
    ours, theirs = pair
    assert_same(ours(inputs, **options), theirs(inputs, **options))


def test_truncation_and_options_of_the_pipeline(model_folder: Make) -> None:
    ours, theirs = both("fill-mask", model_folder("BertForMaskedLM"), top_k=2)
    assert_same(ours(ONE), theirs(ONE))
    assert_same(ours(ONE, top_k=1), theirs(ONE, top_k=1))
    long = "long [MASK] text " * 50
    assert ours(long, truncation=True) == ours(long, tokenizer_kwargs={"truncation": True})


def test_a_target_in_another_case_is_the_token_that_it_becomes(pair: tuple[Any, Any]) -> None:
    ours, _ = pair
    assert ours(ONE, targets="People") == ours(ONE, targets="people")


def test_inputs_that_are_refused(pair: tuple[Any, Any]) -> None:
    ours, _ = pair
    for inputs, options, match in (
        ("no mask", {}, r"needs \[MASK\] in the text 'no mask'"),
        (ONE, {"top_k": 0}, "top_k must be an integer >= 1, got 0"),
        (ONE, {"targets": []}, "at least one word"),
        (3, {}, "takes a str or a list of str, got 3"),
        ("long [MASK] text " * 50, {}, "max_position_embeddings is 64"),
    ):
        with pytest.raises(ValueError, match=match):
            ours(inputs, **options)


def test_targets_that_are_no_token_are_refused(pair: tuple[Any, Any]) -> None:
    ours, _ = pair
    with pytest.raises(
        ValueError,
        match=r"must be single tokens of the vocabulary, got 'peopleking'",
    ):
        ours(ONE, targets=["people", "peopleking"])
    with pytest.raises(ValueError, match=r"whose tokens are: \[UNK\]"):
        ours(ONE, targets="\u4eff")
