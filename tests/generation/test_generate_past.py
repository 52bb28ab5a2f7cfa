"""`generate` continues from `past_key_values`: a second call reads only the new tokens."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from tests.generation.oracle import CLASSES, causal_twins
from tinybert.nn import KeyValueCache

WHOLE = {"MegaForCausalLM": {"use_chunking": False, "chunk_size": -1}}
IDS = np.array([[3, 4, 5, 6], [6, 7, 8, 9]])
MASK = np.array([[0, 1, 1, 1], [1, 1, 1, 1]])
TURN = {
    "max_new_tokens": 5,
    "return_dict_in_generate": True,
    "attention_mask": MASK,
    "use_cache": True,
}


def second_prompt(first: Any) -> dict[str, Any]:
    """All that was said, and three tokens more."""
    said = np.concatenate([first.sequences.numpy(), [[10, 11, 12], [13, 14, 15]]], axis=1)
    mask = np.concatenate([MASK, np.ones((2, said.shape[1] - 4), int)], axis=1)
    return {"input_ids": said, "attention_mask": mask, "max_new_tokens": 6, "use_cache": True}


@pytest.mark.parametrize("name", CLASSES)
@pytest.mark.parametrize(
    "search", [{}, {"num_beams": 3}, {"do_sample": True, "num_return_sequences": 2, "seed": 1}]
)
def test_the_second_turn_reads_only_what_is_new(name: str, search: dict[str, Any]) -> None:
    model = causal_twins(name, 1, **WHOLE.get(name, {}))[0]
    cache = model.generate(IDS, **TURN).past_key_values
    first = model.generate(IDS, **TURN)
    prompt = {**second_prompt(first), **search}
    expected = model.generate(**prompt).tolist()
    lengths = []
    hook = model.get_input_embeddings().register_forward_hook(
        lambda module, args, out: lengths.append(out.shape[1])
    )
    for past in (tuple(cache), cache):
        before = [part.numpy().copy() for layer in tuple(past) for part in layer]
        assert model.generate(**prompt, past_key_values=past).tolist() == expected
        if past is not cache or search:  # else it goes on itself
            after = [part.numpy() for layer in tuple(past) for part in layer]
            assert all((a == b).all() for a, b in zip(before, after, strict=True))
    hook.remove()
    assert lengths == [4, 1, 1, 1, 1, 1] * 2  # the last word of the first turn was not yet read
    assert search or cache.length == 9 + 3 + 5


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"past_key_values": 3}, r"past_key_values must be a KeyValueCache, .* got a int"),
        ({"past_key_values": ()}, r"past_key_values must be a KeyValueCache, .* got a tuple"),
        ({"past_key_values": 3, "num_beams": 2}, "past_key_values must be a KeyValueCache"),
        ({"use_cache": False}, "cannot be used: .* was called with use_cache=False"),
        (
            {"input_ids": IDS},
            r"past_key_values holds 4 tokens; input_ids must be .* one more, got 4",
        ),
        ({"input_ids": [[3, 4, 5, 6, 7]]}, r"past_key_values must have shape \(1, "),
        ({"inputs_embeds": np.zeros((2, 8, 12))}, "all input_ids, and no inputs_embeds"),
    ],
)
def test_what_cannot_be_gone_on_from(options: dict[str, Any], message: str) -> None:
    model = causal_twins("BertLMHeadModel", 0)[0]
    past = model(IDS, use_cache=True).past_key_values
    call = {"input_ids": np.tile(IDS, 2), "past_key_values": past, **options}
    with pytest.raises((ValueError, TypeError), match=message):
        model.generate(**call)


def test_a_model_without_such_a_cache_says_so() -> None:
    model = causal_twins("MegaForCausalLM", 0, use_chunking=True, chunk_size=3)[0]
    with pytest.raises(ValueError, match="MegaForCausalLM has no KeyValueCache"):
        model.generate(IDS, past_key_values=KeyValueCache(2), use_cache=True)
