"""A padded row of a batch gets exactly the tokens that the row gets alone, under every rule."""

from __future__ import annotations

import itertools
import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.generation.oracle import CLASSES, causal_twins, everything_in_float64, twins
from tinybert.autograd import Tensor
from tinybert.backend import Array
from tinybert.generation.config import GenerationConfig
from tinybert.generation.logits_processors import processors_for

PAD = 28
PROMPTS = [[5], [3, 4, 3, 5, 4, 3], [7, 8, 7], [9, 1, 2, 9]]
MASK = np.array([[0] * (6 - len(row)) + [1] * len(row) for row in PROMPTS])
IDS = np.array([[PAD] * (6 - len(row)) + row for row in PROMPTS])
NEW = {"max_new_tokens": 8, "pad_token_id": PAD}
EOS = list(range(0, 28, 3))  # many, so that sequences end soon unless they must not
RULES: dict[str, dict[str, Any]] = {
    "no rule": {},
    "repetition_penalty": {"repetition_penalty": 3.0},
    "below 1": {"repetition_penalty": 0.3},
    "n-grams of 1": {"no_repeat_ngram_size": 1},
    "n-grams of 2": {"no_repeat_ngram_size": 2},
    "n-grams of 3": {"no_repeat_ngram_size": 3},
    "bad_words_ids": {"bad_words_ids": [[PAD, i] for i in range(28)] + [[5, 4], [PAD]]},
    "min_length": {"min_length": 9, "eos_token_id": EOS},
    "min_new_tokens": {"min_new_tokens": 5, "eos_token_id": EOS},
    "forced_bos_token_id": {"forced_bos_token_id": 11, "begin_suppress_tokens": list(range(14))},
    "forced_eos_token_id": {"forced_eos_token_id": 11},
    "suppress_tokens": {"suppress_tokens": EOS, "renormalize_logits": True},
}
SEARCHES: dict[str, dict[str, Any]] = {
    "greedy": {},
    "sampling of the best": {"do_sample": True, "top_k": 1},
    "beams": {"num_beams": 3, "num_return_sequences": 2},
}


@pytest.fixture(autouse=True)
def in_float64() -> Iterator[None]:
    with everything_in_float64():
        yield


def new_tokens(out: Any, length: int) -> list[list[int]]:
    """Return the new tokens of each sequence, without the padding after its end."""
    rows = out[:, length:].tolist()
    return [row[: len(row) - next((i for i, t in enumerate(row[::-1]) if t != PAD), len(row))]
            for row in rows]  # fmt: skip


PAIRS = [*itertools.product(RULES, SEARCHES)]


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(
    "pairs", [PAIRS[::5], pytest.param(PAIRS, marks=pytest.mark.slow)], ids=["some", "all"]
)
def test_a_row_of_a_batch_and_the_row_alone(name: str, pairs: list[tuple[str, str]]) -> None:
    model, _ = causal_twins(
        name, 4, **({"use_chunking": False, "chunk_size": -1} if name == CLASSES[3] else {})
    )
    for rule, search in pairs:
        options = {**NEW, **RULES[rule], **SEARCHES[search]}
        out = model.generate(IDS, MASK, **options)
        found = new_tokens(out, IDS.shape[1])
        alone: list[list[int]] = []
        for row in PROMPTS:
            alone += new_tokens(model.generate([row], **options), len(row))
        assert found == alone, (rule, search)


def test_more_padding_changes_no_sample() -> None:
    model, _ = twins(1, vocab_size=29, max_position_embeddings=60, pad_token_id=PAD)
    wider, wider_mask = (
        np.pad(array, ((0, 0), (4, 0)), constant_values=value)
        for array, value in ((IDS, PAD), (MASK, 0))
    )
    for rule in RULES:
        options = {**NEW, **RULES[rule], "do_sample": True, "seed": 3, "temperature": 2.0}
        options["num_return_sequences"] = 3
        found = new_tokens(model.generate(IDS, MASK, **options), 6)
        assert new_tokens(model.generate(wider, wider_mask, **options), 10) == found, rule
        assert len({tuple(row) for row in found}) > 4


def test_padded_embeddings() -> None:
    """`min_length` counts the tokens of each prompt, and not its padding."""
    model, _ = twins(0)
    embeddings = model.get_input_embeddings()
    options = {"max_new_tokens": 9, "eos_token_id": list(range(1, 23)), "pad_token_id": 0}
    options["min_length"] = 7
    found = model.generate(inputs_embeds=embeddings(IDS % 23), attention_mask=MASK, **options)
    for row, out in zip(PROMPTS, found.tolist(), strict=True):
        alone = model.generate(inputs_embeds=embeddings(np.array([row])), **options).tolist()[0]
        assert out == alone + [0] * (len(out) - len(alone))
        assert len(alone) >= 7 - len(row)


def test_ones_processors_get_the_padding_as_well() -> None:
    """They may hold something for each row and column of the batch."""
    model, _ = twins(0)
    got: list[list[int]] = []

    def record(ids: Array, scores: Array) -> Array:
        got.append(ids[0].tolist())
        return scores

    ids, mask = [[2, 2, 5], [3, 4, 5]], [[0, 0, 1], [1, 1, 1]]
    options: dict[str, Any] = {"max_new_tokens": 2, "repetition_penalty": 2.0}
    model.generate(ids, mask, logits_processor=[record], **options)
    assert [row[:3] for row in got] == [[2, 2, 5]] * 2


def test_a_hole_is_no_token(device: str) -> None:
    """Nor does it part an n-gram."""
    config = GenerationConfig(no_repeat_ngram_size=2, repetition_penalty=2.0, max_length=9)
    mask = Tensor(np.array([[1, 0, 1, 0, 1]]), device=device).data
    ids = Tensor(np.array([[1, 0, 2, 0, 1, 3, 1]]), device=device).data
    scores = Tensor(np.ones((1, 5), np.float32), device=device).data
    processors = processors_for(config, 5, mask=mask)
    found = Tensor(processors(ids, scores)).numpy().tolist()
    assert found == [[1.0, 0.5, -np.inf, -np.inf, 1.0]]


@pytest.mark.parametrize("wrong", [2, -1, 0.5])
def test_masks_that_are_neither_0_nor_1(wrong: float) -> None:
    model, _ = twins(0)
    with pytest.raises(ValueError, match=f"attention_mask must be of ones and zeros, got {wrong}"):
        model.generate([[3, 4]], attention_mask=np.array([[wrong, 1]]))


def test_padding_that_is_read_as_text(caplog: pytest.LogCaptureFixture) -> None:
    """Where the id of padding also ends sequences, only a mask tells what it is."""
    model, _ = twins(0)
    options: dict[str, Any] = {"eos_token_id": 2, "pad_token_id": 2, "max_new_tokens": 2}
    with caplog.at_level(logging.WARNING):
        model.generate([[2, 3], [4, 5]], attention_mask=[[0, 1], [1, 1]], **options)
        model.generate([[2, 3]], **options)  # one prompt needs no padding
        assert not caplog.records
        model.generate([[2, 3], [4, 5]], **options)
    assert "pad_token_id 2 begins a prompt, but also ends sequences" in caplog.text
