"""Any model can generate whose cache is made of Tensors with a row for each sequence."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from tinybert.autograd import Tensor, as_tensor
from tinybert.generation import GenerationMixin
from tinybert.outputs import CausalLMOutputWithCrossAttentions

VOCAB = 11


class Recurrent(GenerationMixin):
    """A model with a state instead of keys: x <- x / 2 + table[token], and a count of tokens."""

    device = "cpu"
    config = SimpleNamespace(is_encoder_decoder=False, is_decoder=True)

    def __init__(self) -> None:
        rng = np.random.default_rng(0)
        self.table, self.head = rng.standard_normal((VOCAB, 3)), rng.standard_normal((3, VOCAB))
        self.fed: list[tuple[int, ...]] = []

    def forward(
        self, input_ids: Any, past_key_values: Any = None, use_cache: Any = None,
        return_dict: Any = None,
    ) -> Any:  # fmt: skip
        ids = input_ids.numpy()
        self.fed.append(ids.shape)
        x, seen = np.zeros((len(ids), 3)), np.zeros(len(ids), int)
        if past_key_values is not None:
            ((x, (seen, nothing)),) = past_key_values
            x, seen = x.numpy(), seen.numpy()
            assert nothing is None
        logits = []
        for column in ids.T:
            x, seen = x / 2 + self.table[column], seen + 1
            logits.append(x @ self.head * 3 + (seen % 3)[:, None])
        past = ((as_tensor(x), (as_tensor(seen), None)),) if use_cache else None
        return CausalLMOutputWithCrossAttentions(
            logits=as_tensor(np.stack(logits, axis=1)), past_key_values=past
        )

    __call__ = forward


@pytest.mark.parametrize("beams", [1, 4])
def test_a_state_is_carried_and_reordered(beams: int) -> None:
    model, ids = Recurrent(), Tensor([[1, 2, 3, 4], [5, 6, 7, 8]])
    options = {"max_length": 12, "num_beams": beams, "num_return_sequences": beams}
    options |= {"no_repeat_ngram_size": 2, "eos_token_id": 9}
    cached = model.generate(ids, use_cache=True, **options)
    assert model.fed[:2] == [(2 * beams, 4), (2 * beams, 1)]
    model.fed.clear()
    assert model.generate(ids, use_cache=False, **options).tolist() == cached.tolist()
    assert model.fed[:2] == [(2 * beams, 4), (2 * beams, 5)]
    assert model.can_generate()
    assert model.position_limit is None
