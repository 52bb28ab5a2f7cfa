"""The other options of `generate`, at random and together, against transformers."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from tests.generation.oracle import (
    CLASSES,
    EVERYTHING,
    causal_twins,
    everything_in_float64,
    pick,
    same_as_rows_alone,
    same_outputs,
    theirs_generates,
)

# A row alone has fewer tokens than in its batch, perhaps fewer than min_length.
pytestmark = pytest.mark.filterwarnings("ignore:Unfeasible length constraints")


@pytest.fixture(autouse=True)
def in_float64() -> Iterator[None]:
    with everything_in_float64():
        yield


def random_call(seed: int, types: bool) -> tuple[np.ndarray, dict[str, Any]]:
    """Prompts (B, T) and options of `generate`, with token types or not."""
    rng = np.random.default_rng(seed)
    ids = rng.integers(1, 23, (rng.integers(1, 4), rng.integers(2, 6)))
    options: dict[str, Any] = {
        "attention_mask": np.ones_like(ids),
        "pad_token_id": 2,
        "eos_token_id": pick(rng, 7, [3, 11], [4, 5, 6, 7, 8], None),
        "max_length": int(rng.integers(10, 18)),
        "use_cache": pick(rng, True, False),
    }
    beams = seed % 3 if seed % 2 else 0
    if beams:
        options["num_beams"] = int(rng.integers(2, 5))
        options["num_return_sequences"] = int(rng.integers(1, options["num_beams"] + 1))
        options["length_penalty"] = pick(rng, 1.0, 0.0, 2.0, -1.0)
        options["early_stopping"] = pick(rng, True, False, "never")
    for name, value in {
        "repetition_penalty": 1.4,
        "no_repeat_ngram_size": int(rng.integers(1, 4)),
        "bad_words_ids": [[9], [12, 13], [7]],
        "min_length": 9,
        "min_new_tokens": 4,
        "forced_eos_token_id": 3 if beams else [3, 7],  # two would tie
        "suppress_tokens": [14, 15, 16],
        "begin_suppress_tokens": [17, 18, 19, 20],
        "renormalize_logits": True,
        "remove_invalid_values": True,
    }.items():
        if rng.random() < 0.25:
            options[name] = value
    if rng.random() < 0.5:  # padding at the left, one row without
        mask = options["attention_mask"]
        for row in range(1, len(ids)):
            mask[row, : rng.integers(0, ids.shape[1])] = 0
        ids = np.where(mask, ids, 2)
    if types and rng.random() < 0.3:
        options["token_type_ids"] = rng.integers(0, 5, ids.shape)
    return ids, options


@pytest.mark.parametrize("seed", range(24))
def test_random_calls(seed: int) -> None:
    name = CLASSES[seed // 2 % 3]
    ours, theirs = causal_twins(name, seed)
    ids, options = random_call(seed, types="Bert" in name)
    found = ours.generate(ids, **options, **EVERYTHING)
    mask = options["attention_mask"]
    if mask.all():
        same_outputs(found, theirs_generates(theirs, ids, **options, **EVERYTHING))
    else:
        names = [name for name in ("token_type_ids",) if name in options]
        inputs = {"input_ids": ids} | {name: options[name] for name in names}
        others = {k: v for k, v in options.items() if k not in ("attention_mask", *names)}
        same_as_rows_alone(found, theirs, inputs, mask, others)
    options["use_cache"] = not options["use_cache"]
    assert ours.generate(ids, **options).tolist() == found.sequences.tolist()


@pytest.mark.slow
@pytest.mark.parametrize("hundred", range(4))
def test_many_more_random_calls(hundred: int) -> None:
    for seed in range(100 * hundred + 24, 100 * hundred + 124):
        test_random_calls(seed)
