"""Warnings point to the line of the user's call."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from tinybert import models

SIZES = {
    "vocab_size": 20, "hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2,
    "intermediate_size": 8, "max_position_embeddings": 9,
}  # fmt: skip
IDS = np.full((2, 5), 7)


def made(name: str, **options: Any) -> Any:
    config = models.NemotronConfig if name.startswith("Nemotron") else models.BertConfig
    return getattr(models, name)(config(**SIZES, **options))


def recomputed(name: str, **options: Any) -> Any:
    model = made(name, **options).train()
    model.gradient_checkpointing_enable()
    return model


CALLS: dict[str, Callable[[], Any]] = {
    "the mask hides the first token": lambda: made("BertModel")(IDS, IDS * 0),
    "the same of a head": lambda: made("BertForMaskedLM")(IDS, IDS * 0),
    "no label of a token": lambda: made("BertForMaskedLM")(IDS, labels=IDS * 0 - 100),
    "no label of a text": lambda: made("BertForSequenceClassification")(IDS, labels=[-100, -100]),
    "no cache": lambda: recomputed("BertModel", is_decoder=True)(IDS, use_cache=True),
    "no cache of a head": lambda: recomputed("NemotronForCausalLM")(IDS, use_cache=True),
}


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_a_warning_points_to_the_call(call: Callable[[], Any]) -> None:
    with pytest.warns(UserWarning, match="mask|ignored|cache") as seen:
        call()
    assert {warning.filename for warning in seen} == {__file__}
