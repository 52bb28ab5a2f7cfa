"""`generate` against transformers, token for token, on random decoders and random options."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.generation.oracle import same_outputs, theirs_generates, twins

NUMBERS = dict.fromkeys(("return_dict_in_generate", "output_scores", "output_logits"), True)
EVERYTHING = {**NUMBERS, "output_attentions": True, "output_hidden_states": True}


def pick(rng: np.random.Generator, *values: Any) -> Any:
    """One of the values."""
    return values[rng.integers(len(values))]


def random_call(seed: int) -> tuple[np.ndarray, dict[str, Any]]:
    """Prompts (B, T) and options of `generate`."""
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
    if rng.random() < 0.3:
        options["token_type_ids"] = rng.integers(0, 5, ids.shape)
    return ids, options


@pytest.mark.parametrize("seed", range(48))
def test_random_calls(seed: int) -> None:
    ours, theirs = twins(seed)
    ids, options = random_call(seed)
    extras = EVERYTHING if seed % 4 == 0 else NUMBERS
    found = ours.generate(ids, **options, **extras)
    same_outputs(found, theirs_generates(theirs, ids, **options, **extras))
    options["use_cache"] = not options["use_cache"]
    assert ours.generate(ids, **options).tolist() == found.sequences.tolist()


@pytest.mark.slow
def test_many_more_random_calls() -> None:
    for seed in range(48, 448):
        test_random_calls(seed)
